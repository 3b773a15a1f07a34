"""Who spent most credits on leads, within any days.

Of whole months of UTC, what a user spent is the difference of two sums that
`billing_credit_spenders` keeps; the days beside them, and all days where they hold fewer than two
such months, are added up from the uses.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from billing.database import adding_up, rows
from billing.models.credit_lots import SPENT
from billing.revenue.periods import Periods

MOST = 20  # users

_SPENT = f"purpose IN {SPENT}"
_OF_DAYS = f"""
    SELECT user_id, sum(credits) AS spent FROM billing_credit_uses
    WHERE at >= %(since)s AND at < %(until)s AND {_SPENT}
    GROUP BY user_id ORDER BY spent DESC, user_id LIMIT %(most)s
"""  # noqa: S608
_BY = "coalesce(spent[least({month}, last_month + 1) - first_month], 0)"  # before that month
_OF_MONTHS = f"""
    SELECT user_id, {_BY.format(month="%(ended)s")} - {_BY.format(month="%(begun)s")}
                    + coalesce(beside.credits, 0) AS spent
    FROM billing_credit_spenders LEFT JOIN (
        SELECT user_id, sum(credits)::float8 AS credits FROM (
            SELECT user_id, credits FROM billing_credit_uses
            WHERE at >= %(since)s AND at < %(whole_since)s AND {_SPENT}
            UNION ALL
            SELECT user_id, credits FROM billing_credit_uses
            WHERE at >= %(whole_until)s AND at < %(until)s AND {_SPENT}
        ) uses GROUP BY user_id
    ) beside USING (user_id)
    WHERE last_month >= %(first)s
    ORDER BY spent DESC, user_id LIMIT %(most)s
"""  # noqa: S608
_TOLD = f"""
    SELECT user_id, sum(sum(credits)) OVER of_user AS spent, currency, sum(credits) AS credits,
           sum(value)::bigint AS value
    FROM ({{heaviest}}) heaviest JOIN billing_credit_uses USING (user_id)
    WHERE at >= %(since)s AND at < %(until)s AND {_SPENT}
    GROUP BY user_id, currency WINDOW of_user AS (PARTITION BY user_id)
    ORDER BY spent DESC, user_id, currency
"""  # noqa: S608


def heaviest(periods: Periods) -> Iterator[dict[str, Any]]:
    """Who spent most credits, and what had been paid for them: a row for each currency.

    It begins when read: at 200,000 users who spent, a year takes a tenth of a second.
    """
    since, until = periods.since.astimezone(UTC), periods.until.astimezone(UTC)
    first, ended = _number(since), _number(until)
    begun = min(first if since == _month(first) else first + 1, ended)
    given = {
        "since": since, "until": until, "most": MOST, "first": first, "begun": begun,
        "ended": ended, "whole_since": _month(begun), "whole_until": _month(ended),
    }  # fmt: skip
    sql = _OF_MONTHS if ended - begun > 1 else _OF_DAYS
    with adding_up():
        _by_index()
        found = rows(_TOLD.format(heaviest=sql), given)
    for row in found:
        yield row | {"spent": int(row["spent"]), "credits": int(row["credits"])}


def _by_index() -> None:
    """Reads those who have spent since: who left long ago may be most of all, whatever is known
    of that. Of all users it takes no longer than to read the table from end to end."""
    with connection.cursor() as held:
        held.execute("SET LOCAL enable_seqscan = off")


def _number(moment: datetime) -> int:
    """Of a moment's month, as in CreditSpender."""
    return moment.year * 12 + moment.month


def _month(number: int) -> datetime:
    """When the month of that number begins."""
    year, month = divmod(number - 1, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
