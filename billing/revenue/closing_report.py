"""Closed months as a report: who closed them, what was frozen, and what has come since."""

from collections.abc import Iterator, Mapping

from billing.database import directly
from billing.models import MonthClose, RevenueEntry
from billing.revenue import closing
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.report import Column, Drill, Report, Row, Table, View

State = MonthClose.State
Item = RevenueEntry.Item

MONTHS = (
    Column("month", "Month"),
    Column("state", "State", definition="Signed by one person, closed by another one's review."),
    Column("signed_by", "Signed by"),
    Column("reviewed_by", "Reviewed by"),
    Column("currency", "Currency"),
    Column("closed", "Net when closed", "money", "The net revenue that was signed and frozen."),
    Column(
        "changed", "Would change", "money",
        "By how much entries that came, went or changed since would change the frozen net. They"
        " are booked in the month all the same; open it again to sign it anew."
        " Counted every hour.",
    ),
    Column(
        "concerning", "Later, of its charges", "money",
        "Refunds and disputes of the month's charges, booked in the months in which they happened."
        " Counted every hour.",
    ),
)  # fmt: skip
ENTRIES = (
    Column("source", "Source", definition="The balance transaction, or the invoice."),
    Column("line", "Line", "number"),
    Column("at", "Booked", "time"),
    Column("item", "Item"),
    Column("currency", "Currency"),
)
CHANGED = (
    *ENTRIES,
    Column("closed", "When closed", "money"),
    Column("now", "Now", "money"),
    Column("difference", "Changes net by", "money"),
    Column("mark", "Mark"),
)
CONCERNING = (
    *ENTRIES,
    Column("amount", "Amount", "money"),
    Column("charge_id", "Charge", "id"),
    Column("mark", "Mark"),
)
FROZEN = (
    *ENTRIES,
    Column("amount", "Amount", "money"),
    Column("fee", "Fee", "money"),
    Column("tax", "Tax", "money"),
    Column("kind", "Kind"),
    Column("user_id", "User", "user"),
    Column("charge_id", "Charge", "id"),
    Column("invoice_id", "Invoice", "id"),
)


class ClosingReport(Report):
    """Every month that was closed in the days that are asked for."""

    name = "closing"
    title = "Closed months"
    about = (
        "Each month that two people closed, as it was frozen, and what has come since: that goes"
        " to the month in which it happened, and is marked here."
    )
    has_periods = False
    by = "month"

    def view(self, asked: Asked) -> View:
        return View([
            Table("months", "Months", MONTHS, list(_months(asked)), drill=_drill,
                  empty="None of these months is closed."),
        ])  # fmt: skip

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        number = drill.get("close", "")
        close = MonthClose.objects.filter(pk=int(number)).first() if number.isdecimal() else None
        if close is None or close.state not in (State.CLOSED, State.REOPENED):
            raise InvalidReportError("There is no such closed month.")
        currency = drill.get("in", "")
        match drill.get("of"):
            case "closed":
                frozen = close.frozen.filter(currency=currency).exclude(item=Item.OUT_OF_BAND)
                rows = directly(frozen.order_by("at", "id").values(*closing.COLUMNS)).iterator()
                return Table("behind", f"{close}, as it was closed", FROZEN, rows)
            case "changed":
                found = _of(currency, closing.changed(close))
                return Table("behind", f"{close}: would change", CHANGED, found)
            case "concerning":
                found = _of(currency, closing.marked(close))
                return Table("behind", f"{close}: later, of its charges", CONCERNING, found)
        raise InvalidReportError("There are no such rows.")


def _of(currency: str, rows: Iterator[Row]) -> Iterator[Row]:
    return (row for row in rows if row["currency"] == currency)


def _months(asked: Asked) -> Iterator[Row]:
    """A row for each closed month and currency."""
    closes = MonthClose.objects.filter(
        state=State.CLOSED, month__range=(asked.first.replace(day=1), asked.last)
    )
    for close in closes.order_by("month"):
        since = close.later or {}
        moved = {
            name: {row["currency"]: row["amount"] for row in since.get(name, [])}
            for name in ("changed", "concerning")
        }
        net = {row["currency"]: row["net"] for row in close.figures["revenue"]}
        for currency in sorted({*net, *moved["changed"], *moved["concerning"]}):
            if asked.currency in ("", currency):
                yield {
                    "month": str(close),
                    "close": close.pk,
                    "state": close.get_state_display(),
                    "signed_by": close.signed_by,
                    "reviewed_by": close.reviewed_by,
                    "currency": currency,
                    "closed": net.get(currency, 0),
                    **{name: moved[name].get(currency, 0) for name in moved},
                }


def _drill(row: Row, column: str) -> Drill | None:
    if column not in ("closed", "changed", "concerning"):
        return None
    return {"of": column, "close": str(row["close"]), "in": row["currency"]}
