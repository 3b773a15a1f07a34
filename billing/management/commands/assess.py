"""`manage.py assess`."""

import re
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from billing.management.command import USAGE, Answer, OperatorCommand
from billing.operations.base import InvalidInputError
from billing.recovery.assessment.assessing import Assessed, assess
from billing.recovery.assessment.outcomes import SHOWN, Outcome, Verdict

MARKS = {Verdict.OK: "ok     ", Verdict.DAMAGED: "DAMAGED", Verdict.UNSURE: "unsure "}


class Command(OperatorCommand):
    help = (
        "Say whether the database is whole: can it be read, is its schema in force, do the rows"
        " keep to it, do ledger, balances and audit chain hold. It names the affected users, and"
        " changes nothing. Ends with 0 if all is whole, 1 if something is damaged, 2 if it could"
        " not look at everything."
    )
    example = "assess --expect 9f2c... --json"
    unfinished = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--expect", default="", metavar="HASH", help="A hash of the audit chain noted before."
        )
        parser.add_argument(
            "--quick",
            action="store_true",
            help="Leave out what reads every row: pages, constraints, the audit chain.",
        )
        parser.add_argument(
            "--actor", default="", help="Who asks for it (default: the system's user)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        expect = options["expect"].strip().lower()
        if expect and not re.fullmatch(r"[0-9a-f]{64}", expect):
            raise InvalidInputError("A hash is 64 digits from 0 to f, as verify_audit says it.")
        if expect and options["quick"]:
            raise InvalidInputError("--quick leaves the audit chain out: --expect needs all of it.")
        with self.progress() as bars:
            bar = bars.add_task("Assessing", total=None)
            assessed = assess(
                actor=self.actor(options).name,
                tell=lambda said: bars.update(bar, description=said),
                expect=expect,
                quick=options["quick"],
            )
        return answered(assessed)


def answered(assessed: Assessed) -> Answer:
    """Every check, the gravest last, and whom the damage touches."""
    users = assessed.users
    row = assessed.row
    page = reverse("admin:billing_assessment_change", args=[row.pk]) if row else ""
    document = {
        "assessment": row.pk if row else None,
        "whole": assessed.is_whole,
        "checks": assessed.as_dicts(),
        "users": users,
        "not_kept": assessed.unkept or None,
        "page": f"{settings.PUBLIC_URL}{page}" if page else None,
    }
    lines = [line for each in assessed.outcomes for line in as_lines(each)]
    lines += [f"Affected users: {', '.join(users[:SHOWN])}"] if users else []
    lines += [f"and {len(users) - SHOWN:,} more: see --json"] if len(users) > SHOWN else []
    lines += [f"This could not be kept: {assessed.unkept}"] if assessed.unkept else []
    lines += [f"{settings.PUBLIC_URL}{page}"] if page and not assessed.unkept else []
    return Answer(
        document,
        lines,
        attention(assessed),
        is_unfinished=assessed.is_blind and not assessed.damaged,
    )


def attention(assessed: Assessed) -> str:
    """What is damaged, or could not be looked at; '' where all is whole."""
    damaged = [each.name for each in assessed.damaged]
    if damaged:
        return f"{len(damaged)} of {len(assessed.outcomes)} checks found damage: " + ", ".join(
            damaged
        )
    blind = [each.name for each in assessed.outcomes if each.is_blind]
    return f"Could not be looked at: {', '.join(blind)}." if blind else ""


def as_lines(each: Outcome) -> list[str]:
    lines = [f"{MARKS[each.verdict]}  {each.name}: {each.detail}"]
    if each.verdict == Verdict.OK:
        return lines
    lines += [f"           {each.advice}"] if each.advice else []
    shown = [row["id"] for row in each.rows]
    lines += [f"           such as {', '.join(shown)}"] if shown else []
    lines += [f"           {settings.PUBLIC_URL}{each.page}"] if each.page else []
    return lines
