"""The days of revenue (`billing_revenue_days`): what a year's entries add up to, at once.

A trigger of the entries keeps them; here they are built anew, checked, and read.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction

from billing.models import RevenueDay
from billing.models.balance import SETTLED_TAX
from billing.revenue.mrr.derived import Derived
from billing.revenue.periods import EDGES

_KEY = ("day", "item", "kind", "currency", "settled_currency")
_SUMS = {
    "count": "count(*)",
    **{
        name: f"sum({name})::bigint"
        for name in ("amount", "fee", "tax", "settled_amount", "settled_fee")
    },
    "settled_tax": f"sum({SETTLED_TAX})",
}
DAYS = Derived(
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
)
_COLUMNS = "item, kind, currency, settled_currency, amount, fee, tax, settled_amount, settled_fee"
ENTRIES = f"(SELECT *, {SETTLED_TAX} AS settled_tax FROM billing_revenue_entries) entries"  # noqa: S608
"""A FROM clause's entries, one by one."""
SUMS = f"""(
    WITH {EDGES}
    SELECT day AS at, {_COLUMNS}, settled_tax FROM billing_revenue_days
    WHERE count <> 0 AND day NOT IN (SELECT day FROM edges)
    UNION ALL
    SELECT of_day.* FROM edges CROSS JOIN LATERAL (
        SELECT at, {_COLUMNS}, {SETTLED_TAX} FROM billing_revenue_entries
        WHERE at >= edges.day AND at < edges.day + interval '1 day' OFFSET 0
    ) of_day
) entries"""  # noqa: S608
"""The same for sums by period: whole days of UTC, and the entries of those that a period cuts.

OFFSET 0 has PostgreSQL look each such day up: else it compares all entries with every day.
"""


def refresh() -> int:
    """Nothing is ever left to be added up: the trigger does it with the entry itself."""
    return 0


def rebuild() -> int:
    """Adds everything up anew, while nobody writes entries; how many rows differed."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE billing_revenue_entries IN SHARE MODE")
        return DAYS.derive().count


def check() -> Iterable[dict[str, Any]]:
    """Where the days are not what their entries add up to (billing.revenue.facts.Family)."""
    return DAYS.differences()
