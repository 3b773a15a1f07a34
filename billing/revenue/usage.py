"""Credit usage per user, and whose differs from what they used before (runbook, R3)."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from billing.database import cursor
from billing.formatting import iso_time

HISTORY = 8  # earlier periods that a user is compared with
LEAST_HISTORY = 3  # of them, without which nobody is judged
SPREADS = 3  # standard deviations of a user's own history that are usual
SHARE = 0.5  # of the mean, that is usual as well
FLOOR = 10  # credits; what differs by less never alarms
TOP = 20  # users that used most
MOST_OUTLIERS = 100

_USERS = """
    WITH used AS (
        SELECT user_id, width_bucket(claimed_at, %(starts)s::timestamptz[]) AS period,
               count(*) AS claims, sum(credits_spent) AS credits
        FROM lead_claims
        WHERE claimed_at >= %(first)s AND claimed_at < %(until)s AND status = 'succeeded'
        GROUP BY user_id, period
    ), by_user AS (
        SELECT user_id,
               coalesce(sum(claims) FILTER (WHERE period = %(last)s), 0) AS claims,
               coalesce(sum(credits) FILTER (WHERE period = %(last)s), 0) AS credits,
               coalesce(sum(credits) FILTER (WHERE period < %(last)s), 0) AS before,
               coalesce(sum(credits ^ 2) FILTER (WHERE period < %(last)s), 0) AS squares
        FROM used GROUP BY user_id
    ), known AS (
        SELECT by_user.*, %(last)s - greatest(
                   width_bucket(first.claimed_at, %(starts)s::timestamptz[]), 1) AS periods
        FROM by_user CROSS JOIN LATERAL (
            SELECT claimed_at FROM lead_claims c
            WHERE c.user_id = by_user.user_id AND c.status = 'succeeded'
            ORDER BY claimed_at LIMIT 1
        ) first
    ), judged AS (
        SELECT *, before / nullif(periods, 0) AS mean,
               sqrt(greatest(squares / nullif(periods, 0) - (before / nullif(periods, 0)) ^ 2, 0))
                   AS spread
        FROM known
    ), ranked AS (
        SELECT *, credits - mean AS differs,
               periods >= %(least)s AND abs(credits - mean)
                   > greatest(%(spreads)s * spread, %(share)s * mean, %(floor)s) AS is_outlier,
               row_number() OVER (ORDER BY credits DESC, claims DESC, user_id) AS place
        FROM judged
    ), listed AS (
        SELECT *, count(*) FILTER (WHERE is_outlier) OVER () AS outliers,
               row_number() OVER (PARTITION BY is_outlier
                                  ORDER BY abs(differs) DESC NULLS LAST, user_id) AS outlying
        FROM ranked
    )
    SELECT user_id, claims::bigint, credits::bigint, round(mean, 1)::float8,
           round(spread, 1)::float8, periods, coalesce(is_outlier, false), place, outliers
    FROM listed
    WHERE place <= %(top)s AND claims > 0 OR is_outlier AND outlying <= %(most)s
    ORDER BY place
"""
_TOTALS = """
    SELECT width_bucket(claimed_at, %(starts)s::timestamptz[]), count(DISTINCT user_id)
               FILTER (WHERE status = 'succeeded'),
           count(*) FILTER (WHERE status = 'succeeded'),
           coalesce(sum(credits_spent) FILTER (WHERE status = 'succeeded'), 0)::bigint,
           count(*) FILTER (WHERE status <> 'succeeded')
    FROM lead_claims WHERE claimed_at >= %(first)s AND claimed_at < %(until)s GROUP BY 1
"""


def usage(since: datetime, until: datetime, timezone: str) -> dict[str, Any]:
    """Claims and credits of each user from `since` up to `until`, bounded, and ready for JSON.

    Use is what succeeded claims cost: a failed claim bought nothing, and its credits, where any
    were taken, are given back. How many failed stands beside it (`failed`).

    An outlier is a user whose credits differ from the mean of their own 8 periods before (of the
    same length by the zone's clock, from their first claim on, at least 3 of them) by more than
    each of: 3 standard deviations of those periods, half of that mean, and 10 credits. So a
    steady user alarms only at half as much again, and small numbers never do. `direction` is
    `more` or `less`.
    """
    periods = earlier(since, until, timezone)
    with cursor() as bound:
        bound.execute(_TOTALS, {"starts": periods[-2:], "first": periods[-2], "until": until})
        totals = {row[0]: row[1:] for row in bound.fetchall()}
        bound.execute(_USERS, _RULES | {"starts": periods, "first": periods[0], "until": until})
        rows = bound.fetchall()
    listed = [_user(row) for row in rows]
    return {
        "since": iso_time(since),
        "until": iso_time(until),
        "timezone": timezone,
        "totals": _total(totals.get(2)),
        "before": _total(totals.get(1)),
        "top": [user for user, row in zip(listed, rows, strict=True) if row[7] <= TOP and row[1]],
        "outliers": sorted(
            (user for user in listed if user["direction"]),
            key=lambda user: -abs(user["credits"] - user["mean"]),
        ),
        "outliers_found": rows[0][8] if rows else 0,
    }


def earlier(since: datetime, until: datetime, timezone: str) -> list[datetime]:
    """When the 8 periods before, and then the window itself, begin (UTC).

    They are as long as the window is by the zone's own clock, so that a week begins at the same
    hour on both sides of a change of the clocks.
    """
    zone = ZoneInfo(timezone)
    start = since.astimezone(zone).replace(tzinfo=None)
    length = until.astimezone(zone).replace(tzinfo=None) - start
    begun = [(start - length * back).replace(tzinfo=zone) for back in range(HISTORY, 0, -1)]
    return [*(moment.astimezone(UTC) for moment in begun), since.astimezone(UTC)]


_RULES = {
    "last": HISTORY + 1,
    "least": LEAST_HISTORY,
    "spreads": SPREADS,
    "share": SHARE,
    "floor": FLOOR,
    "top": TOP,
    "most": MOST_OUTLIERS,
}


def _total(row: tuple[int, ...] | None) -> dict[str, int]:
    names = ("users", "claims", "credits", "failed")
    return dict(zip(names, row or (0, 0, 0, 0), strict=True))


def _user(row: tuple[Any, ...]) -> dict[str, Any]:
    user_id, claims, credits_, mean, spread, periods, is_outlier = row[:7]
    return {
        "user_id": user_id,
        "claims": claims,
        "credits": credits_,
        "mean": mean,
        "spread": spread,
        "periods": periods,
        "direction": ("more" if credits_ > mean else "less") if is_outlier else "",
    }
