"""The days and hours of revenue: what a year's entries add up to, at once.

A trigger of the entries keeps them (`billing_revenue_days`, `billing_revenue_hours`); here they
are built anew, checked, and read.
"""

from billing.models import RevenueDay, RevenueEntry, RevenueHour
from billing.models.balance import REVENUE_SUMS, SETTLED_TAX, RevenueSums
from billing.revenue.mrr.derived import Derived, Kept
from billing.revenue.periods import EDGES, HOUR_EDGES, Unit, of_edges

_APART = ("item", "kind", "currency", "settled_currency")
_SUMS = {"count": "count(*)", **{name: f"sum({what})" for name, what in REVENUE_SUMS.items()}}


def _kept(model: type[RevenueSums], unit: Unit) -> Kept:
    """The table of the sums by `unit` of UTC, which names its column of time."""
    key = (unit, *_APART)
    return Kept(
        Derived(
            model._meta.db_table,
            f"({', '.join(_SUMS)}) <> ({', '.join('0' for _ in _SUMS)})",
            key,
            (*key, *_SUMS),
            f"""
            SELECT date_trunc('{unit}', at, 'UTC') AS {unit}, {", ".join(_APART)},
                   {", ".join(f"{sum_} AS {name}" for name, sum_ in _SUMS.items())}
            FROM billing_revenue_entries GROUP BY 1, 2, 3, 4, 5
            """,  # noqa: S608  (names that the code has)
            at=unit,
        ),
        RevenueEntry._meta.db_table,
    )


DAYS = _kept(RevenueDay, "day")
HOURS = _kept(RevenueHour, "hour")
_COLUMNS = "item, kind, currency, settled_currency, amount, fee, tax, settled_amount, settled_fee"
_HOUR = f"hour AS at, {_COLUMNS}, settled_tax"
_WHOLE = "count <> 0 AND hour NOT IN (SELECT hour FROM hour_edges)"
_ENTRY = f"at, {_COLUMNS}, {SETTLED_TAX}"
ENTRIES = f"(SELECT *, {SETTLED_TAX} AS settled_tax FROM billing_revenue_entries) entries"  # noqa: S608
"""A FROM clause's entries, one by one."""
SUMS = f"""(
    WITH {EDGES}, {HOUR_EDGES}
    SELECT day AS at, {_COLUMNS}, settled_tax FROM billing_revenue_days
    WHERE count <> 0 AND day NOT IN (SELECT day FROM edges)
    UNION ALL
    {of_edges(_HOUR, "billing_revenue_hours", "hour", where=_WHOLE)}
    UNION ALL
    {of_edges(_ENTRY, "billing_revenue_entries", unit="hour")}
) entries"""  # noqa: S608
"""The same for sums by period: whole days of UTC, the whole hours of those days that a period
cuts, and the entries of those hours that it cuts."""
