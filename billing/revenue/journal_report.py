"""The journal as a report, for a page and for files; `manage.py journal` writes it as well."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from django.conf import settings

from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.journal import JournalBy, journal
from billing.revenue.report import Column, Drill, Filter, Report, Row, Table, View

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
MOVEMENTS = (
    Column("date", "Date", "date"),
    Column("reference", "Movement", definition="The balance transaction, or the invoice."),
    Column("account", "Account"),
    Column("debit", "Debit", "money", "What the account received."),
    Column("credit", "Credit", "money", "What the account gave."),
    Column("amount", "Debit less credit", "money"),
    Column("currency", "Currency"),
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
    has_periods = False
    is_closed = True

    def view(self, asked: Asked) -> View:
        detail = asked.more.get("detail", "")
        if detail not in dict(DETAILS):
            raise InvalidReportError("The detail is either empty or “transaction”.")
        rows = _lines(asked, "transaction" if detail else "day")
        return View([Table("journal", "Journal", COLUMNS, rows, drill=None if detail else _drill)])

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        """What a day did to an account, movement by movement."""
        account = drill.get("account", "")
        if account not in settings.JOURNAL_ACCOUNTS.values():
            raise InvalidReportError("There is no such account.")
        found = (
            row | {"amount": row["debit"] - row["credit"]}
            for row in _lines(asked, "transaction")
            if row["account"] == account
        )
        return Table("movements", f"Movements of {account}", MOVEMENTS, found)


def _lines(asked: Asked, by: JournalBy) -> Iterator[Row]:
    names = settings.JOURNAL_ACCOUNTS
    for line in journal(asked.since, asked.until, asked.timezone, by=by, names=names):
        if asked.currency in ("", line.currency):
            yield asdict(line)


def _drill(row: Row, column: str) -> Drill | None:
    """A line's day, account and currency: its debit less its credit is the sum of its movements."""
    if column not in ("debit", "credit"):
        return None
    day = str(row["date"])
    return {"account": row["account"], "currency": row["currency"], "from": day, "to": day}
