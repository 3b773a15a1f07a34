"""The figures of subscriptions, added up from the facts by period and currency.

They are plain rows; `date` is a period's first day. Amounts are minor units a month. A moment
belongs to the period that begins with it. A currency may be asked for, '' for all.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from billing.database import rows
from billing.revenue.mrr import days
from billing.revenue.mrr.days import STATUSES
from billing.revenue.periods import Periods
from billing.revenue.report import Row

MOST_COHORTS = 24
USUAL_COHORTS = 12
_KINDS = ("new", "expansion", "contraction", "churned", "reactivated", "voluntary", "involuntary")
_ROLLED = (*_KINDS, *(f"{kind}_customers" for kind in _KINDS))


@dataclass
class Movements:
    """What moved in each period, and what stood when the first of them began."""

    periods: Periods
    currency: str = ""
    _by: dict[tuple[int, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    currencies: Sequence[str] = ()

    def __post_init__(self) -> None:
        moved = days.moved(self.periods, self.currency)
        self.currencies = sorted({row["currency"] for row in moved})
        for row in moved:
            _add(self._by[row["period"], row["currency"]], row)

    def roll_forward(self) -> list[Row]:
        """What came and went of the MRR and of the customers who have any.

        `opening`, each kind of change (contraction and churned as positive amounts), `closing`;
        with `_customers` the number of customers at the start, at the end, and of those who
        changed. `voluntary` and `involuntary` are parts of churned.
        """
        standing = {code: self._by[0, code].copy() for code in self.currencies}
        return [
            {"date": self.periods.label(number), "currency": code}
            | _rolled(standing[code], self._by[number + 1, code])
            for number in range(self.periods.count)
            for code in self.currencies
        ]

    def counts(self) -> list[Row]:
        """How many subscriptions are active, past due and trialing when each period ends."""
        standing = {code: self._by[0, code].copy() for code in self.currencies}
        found = []
        for number in range(self.periods.count):
            for code in self.currencies:
                standing[code].update(self._by[number + 1, code])
                numbers = {status: standing[code][status] for status in STATUSES}
                found.append({"date": self.periods.label(number), "currency": code, **numbers})
        return found


def _add(sums: Counter[str], row: Row) -> None:
    item, mrr, count = row["item"], row["mrr"], row["count"]
    if item in STATUSES:
        sums[item] += count
        return
    churned = {"churned": "voluntary", days.LOST: "involuntary"}.get(item)
    for name in ("churned", churned) if churned else (item,):
        sums[name] += abs(mrr)
        sums[f"{name}_customers"] += count
    sums["mrr"] += mrr
    sums["customers"] += -count if churned else count * (item in ("new", "reactivated"))


def _rolled(standing: Counter[str], sums: Counter[str]) -> Row:
    """A period's figures; `standing` becomes what it closes with."""
    opening, customers = standing["mrr"], standing["customers"]
    standing.update(mrr=sums["mrr"], customers=sums["customers"])
    return {
        "opening": opening,
        "opening_customers": customers,
        **{name: sums[name] for name in _ROLLED},
        "closing": standing["mrr"],
        "closing_customers": standing["customers"],
        "arpa": _half_up(standing["mrr"], standing["customers"]),
        "churn_rate": share(sums["churned_customers"], customers),
        "mrr_churn_rate": share(sums["churned"], opening),
    }


def share(part: int, whole: int) -> float | None:
    """A part of a whole, 0.5 for a half; None of nothing."""
    return part / whole if whole else None


def _half_up(total: int, count: int) -> int | None:
    return (2 * total + count) // (2 * count) if count else None


_BUCKET = "width_bucket({}, %(starts)s::timestamptz[])"
_CURRENCY = "(%(currency)s = '' OR currency = %(currency)s)"


def trials(periods: Periods, currency: str = "") -> list[Row]:
    """Trials that began and ended in each period, and how many of these had revenue after."""
    return [
        {
            "date": periods.label(row["period"] - 1),
            **{name: row[name] for name in ("currency", "started", "ended", "converted")},
            "lost": row["ended"] - row["converted"],
            "conversion": share(row["converted"], row["ended"]),
        }
        for row in rows(_TRIALS, _params(periods, currency))
    ]


_TRIALS = f"""
    SELECT {_BUCKET.format("at")} AS period, currency,
           count(*) FILTER (WHERE trial = 'started') AS started,
           count(*) FILTER (WHERE trial IN ('converted', 'lost')) AS ended,
           count(*) FILTER (WHERE trial = 'converted') AS converted
    FROM billing_subscription_states
    WHERE trial <> '' AND at >= %(since)s AND at < %(until)s AND {_CURRENCY}
    GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608  (names of this module)


def cohort_months(periods: Periods) -> Periods:
    """The months whose cohorts are shown: those asked for, else the last 12 up to then."""
    begin, end = periods.first.replace(day=1), periods.last
    months = (end.year - begin.year) * 12 + end.month - begin.month + 1
    if not 1 < months <= MOST_COHORTS:
        index = end.year * 12 + end.month - USUAL_COHORTS
        begin = date(index // 12, index % 12 + 1, 1)
    return Periods(begin, end, periods.timezone, "month")


def cohorts(months: Periods, currency: str = "") -> list[Row]:
    """Who had MRR for the first time in each month, and who of them has any later.

    `size` customers with `mrr` at first; `customers_0`, `mrr_0` and so on: the share that is left
    at the end of that month, of the next, and so on, as far as months have come.
    """
    moved: dict[tuple[int, str], list[Counter[str]]] = defaultdict(
        lambda: [Counter() for _ in months.dates]
    )
    for row in rows(_COHORTS, _params(months, currency)):
        cell = moved[row["cohort"] - 1, row["currency"]][row["month"] - 1]
        cell.update({name: row[name] for name in ("size", "first_mrr", "customers", "mrr")})
    return [
        {
            "date": months.label(cohort),
            "currency": code,
            "size": cells[cohort]["size"],
            "mrr": cells[cohort]["first_mrr"],
            **_retained(cells[cohort:], months.count),
        }
        for (cohort, code), cells in sorted(moved.items())
    ]


def _retained(cells: Sequence[Counter[str]], most: int) -> dict[str, float | None]:
    """The shares that are left, by age in months; None of months that have not come."""
    size, first = cells[0]["size"], cells[0]["first_mrr"]
    customers = mrr = 0
    shares: dict[str, float | None] = {}
    for age in range(most):
        has_come = age < len(cells)
        if has_come:
            customers += cells[age]["customers"]
            mrr += cells[age]["mrr"]
        shares[f"customers_{age}"] = share(customers, size) if has_come else None
        shares[f"mrr_{age}"] = share(mrr, first) if has_come else None
    return shares


_COHORTS = f"""
    SELECT currency, {_BUCKET.format("first_at")} AS cohort, {_BUCKET.format("at")} AS month,
           count(*) FILTER (WHERE kind = 'new') AS size,
           coalesce(sum(after) FILTER (WHERE kind = 'new'), 0)::bigint AS first_mrr,
           sum(CASE WHEN before = 0 THEN 1 WHEN after = 0 THEN -1 ELSE 0 END)::bigint AS customers,
           sum(after - before)::bigint AS mrr
    FROM billing_mrr_changes
    WHERE first_at >= %(since)s AND at < %(until)s AND {_CURRENCY} GROUP BY 1, 2, 3
"""  # noqa: S608  (names of this module)


def _params(periods: Periods, currency: str) -> dict[str, Any]:
    return {
        "starts": periods.starts,
        "since": periods.since,
        "until": periods.until,
        "currency": currency,
    }
