"""What can be done about the rows of a report: the operations' own pages, filled in."""

from collections.abc import Callable
from urllib.parse import urlencode

from billing.admin.finance.rendering import Cell
from billing.admin.forms import User
from billing.admin.operations import MARK_PAID, PAY, RESEND, VOID
from billing.revenue.report import Row, Table

OPERATIONS = {"invoice_id": (PAY, RESEND, MARK_PAID, VOID)}  # by the column with their target


def acts_of(table: Table, user: User) -> Callable[[Row], list[Cell]] | None:
    """The operations on a row, for those that this person may run; None where there are none."""
    offered = [
        (page.title, page.url())
        for page in OPERATIONS.get(table.acts_on, ())
        if page.is_permitted(user)
    ]
    if not offered:
        return None

    def acts(row: Row) -> list[Cell]:
        query = urlencode({"target": row[table.acts_on]})
        return [Cell(title, f"{url}?{query}") for title, url in offered]

    return acts
