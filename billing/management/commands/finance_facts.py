"""`manage.py finance_facts`."""

from itertools import islice
from typing import Any

from django.core.management.base import CommandParser

from billing.formatting import pretty_json
from billing.management.command import Answer, OperatorCommand
from billing.revenue.facts import FAMILIES, Family

NAMED = 10  # differences of a family that the answer has


class Command(OperatorCommand):
    help = (
        "The tables that finance derives from our books and Stripe's balance: `refresh` what is"
        " new, `rebuild` everything, `check` whether deriving them again gives the same rows."
        " `check` changes nothing, and ends with 0 if nothing differs, 1 if something does."
    )
    example = "finance_facts check --family revenue"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("what", choices=("refresh", "rebuild", "check"))
        parser.add_argument(
            "--family",
            choices=[family.name for family in FAMILIES],
            help="Only these tables (default: all).",
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        chosen = [f for f in FAMILIES if options["family"] in (None, f.name)]
        with self.progress() as bars:
            bar = bars.add_task("", total=len(chosen))
            said = {}
            for family in chosen:
                bars.update(bar, description=f"{options['what']}: {family.name}")
                said[family.name] = _said(family, options["what"])
                bars.advance(bar)
        return Answer({"families": said}, list(_lines(said)), _attention(said))


def _said(family: Family, what: str) -> dict[str, Any]:
    if what == "check":
        found = iter(family.check())
        first = list(islice(found, NAMED))
        return {"differences": len(first) + sum(1 for _ in found), "first": first}
    return {"changed": family.refresh() if what == "refresh" else family.rebuild()}


def _lines(said: dict[str, Any]) -> list[str]:
    lines = []
    for name, answer in said.items():
        if "changed" in answer:
            lines.append(f"{name}: {answer['changed']:,} rows changed.")
            continue
        lines.append(f"{name}: {answer['differences']:,} differences.")
        for difference in answer["first"]:
            lines.append(f"  {difference['fact']}")
            lines.append(f"    here:    {_shown(difference['here'])}")
            lines.append(f"    derived: {_shown(difference['derived'])}")
    return lines


def _shown(row: Any) -> str:
    return "nothing" if row is None else " ".join(pretty_json(row).split())


def _attention(said: dict[str, Any]) -> str:
    wrong = [name for name, answer in said.items() if answer.get("differences")]
    if not wrong:
        return ""
    return (
        f"{', '.join(wrong)}: the rows here are not what is derived now. What has come since the"
        " last refresh differs until the next one; the rest is put right by `rebuild`."
    )
