"""Failed payments: what entered dunning, what was recovered of it and what was lost, and why."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from billing.models import InvoiceDunning
from billing.revenue.asked import Asked, InvalidReportError, parsed_day
from billing.revenue.failed_sums import (
    BEHIND,
    Movements,
    invoices,
    medians,
    movements,
    reasons,
    summed,
    waiting,
    worklist,
)
from billing.revenue.report import ChartOf, Column, Drill, Filter, Report, Row, Table, View

MOST_LISTED = 50  # invoices of a currency on the page; all of them are behind its figures

_CURRENCY = Column("currency", "Currency", definition="The currency of the invoices.")
_REASONED = Column(
    "decline_reason",
    "Decline reason",
    definition=(
        "Why the first charge of the invoice that failed did: the bank's own word, else Stripe's"
        " code; not_known where no charge was made, such as for want of a payment method."
    ),
)
_FIGURES = (
    Column("entered", "Entered dunning", "number",
           "Invoices of which the first charge that failed is from this time."),
    Column("entered_amount", "Entered, amount", "money", "What was due of these invoices."),
    Column("recovered", "Recovered", "number",
           "Invoices that were paid in this time, after a charge of them had failed."),
    Column("recovered_amount", "Recovered, amount", "money", "What was due of these invoices."),
    Column("regained", "Of which after a loss", "number",
           "Recovered invoices that had been counted as lost before, in this time or earlier."),
    Column("regained_amount", "Of which after a loss, amount", "money",
           "What was due of these invoices."),
    Column("lost", "Lost", "number",
           "Invoices with a failed charge that in this time were voided or marked uncollectible,"
           " or were still open when their subscription was canceled or became unpaid."),
    Column("lost_amount", "Lost, amount", "money", "What was due of these invoices."),
)  # fmt: skip
_STANDING = (
    Column("in_dunning", "In dunning at the end", "number",
           "Invoices with a failed charge that were neither paid nor lost at the end of this time:"
           " those of its beginning, and what entered, less what was recovered and lost"
           " (but for what was recovered after a loss)."),
    Column("in_dunning_amount", "In dunning at the end, amount", "money",
           "What was due of these invoices."),
)  # fmt: skip
_RATE = Column(
    "recovery_rate",
    "Recovery rate",
    "percent",
    "Recovered / (recovered + lost), by amount; none where neither was.",
)
_MEDIAN = Column(
    "days_to_recover",
    "Days to recover",
    "number",
    "The median of the days from the first failed charge until it was paid, of what was recovered.",
)
_INVOICE = Column("invoice_id", "Invoice", "id", "Its page has what can be done about it.")
_CUSTOMER = (
    Column("number", "Number"),
    Column("user_id", "User", "user"),
    Column("email", "Email"),
    Column("customer_id", "Customer", "id"),
    Column("currency", "Currency"),
)
_NOW = (
    _CURRENCY,
    Column("invoices", "In dunning now", "number",
           "Invoices with a failed charge that are neither paid nor lost at this moment."),
    Column("amount_remaining", "To be paid", "money", "What is still to be paid of them."),
)  # fmt: skip
_WORKLIST = (
    _INVOICE,
    *_CUSTOMER,
    Column("amount_remaining", "To be paid", "money", "What is still to be paid of it."),
    Column("age", "Days", "number", "Whole days since its first charge failed."),
    Column("attempts", "Attempts", "number", "How often Stripe has tried to charge it."),
    Column("next_attempt", "Next attempt", "time", "When Stripe tries again, if it does."),
    _REASONED,
)
_LIST = (
    _INVOICE,
    *_CUSTOMER,
    Column("amount", "Amount", "money", "What was due."),
    _REASONED,
    Column("entered_at", "First failed", "time"),
    Column("recovered_at", "Paid", "time"),
    Column("lost_at", "Lost", "time"),
    Column("lost_by", "Lost by"),
)


def by_period(asked: Asked, moved: Movements) -> Iterator[Row]:
    """A row for each period and currency, with what is in dunning at its end."""
    sums_of = summed(moved, lambda period, currency, reason: (period, currency))
    days = medians(asked)
    standing = {
        currency: _in_dunning(Counter(), sums_of.get((-1, currency), Counter()))
        for currency in sorted({currency for _, currency in sums_of})
    }
    for period in range(asked.periods.count):
        for currency, before in standing.items():
            sums = sums_of.get((period, currency), Counter())
            standing[currency] = _in_dunning(before, sums)
            yield {
                "date": asked.periods.label(period),
                "currency": currency,
                **_figures(sums),
                **standing[currency],
                "days_to_recover": days.get((period, currency)),
                "span": asked.periods.span(period),
            }


def by_reason(moved: Movements) -> Iterator[Row]:
    """A row for each decline reason and currency; the most that entered first."""
    within = Counter({key: amount for key, amount in moved.items() if key[0] >= 0})
    sums_of = summed(within, lambda period, currency, reason: (currency, reason))
    largest = sorted(sums_of.items(), key=lambda it: (it[0][0], -it[1]["entered_amount"], it[0][1]))
    for (currency, reason), sums in largest:
        yield {"decline_reason": reason, "currency": currency, **_figures(sums)}


class FailedPayments(Report):
    """The report; the operations stand on the pages of the invoices that it lists."""

    name = "failed_payments"
    title = "Failed payments"
    about = (
        "Invoices that could not be charged: how many entered dunning, were recovered and were"
        " lost, why, and which are to be worked through now."
    )
    filters = (Filter("reason", "Decline reason", reasons),)
    by = "month"

    def view(self, asked: Asked) -> View:
        moved = movements(asked)
        periods = Table(
            "failed_payments",
            "By period",
            (Column("date", "From", "date", "The first day of the period."), _CURRENCY,
             *_FIGURES, *_STANDING, _RATE, _MEDIAN),
            list(by_period(asked, moved)),
            charts=(
                ChartOf("Recovered and lost", "What was due of the invoices, by period.",
                        ("recovered_amount", "lost_amount")),
                ChartOf("In dunning", "What was due of the invoices in dunning, at the end of each"
                        " period.", ("in_dunning_amount",), kind="lines"),
            ),
            drill=lambda row, column: _drill(column, row, row["span"]),
        )  # fmt: skip
        by_reasons = Table(
            "by_reason",
            "By decline reason",
            (_REASONED, _CURRENCY, *_FIGURES, _RATE),
            list(by_reason(moved)),
            about="Of the first charge that failed; everything of these days, by each reason.",
            charts=(
                ChartOf("Entered dunning, by decline reason", "What was due of the invoices.",
                        ("entered_amount",), label="decline_reason"),
            ),
            drill=lambda row, column: _drill(column, row, (asked.first, asked.last)),
        )  # fmt: skip
        standing = waiting(asked)
        worklist_ = _worklist(asked, asked.currency, MOST_LISTED)
        return View((periods, by_reasons, _now(standing), worklist_), _notes(standing))

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        what = drill.get("what", "")
        if what == "now":
            return _worklist(asked, drill.get("currency", ""))
        if what not in BEHIND:
            raise InvalidReportError(f"“{what[:60]}” is no figure of failed payments.")
        days = parsed_day(drill.get("from", "")), parsed_day(drill.get("to", ""))
        found = invoices(what, asked, days, drill.get("currency", ""), drill.get("reason", ""))
        title = next(column.title for column in (*_FIGURES, *_STANDING) if column.name == what)
        return Table(
            "invoices", f"Invoices: {title}", _LIST, _in_words(found), acts_on="invoice_id"
        )


def _now(standing: list[Row]) -> Table:
    """What is in dunning now, in sum: its figures open all of it."""
    return Table(
        "now",
        "In dunning now",
        _NOW,
        standing,
        about="At this moment, whatever days are asked for.",
        empty="No invoice is in dunning.",
        drill=lambda row, column: (
            None if column == "currency" else {"what": "now", "currency": row["currency"]}
        ),
    )


def _worklist(asked: Asked, currency: str, limit: int | None = None) -> Table:
    """What is in dunning now, whatever the days asked for; the page shows the largest."""
    return Table(
        "worklist",
        "To work through now",
        _WORKLIST,
        worklist(asked, currency, limit),
        about=(
            "Invoices in dunning now, the largest first. Who may, retries the payment, sends the"
            " invoice again, marks it as paid elsewhere or voids it from here or from its page."
        ),
        empty="No invoice is in dunning.",
        acts_on="invoice_id",
    )


def _notes(standing: list[Row]) -> list[str]:
    """What is to be known besides the definitions."""
    said = [
        "A bank debit counts as failed from the day on which it was asked for, as Stripe dates it."
    ]
    return said + [
        f"The list shows the {MOST_LISTED} largest of {row['invoices']:,} invoices in"
        f" {row['currency'].upper()}: the figures of “In dunning now” open all of them."
        for row in standing
        if row["invoices"] > MOST_LISTED
    ]


def _in_words(found: Iterable[Row]) -> Iterator[Row]:
    ways: dict[str, str] = {way.value: str(way.label) for way in InvoiceDunning.LostBy}
    for row in found:
        yield {**row, "lost_by": ways.get(row["lost_by"], "")}


def _figures(sums: Mapping[str, int]) -> Row:
    decided = sums["recovered_amount"] + sums["lost_amount"]
    rate = sums["recovered_amount"] / decided if decided else None
    return {**{column.name: sums[column.name] for column in _FIGURES}, "recovery_rate": rate}


def _in_dunning(before: Mapping[str, int], sums: Mapping[str, int]) -> Counter[str]:
    """What is in dunning at the end, after what has moved."""
    return Counter(
        {
            f"in_dunning{unit}": before[f"in_dunning{unit}"]
            + sums[f"entered{unit}"]
            + sums[f"regained{unit}"]
            - sums[f"recovered{unit}"]
            - sums[f"lost{unit}"]
            for unit in ("", "_amount")
        }
    )


def _drill(column: str, row: Row, span: tuple[date, date]) -> Drill | None:
    what = column.removesuffix("_amount")
    if what not in BEHIND:
        return None
    first, last = span
    drill = {"what": what, "from": f"{first}", "to": f"{last}", "currency": row["currency"]}
    return drill | ({"reason": row["decline_reason"]} if "decline_reason" in row else {})
