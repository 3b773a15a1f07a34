"""Whether lots, uses and flows are what the ledger says: compared with a fresh derivation."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.db import transaction

from billing.database import cursor
from billing.models.credit_lots import SPENT_BY_MONTH
from billing.revenue.credits import statements
from billing.revenue.credits.lots import LOCK, USERS
from billing.revenue.credits.staging import stage

MOST = 100  # differences that are told

_USERS = """
    SELECT DISTINCT user_id FROM credit_entries WHERE user_id > %s ORDER BY user_id LIMIT %s
"""
_OF_THESE = "user_id > %(after)s AND (%(last)s::text IS NULL OR user_id <= %(last)s)"
_OF_THESE_USES = _OF_THESE.replace("user_id", "u.user_id")

_LOTS = f"""
    WITH derived AS (
        SELECT id AS entry_id, user_id, at, delta AS credits, item AS origin, source, currency,
               coalesce(paid, 0) AS paid, price_id
        FROM stage_entries WHERE delta > 0 AND NOT is_new AND {_OF_THESE}
    ), stored AS (
        SELECT entry_id, user_id, at, credits, origin, source, currency, paid, price_id
        FROM billing_credit_lots WHERE {_OF_THESE}
    )
    SELECT 'Lot ' || entry_id, derived::text, stored::text
    FROM derived FULL JOIN stored USING (entry_id) WHERE derived IS DISTINCT FROM stored
    ORDER BY entry_id LIMIT %(most)s
"""  # noqa: S608
_USES = f"""
    WITH derived AS (
        SELECT u.lot_id, u.entry_id, u.user_id, u.at, u.credits, u.purpose, u.currency,
               coalesce(u.value, 0) AS value
        FROM stage_uses u
        JOIN stage_entries l ON l.id = u.lot_id JOIN stage_entries e ON e.id = u.entry_id
        WHERE NOT l.is_new AND NOT e.is_new AND {_OF_THESE_USES}
    ), stored AS (
        SELECT lot_id, entry_id, user_id, at, credits, purpose, currency, value
        FROM billing_credit_uses WHERE {_OF_THESE}
    )
    SELECT 'Use of lot ' || lot_id || ' by entry ' || entry_id, derived::text, stored::text
    FROM derived FULL JOIN stored USING (lot_id, entry_id) WHERE derived IS DISTINCT FROM stored
    ORDER BY entry_id, lot_id LIMIT %(most)s
"""  # noqa: S608
_BALANCES = f"""
    WITH ledger AS (
        SELECT user_id, sum(delta) AS credits, sum(delta) FILTER (WHERE id <= p.entry_id) AS known
        FROM credit_entries LEFT JOIN billing_credit_positions p USING (user_id)
        WHERE {_OF_THESE} GROUP BY user_id
    ), lots AS (
        SELECT user_id, sum(credits) AS credits FROM billing_credit_lots
        WHERE {_OF_THESE} GROUP BY user_id
    ), uses AS (
        SELECT user_id, sum(credits) AS credits FROM billing_credit_uses
        WHERE {_OF_THESE} GROUP BY user_id
    ), balances AS (
        SELECT user_id, balance FROM lead_credits WHERE {_OF_THESE}
    )
    SELECT 'Balance of user ' || user_id,
           format('ledger %%s, of which derived %%s', ledger.credits, ledger.known),
           format('balance %%s, left in lots %%s', coalesce(balance, 0),
                  coalesce(lots.credits, 0) - coalesce(uses.credits, 0))
    FROM ledger FULL JOIN balances USING (user_id)
    LEFT JOIN lots USING (user_id) LEFT JOIN uses USING (user_id)
    WHERE coalesce(ledger.credits, 0) <> coalesce(balance, 0)
       OR greatest(coalesce(ledger.known, 0), 0)
          <> coalesce(lots.credits, 0) - coalesce(uses.credits, 0)
    ORDER BY user_id LIMIT %(most)s
"""  # noqa: S608
_OVERUSED = f"""
    SELECT 'Lot ' || entry_id, format('%%s credits for %%s', l.credits, paid),
           format('%%s credits for %%s used', u.credits, u.value)
    FROM billing_credit_lots l JOIN (
        SELECT lot_id, sum(credits) AS credits, sum(value) AS value FROM billing_credit_uses
        WHERE {_OF_THESE} GROUP BY lot_id
    ) u ON u.lot_id = l.entry_id
    WHERE u.credits > l.credits OR u.value > paid OR u.credits = l.credits AND u.value <> paid
    ORDER BY entry_id LIMIT %(most)s
