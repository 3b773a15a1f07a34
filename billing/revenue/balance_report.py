"""Stripe's balance as finance reads it: its categories, its payouts, and the three bridges."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from billing.revenue import bridge_days, net_to_payouts
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.days import Days
from billing.revenue.net_to_payouts import MOVEMENTS
from billing.revenue.report import Column, Drill, Report, Row, Table, View
from billing.revenue.stripes import COLLECTED, ITEM_WORDS, SETTLED
from billing.revenue.sums import Part

CURRENCY = Column("currency", "Currency", definition="The one that Stripe settles in.")
CHARGED = Column("currency", "Currency", definition="The one that the item is booked in.")
REMAINDER = Column(
    "remainder",
    "Remainder",
    "money",
    "What the items do not explain of the result: 0 where nothing is wrong.",
)

CATEGORIES = (
    Column("date", "From", "date", "The first day of the period."),
    CURRENCY,
    Column("category", "Category", definition="Stripe's own reporting category."),
    Column("count", "Number", "number", "How many balance transactions Stripe booked."),
    Column("amount", "Amount", "money", "What moved, before Stripe's fee."),
    Column("fee", "Fee", "money", "What Stripe kept of it."),
    Column("net", "Net", "money", "Amount less fee: what the balance took in."),
)
PAYOUTS = (
    Column("payout", "Payout", definition="Stripe's id."),
    Column("created_at", "Made", "time", "When Stripe made it, UTC."),
    Column("arrival_date", "Arrives", "time", "When the bank is to have it, UTC."),
    Column("status", "Status"),
    Column("amount", "Amount", "money", "What was paid out."),
    CURRENCY,
    Column("movements", "Contains", "number", "How many balance transactions it paid out."),
    Column("contents", "Their sum", "money", "The net of what it paid out."),
    Column(
        "remainder",
        "Remainder",
        "money",
        "Amount less the sum of its contents, of an automatic payout whose contents Stripe has"
        " told. Of a manual one it never tells.",
    ),
)
BALANCE = (
    CURRENCY,
    Column("opening", "Opening", "money", "Stripe's balance when the first day begins."),
    Column("net", "Net", "money", "What the balance took in, but for payouts."),
    Column("paid_out", "Paid out", "money", "The payouts that left the balance."),
    Column("returned", "Returned", "money", "Payouts that failed or were canceled, and came back."),
    Column("payout_fees", "Payout fees", "money", "What Stripe took for payouts."),
    Column("moved", "Moved", "money", "Top-ups, and what Stripe held back or gave free."),
    Column("closing", "Closing", "money", "Stripe's balance when the last day is over."),
    Column(
        "remainder", "Remainder", "money",
        "Closing less all of the items before it: 0 where payouts and balance agree.",
    ),
)  # fmt: skip
BALANCE_ITEMS = {
    column.name: column.title.lower()
    for column in BALANCE
    if column.name in (*net_to_payouts.ITEMS, "closing")
}
NOTHING_READ = "Nothing is read from Stripe for these days."
TITLES = {
    COLLECTED.name: "Bridge 1: from invoices to charges",
    SETTLED.name: "Bridge 2: from charges to net",
}


class BalanceReport(Report):
    """Categories, payouts, and the bridges with what they leave."""

    name = "balance"
    title = "Payouts and balance"
    about = (
        "Stripe's balance as Stripe booked it, what was paid out of it, and how invoices become"
        " charges, charges net, and net payouts: each step with what it does not explain."
    )
    is_closed = True
    by = "month"

    def view(self, asked: Asked) -> View:
        days = Days(asked.since, asked.until, asked.timezone)
        missing = bridge_days.not_read(days)
        return View(
            [
                _categories(asked),
                _payouts(asked),
                *(_bridge(asked, part, len(missing), len(days.dates)) for part in TITLES),
                _balance(asked),
            ],
            [_not_read(len(missing), len(days.dates))] if missing else [],
        )

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        match dict(drill):
            case {"of": "category", "category": category, "in": currency, "period": period}:
                span = _span(asked, period)
                found = net_to_payouts.movements(*span, category, currency)
                return Table("behind", f"Balance transactions: {category}", MOVEMENTS, found)
            case {"of": "payout", "payout": payout}:
                found = net_to_payouts.contents(payout)
                return Table("behind", f"What {payout} paid out", MOVEMENTS, found)
            case {"of": "bridge", "part": part, "in": currency} if part in TITLES:
                return _bridge_days(asked, part, currency)
            case {"of": "balance", "item": item, "in": currency} if item in BALANCE_ITEMS:
                found = net_to_payouts.bridged(item, asked.since, asked.until, currency)
                return Table(
                    "behind", f"Balance transactions: {BALANCE_ITEMS[item]}", MOVEMENTS, found
                )
        raise InvalidReportError("There are no such rows.")


def _categories(asked: Asked) -> Table:
    found = net_to_payouts.categories(
        asked.since, asked.until, asked.periods.starts, asked.currency
    )
    periods = asked.periods.dates
    return Table(
        "categories",
        "By reporting category",
        CATEGORIES,
        [{**row, "date": periods[row["period"] - 1].isoformat()} for row in found],
        drill=of_category,
    )


def of_category(row: Row, column: str) -> Drill | None:
    """What is behind a figure of a category: its `period` counts from 1."""
    if column not in ("count", "amount", "fee", "net"):
        return None
    return {
        "of": "category",
        "category": row["category"],
        "in": row["currency"],
        "period": str(row["period"]),
    }


def _span(asked: Asked, period: str) -> tuple[Any, Any]:
    """From when up to when a period lasts, by its number."""
    if not period.isdecimal() or not 1 <= int(period) <= asked.periods.count:
        raise InvalidReportError("There is no such period.")
    number = int(period) - 1
    return asked.periods.starts[number], asked.periods.ends[number]


def _payouts(asked: Asked) -> Table:
    def drill(row: Row, column: str) -> Drill | None:
        return (
            {"of": "payout", "payout": row["payout"]}
            if column in ("payout", "movements", "contents")
            else None
        )

    found = net_to_payouts.payouts(asked.since, asked.until, asked.currency)
    return Table(
        "payouts", "Payouts", PAYOUTS, found, empty="Nothing was paid out in these days.",
        drill=drill,
    )  # fmt: skip


def _bridge(asked: Asked, part: str, missing: int, days: int) -> Table:
    found = bridge_days.totals(part, asked.first, asked.last, asked.timezone, asked.currency)
    return Table(
        part,
        TITLES[part],
        bridge_columns(bridge_days.PARTS[part]),
        found,
        about=_not_read(missing, days),
        empty=NOTHING_READ,
        drill=of_bridge(part),
    )


def of_bridge(part: str) -> Callable[[Row, str], Drill | None]:
    """What is behind the figures of a bridge: its days."""

    def drill(row: Row, column: str) -> Drill | None:
        return (
            None if column == "currency" else {"of": "bridge", "part": part, "in": row["currency"]}
        )

    return drill


def bridge_columns(part: Part) -> Sequence[Column]:
    """Currency, the items of a bridge in their order, its result, and the remainder."""
    names = (*part.items, part.result, *part.besides)
    items = (
        Column(name, name.replace("_", " ").capitalize(), "money", ITEM_WORDS[part.name][name])
        for name in names
    )
    return (CHARGED, *items, REMAINDER)


def _bridge_days(asked: Asked, part: str, currency: str) -> Table:
    columns = (
        Column("date", "Day", "date"),
        *bridge_columns(bridge_days.PARTS[part]),
        Column("causes", "Where it comes from"),
    )
    kept = bridge_days.kept_rows(part, asked.first, asked.last, asked.timezone, currency)

    def said() -> Iterator[Row]:
        for row in kept:
            why = "; ".join(f"{cause['id']}: {cause['why']}" for cause in row["causes"])
            yield {**row, "causes": why}

    return Table("behind", f"{TITLES[part]}, by day", columns, said())


def _balance(asked: Asked) -> Table:
    found = net_to_payouts.balance_bridge(asked.since, asked.until, asked.currency)
    return Table(
        "balance",
        "Bridge 3: from net to payouts",
        BALANCE,
        found,
        drill=of_balance,
    )


def of_balance(row: Row, column: str) -> Drill | None:
    """What is behind a figure of the third bridge."""
    if column not in BALANCE_ITEMS:
        return None
    return {"of": "balance", "item": column, "in": row["currency"]}


def _not_read(missing: int, days: int) -> str:
    if not missing:
        return ""
    return (
        f"{missing:,} of {days:,} days are not read from Stripe yet: bridges 1 and 2 lack them."
        " “Check against Stripe” on a month's page reads them."
    )
