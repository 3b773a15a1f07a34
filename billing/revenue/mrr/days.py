"""What moved on each day of UTC, added up, so that no view reads all history.

A period of another zone has whole days of UTC and the edges between; only the edges, and what has
not been added up yet, are read from the facts themselves. So the figures are always theirs.
"""

from datetime import UTC, datetime

from billing.database import rows
from billing.models import MrrDay
from billing.revenue.mrr.derived import Derived
from billing.revenue.periods import Periods
from billing.revenue.report import Row

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
STATUSES = ("active", "past_due", "trialing")
LOST = "involuntary"  # what churned without being asked for; `churned` is what was

_LISTED = ", ".join(f"'{status}'" for status in STATUSES)


def _movements(where: str) -> str:
    """What moved, and when; `where` is a condition on `{at}`, a column's name."""
    begins, ends = where.format(at="at"), where.format(at="until")
    return f"""
        SELECT at, currency, CASE WHEN voluntary IS FALSE THEN '{LOST}' ELSE kind END AS item,
               after - before AS mrr, 1 AS count
        FROM billing_mrr_changes WHERE {begins}
        UNION ALL
        SELECT at, currency, status, 0, 1
        FROM billing_subscription_states WHERE {begins} AND status IN ({_LISTED})
        UNION ALL
        SELECT until, currency, status, 0, -1
        FROM billing_subscription_states WHERE {ends} AND status IN ({_LISTED})
    """  # noqa: S608  (conditions of this module)


DAY = Derived(
    MrrDay._meta.db_table,
    "day >= %(since)s",
    ("day", "currency", "item"),
    ("day", "currency", "item", "mrr", "count"),
    f"""
    SELECT date_trunc('day', at, 'UTC') AS day, currency, item, sum(mrr)::bigint AS mrr,
           sum(count)::bigint AS count
    FROM ({_movements("{at} >= %(since)s")}) moved GROUP BY 1, 2, 3
    """,  # noqa: S608  (names of this module)
    at="day",
)
"""The days from `since`, the beginning of one."""

_BUCKET = "width_bucket({}, %(starts)s::timestamptz[])"
_CURRENCY = "(%(currency)s = '' OR currency = %(currency)s)"
_SINCE_STALE = "{at} >= (SELECT up_to FROM stale) AND {at} < %(until)s"
_EDGE = "{at} >= day AND {at} < day + interval '1 day' AND {at} < %(until)s"
_MOVED = f"""
    WITH stale AS MATERIALIZED (
        SELECT coalesce(date_trunc('day', min(stale_from), 'UTC'), 'infinity') AS up_to
        FROM billing_subscriptions_read
    ), edges AS MATERIALIZED (
        SELECT DISTINCT date_trunc('day', at, 'UTC') AS day
        FROM unnest(%(starts)s::timestamptz[] || %(until)s::timestamptz) AS bounds(at), stale
        WHERE at <> date_trunc('day', at, 'UTC') AND date_trunc('day', at, 'UTC') < up_to
    )
    SELECT currency, period, item, sum(mrr)::bigint AS mrr, sum(count)::bigint AS count FROM (
        SELECT currency, {_BUCKET.format("day")} AS period, item, mrr, count
        FROM billing_mrr_days
        WHERE day < %(until)s AND day < (SELECT up_to FROM stale)
            AND day NOT IN (SELECT day FROM edges)
        UNION ALL
        SELECT currency, {_BUCKET.format("at")}, item, mrr, count
        FROM edges CROSS JOIN LATERAL ({_movements(_EDGE)}) moved
        UNION ALL
        SELECT currency, {_BUCKET.format("at")}, item, mrr, count
        FROM ({_movements(_SINCE_STALE)}) moved
    ) moved WHERE {_CURRENCY} GROUP BY 1, 2, 3
"""  # noqa: S608  (names of this module)


def moved(periods: Periods, currency: str = "") -> list[Row]:
    """What moved in each period (from 1; 0 is all time before), by currency and item.

    Items are the kinds of change, with `involuntary` apart from what else churned: `mrr` as it
    changed, `count` of customers; and the statuses: `count` of subscriptions that came and went.
    """
    params = {"starts": periods.starts, "until": periods.until, "currency": currency}
    return rows(_MOVED, params)


def day_of(at: datetime) -> datetime:
    """When the day of UTC begins that a moment is in."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