"""  # noqa: S608
_SPENDERS = f"""
    WITH derived AS ({SPENT_BY_MONTH.format(where=_OF_THESE)}), stored AS (
        SELECT user_id, first_month, last_month, spent FROM billing_credit_spenders
        WHERE {_OF_THESE}
    )
    SELECT 'What user ' || user_id || ' spent', derived::text, stored::text
    FROM derived FULL JOIN stored USING (user_id) WHERE derived IS DISTINCT FROM stored
    ORDER BY user_id LIMIT %(most)s
"""  # noqa: S608
_STAGE_FLOWS = f"""
    INSERT INTO stage_flows
    WITH moved (at, item, currency, credits, owed, sold, lot_credits, value) AS (
        SELECT at, item, CASE WHEN sold > 0 THEN currency ELSE '' END,
               delta::numeric - owed_delta, owed_delta, sold, 0, 0
        FROM stage_entries WHERE NOT is_new AND {_OF_THESE}
        UNION ALL
        SELECT at, item, currency, 0, 0, 0, delta, coalesce(paid, 0)
        FROM stage_entries WHERE delta > 0 AND NOT is_new AND {_OF_THESE}
        UNION ALL
        SELECT u.at, u.purpose, u.currency, 0, 0, 0, -u.credits, -coalesce(u.value, 0)
        FROM stage_uses u
        JOIN stage_entries l ON l.id = u.lot_id JOIN stage_entries e ON e.id = u.entry_id
        WHERE NOT l.is_new AND NOT e.is_new AND {_OF_THESE_USES}
    )
    {statements.SPANS}
"""  # noqa: S608
_FLOWS = """
    WITH derived AS (
        SELECT is_day, at, item, currency, sum(credits) AS credits, sum(owed) AS owed,
               sum(sold)::bigint AS sold, sum(lot_credits) AS lot_credits,
               sum(value)::bigint AS value
        FROM stage_flows GROUP BY is_day, at, item, currency
    ), stored AS (
        SELECT is_day, at, item, currency, credits, owed, sold, lot_credits, value
        FROM billing_credit_flows
    )
    SELECT concat_ws(' ', 'Flow', CASE WHEN is_day THEN 'of the day' END, at, item,
                     nullif(currency, '')), derived::text, stored::text
    FROM derived FULL JOIN stored USING (is_day, at, item, currency)
    WHERE derived IS DISTINCT FROM stored
    ORDER BY is_day, at, item, currency LIMIT %(most)s
"""


def check() -> list[dict[str, Any]]:
    """What differs from a fresh derivation: the `fact`, what is `here` and what is `derived`.

    At most 100 differences, none where all is well; null where there is none of either.

    Entries that came since the last refresh are no difference. A refresh waits meanwhile.
    """
    with transaction.atomic(), cursor() as bound:
        bound.execute(LOCK)
        bound.execute(statements.FLOW_TABLE)
        bound.execute("TRUNCATE stage_flows")
        return list(islice(_differences(), MOST))


def _differences() -> Iterator[dict[str, Any]]:
    for after, last in _ranges():
        these = {"after": after, "last": last}
        with cursor() as bound:
            bound.execute(_STAGE_FLOWS, these)
        for sql in (_LOTS, _USES, _SPENDERS, _OVERUSED, _BALANCES):
            yield from _told(sql, these)
    yield from _told(_FLOWS, {})


def _ranges() -> Iterator[tuple[str, str | None]]:
    """Ranges of users that together are all there are, each staged while it is looked at."""
    after = ""
    while True:
        with cursor() as bound:
            bound.execute(_USERS, [after, USERS])
            users = [row[0] for row in bound.fetchall()]
        stage(users)
        last = users[-1] if len(users) == USERS else None
        yield after, last
        if last is None:
            return
        after = last


def _told(sql: str, these: dict[str, str | None]) -> list[dict[str, Any]]:
    with cursor() as bound:
        bound.execute(sql, these | {"most": MOST})
        return [
            {"fact": fact, "here": stored, "derived": derived}
            for fact, derived, stored in bound.fetchall()
        ]
