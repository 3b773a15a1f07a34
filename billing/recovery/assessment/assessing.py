"""All checks of the database, one after another, each for itself; kept as a row if that works."""

from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connection, transaction
from django.utils import timezone

from billing.models import Assessment
from billing.recovery.assessment import books, chain, rows, schema, sequences, server, stripe_rows
from billing.recovery.assessment.outcomes import (
    MOST_USERS,
    Check,
    Look,
    Outcome,
    Tell,
    Verdict,
    first_line,
    is_broken,
)

CHECKS: tuple[Check, ...] = (
    *server.CHECKS,
    *schema.CHECKS,
    *sequences.CHECKS,
    *rows.CHECKS,
    *stripe_rows.CHECKS,
    *books.CHECKS,
    *chain.CHECKS,
)
MAY_WRITE = ("amcheck",)  # what makes an extension, and takes it back


@dataclass(slots=True)
class Assessed:
    """What all checks found. `row` keeps it, None where that could not be written: `unkept`."""

    outcomes: list[Outcome] = field(default_factory=list)
    row: Assessment | None = None
    unkept: str = ""

    @property
    def damaged(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.verdict == Verdict.DAMAGED]

    @property
    def is_whole(self) -> bool:
        """Nothing is damaged, and everything could be looked at."""
        return not self.damaged and not self.is_blind

    @property
    def is_blind(self) -> bool:
        return any(each.is_blind for each in self.outcomes)

    @property
    def users(self) -> list[str]:
        """Whom the damage touches; not those of mere hints."""
        found = {user for each in self.damaged for user in each.users}
        return sorted(found)[:MOST_USERS]

    def as_dicts(self) -> list[dict[str, Any]]:
        return [each.as_dict() for each in self.outcomes]


def assess(*, actor: str, tell: Tell, expect: str = "", quick: bool = False) -> Assessed:
    """Looks at everything and changes nothing but its own row. It raises no database error.

    `expect` is a hash of the audit chain that was noted before. `quick` leaves out what reads
    every row: whether pages can be read, and what constraints have to hold for.
    """
    assessed = Assessed()
    assessed.row, assessed.unkept = begun(actor)
    look = Look(expect, quick, tell)
    for number, check in enumerate(CHECKS, 1):
        tell(f"{number} of {len(CHECKS)}: {check.name}")
        look.tell = lambda said, number=number: tell(f"{number} of {len(CHECKS)}: {said}")  # type: ignore[misc]
        assessed.outcomes.append(looked(check, look))
        keep(assessed)
    keep(assessed, is_over=True)
    return assessed


def looked(check: Check, look: Look) -> Outcome:
    """What a check found; that it could not look, where it fails."""
    if check.slow and look.quick:
        return Outcome(check.name, Verdict.UNSURE, "Not looked at, since it was to be quick.")
    try:
        if check.asks_outside:
            return check.find(look)
        with transaction.atomic():
            if check.name not in MAY_WRITE:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION READ ONLY")
            return check.find(look)
    except Error as error:
        connection.close_if_unusable_or_obsolete()
        return failed(check, error)


def failed(check: Check, error: Exception) -> Outcome:
    said = first_line(error)
    if is_broken(error):
        return Outcome(
            check.name,
            Verdict.DAMAGED,
            f"PostgreSQL cannot read what it needs for this: {said}",
            server.RESTORE,
            is_blind=True,
        )
    return Outcome(
        check.name,
        Verdict.UNSURE,
        f"It could not look: {said}",
        "If something is missing, the checks of the schema say what. Then assess again.",
        is_blind=True,
    )


def begun(actor: str) -> tuple[Assessment | None, str]:
    """The row of a new assessment; why there is none, where it cannot be written."""
    try:
        with transaction.atomic():
            return Assessment.objects.create(actor=actor, started_at=timezone.now()), ""
    except Error as error:
        connection.close_if_unusable_or_obsolete()
        return None, first_line(error)


def keep(assessed: Assessed, *, is_over: bool = False) -> None:
    """Writes what is known by now."""
    row = assessed.row
    if row is None:
        return
    row.checks = assessed.as_dicts()
    fields = ["checks"]
    if is_over:
        row.users, row.is_whole, row.finished_at = assessed.users, assessed.is_whole, timezone.now()
        fields += ["users", "is_whole", "finished_at"]
    try:
        with transaction.atomic():
            row.save(update_fields=fields)
    except Error as error:
        connection.close_if_unusable_or_obsolete()
        assessed.unkept = first_line(error)
