"""The days of Stripe's balance (`billing_balance_days`): what all time before adds up to, at once.

A trigger of the balance's transactions keeps them; here they are built anew, and checked.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction

from billing.models import BalanceDay
from billing.revenue.mrr.derived import Derived

DAYS = Derived(
    BalanceDay._meta.db_table,
    "(count, fee, net) <> (0, 0, 0)",
    ("day", "currency", "category"),
    ("day", "currency", "category", "count", "fee", "net"),
    """
    SELECT date_trunc('day', created_at, 'UTC') AS day, currency, category, count(*) AS count,
           sum(fee)::bigint AS fee, sum(net)::bigint AS net
    FROM billing_balance_transactions GROUP BY 1, 2, 3
    """,
    at="day",
)


def refresh() -> int:
    """Nothing is ever left to be added up: the trigger does it with the movement itself."""
    return 0


def rebuild() -> int:
    """Adds everything up anew, while nobody writes to the balance; how many rows differed."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE billing_balance_transactions IN SHARE MODE")
        return DAYS.derive().count


def check() -> Iterable[dict[str, Any]]:
    """Where the days are not what their transactions add up to (billing.revenue.facts.Family)."""
    return DAYS.differences()
