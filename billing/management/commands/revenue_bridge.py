"""`manage.py revenue_bridge`."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from billing.formatting import format_money
from billing.gateway.client import gateway
from billing.management.command import Answer, OperatorCommand
from billing.management.report import add_days, as_csv, in_units, shown_days, window
from billing.operations.base import InvalidInputError
from billing.revenue import bridge_days
from billing.revenue.bridge import bridge
from billing.revenue.stripes import COLLECTED, SETTLED
from billing.revenue.sums import Part

TITLES = {
    COLLECTED.name: "What was paid here, up to what Stripe charged",
    SETTLED.name: "What Stripe charged, up to what its balance took in",
}


class Command(OperatorCommand):
    help = (
        "Show revenue by day and currency, item by item: from the invoices and packs paid here to"
        " Stripe's charges, and from those to the net of its balance. Reads Stripe, changes"
        " nothing there. Ends with 0 if the items explain everything, 1 if something remains."
    )
    example = "revenue_bridge --from 2026-11-01 --to 2026-11-30 --timezone Europe/Berlin --csv"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_days(parser)
        parser.add_argument(
            "--csv", action="store_true", dest="as_csv", help="Answer with CSV, a line an item."
        )
        parser.add_argument(
            "--keep", action="store_true", help="Keep the whole days, for the balance report."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["as_csv"] and options["as_json"]:
            raise InvalidInputError("Ask for --json or for --csv.")
        said = bridge(**window(options), stripe=gateway())
        if options["keep"]:
            bridge_days.keep(said)
        lines = list(csv_lines(said)) if options["as_csv"] else list(text_lines(said))
        return Answer(said, lines, attention(said))


def attention(said: dict[str, Any]) -> str:
    """What the items do not explain, in a sentence; '' for nothing."""
    if said["explained"]:
        return ""
    days = {(r["date"], r["currency"]) for part in TITLES for r in said[part] if r["remainder"]}
    rows = "1 day and currency" if len(days) == 1 else f"{len(days)} days and currencies"
    return f"The items do not explain everything: a remainder is left on {rows}."


def text_lines(said: dict[str, Any]) -> Iterator[str]:
    """The bridge for people: of each row the items that are not 0."""
    yield shown_days(said)
    for part in (COLLECTED, SETTLED):
        yield from ["", TITLES[part.name]]
        for row in said[part.name]:
            yield f"  {row['date']}  {_equation(row, part, row['currency'])}"
        for currency, sums in said["totals"][part.name].items():
            yield f"  all days    {_equation(sums, part, currency)}"
    for cause in said["causes"]:
        money = format_money(cause["amount"], cause["currency"])
        yield f"  remains: {money} on {cause['date']}, {cause['id']}: {cause['why']}"
    if said["more_causes"]:
        yield f"  and {said['more_causes']:,} more."


def _equation(row: dict[str, Any], part: Part, currency: str) -> str:
    def named(name: str) -> str:
        return f"{name.replace('_', ' ')} {format_money(row[name], currency)}"

    items = [named(name) for name in part.items if row[name]]
    items.append(f"= {named(part.result)}")
    items += [f"({named(name)})" for name in part.besides if row[name]]
    items += [f"REMAINDER {format_money(row['remainder'], currency)}"] if row["remainder"] else []
    return ", ".join(items)


def csv_lines(said: dict[str, Any]) -> list[str]:
    """A line for each item of each day and currency, in minor units and as an amount."""
    return as_csv(
        ("date", "currency", "part", "item", "minor_units", "amount"),
        (
            (row["date"], row["currency"], part, item, value, in_units(value, row["currency"]))
            for part in TITLES
            for row in said[part]
            for item, value in row.items()
            if isinstance(value, int)
        ),
    )
