"""The days of revenue (`billing_revenue_days`): what a year's entries add up to, at once.

A trigger of the entries keeps them; here they are built anew, checked, and read.
"""

from billing.models import RevenueDay, RevenueEntry
from billing.models.balance import REVENUE_SUMS, SETTLED_TAX
from billing.revenue.mrr.derived import Derived, Kept
from billing.revenue.periods import EDGES, of_edges

_KEY = ("day", "item", "kind", "currency", "settled_currency")
_SUMS = {"count": "count(*)", **{name: f"sum({what})" for name, what in REVENUE_SUMS.items()}}
DAYS = Kept(
    Derived(
        RevenueDay._meta.db_table,
        f"({', '.join(_SUMS)}) <> ({', '.join('0' for _ in _SUMS)})",
        _KEY,
        (*_KEY, *_SUMS),
        f"""
        SELECT date_trunc('day', at, 'UTC') AS day, item, kind, currency, settled_currency,
               {", ".join(f"{sum_} AS {name}" for name, sum_ in _SUMS.items())}
        FROM billing_revenue_entries GROUP BY 1, 2, 3, 4, 5
        """,  # noqa: S608  (names that the code has)
        at="day",
    ),
    RevenueEntry._meta.db_table,
)
_COLUMNS = "item, kind, currency, settled_currency, amount, fee, tax, settled_amount, settled_fee"
ENTRIES = f"(SELECT *, {SETTLED_TAX} AS settled_tax FROM billing_revenue_entries) entries"  # noqa: S608
"""A FROM clause's entries, one by one."""
SUMS = f"""(
    WITH {EDGES}
    SELECT day AS at, {_COLUMNS}, settled_tax FROM billing_revenue_days
    WHERE count <> 0 AND day NOT IN (SELECT day FROM edges)
    UNION ALL
    {of_edges(f"at, {_COLUMNS}, {SETTLED_TAX}", "billing_revenue_entries")}
) entries"""  # noqa: S608
"""The same for sums by period: whole days of UTC, and the entries of those that a period cuts."""
