"""The journal as a report, for a page and for files; `manage.py journal` writes it as well."""

from collections.abc import Mapping
from dataclasses import asdict

from django.conf import settings

from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.journal import journal
from billing.revenue.report import Column, Filter, Report, Table, View

COLUMNS = (
    Column("date", "Date", "date", "The day on which Stripe booked it, or an invoice was paid."),
    Column("account", "Account", definition="As JOURNAL_ACCOUNTS names it."),
    Column("debit", "Debit", "money", "What the account received."),
    Column("credit", "Credit", "money", "What the account gave."),
    Column("currency", "Currency", definition="The one that Stripe settled in."),
    Column(
        "reference",
        "Reference",
        definition="The day and currency, or the movement: its debits equal its credits.",
    ),
)
DETAILS = [("", "A reference a day and currency"), ("transaction", "A reference a movement")]


class JournalReport(Report):
    """Double entry, in the currencies that Stripe settles in."""

    name = "journal"
    title = "Journal"
    about = (
        "What Stripe's balance did, as double entry: every reference's debits equal its credits."
        " Revenue is without tax, which has an account of its own."
    )
    filters = (Filter("detail", "Detail", lambda: DETAILS),)

    def view(self, asked: Asked) -> View:
        detail = asked.more.get("detail", "")
        if detail not in dict(DETAILS):
            raise InvalidReportError("The detail is either empty or “transaction”.")
        lines = journal(
            asked.since,
            asked.until,
            asked.timezone,
            by="transaction" if detail else "day",
            names=settings.JOURNAL_ACCOUNTS,
        )
        rows = (asdict(line) for line in lines if asked.currency in ("", line.currency))
        return View([Table("journal", "Journal", COLUMNS, rows)])

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        raise InvalidReportError("Ask for the journal by movement to see what a day is made of.")
