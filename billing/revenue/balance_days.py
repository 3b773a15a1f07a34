"""The days of Stripe's balance (`billing_balance_days`): what all time before adds up to, at once.

A trigger of the balance's transactions keeps them; here they are built anew, checked, and read.
"""

from billing.models import BalanceDay, BalanceTransaction
from billing.revenue.mrr.derived import Derived, Kept
from billing.revenue.periods import EDGES, of_edges

DAYS = Kept(
    Derived(
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
    ),
    BalanceTransaction._meta.db_table,
)
_MOVEMENT = "created_at, currency, category, 1, fee, net"
SUMS = f"""(
    WITH {EDGES}
    SELECT day AS at, currency, category, count, fee, net FROM billing_balance_days
    WHERE day NOT IN (SELECT day FROM edges)
    UNION ALL
    {of_edges(_MOVEMENT, "billing_balance_transactions", "created_at")}
) moved"""  # noqa: S608
"""A FROM clause for sums by period: whole days of UTC, where all of a day's movements may be gone,
and the movements of those days that a period cuts."""
