"""One entry of the ledger for each balance, which says how it stood when it was adopted.

The trigger `open_first` writes it for whoever moves before the batch comes to them, so that it is
the first of their entries in any case. One source (`opening:<user>`) is written once.
"""

import time
from collections.abc import Callable

from django.db import connection, transaction

from billing.database import rows

BATCH = 2_000  # users
PAUSE = 0.2  # seconds between two passes

# Of the users of a batch, those whom nobody has locked; the others come in the next pass.
_LOCK = """
    SELECT user_id FROM lead_credits WHERE user_id = ANY(%s) ORDER BY user_id
    FOR UPDATE SKIP LOCKED
"""
_OPEN = """
    INSERT INTO credit_entries (user_id, delta, balance_after, kind, source, actor, reason)
    SELECT c.user_id, c.balance, c.balance, 'opening', 'opening:' || c.user_id, 'adoption',
           'Opening balance'
    FROM lead_credits c
    WHERE c.user_id = ANY(%s) AND c.balance <> 0
      AND NOT EXISTS (SELECT FROM credit_entries e WHERE e.user_id = c.user_id)
    ORDER BY c.user_id
    ON CONFLICT (source) WHERE source IS NOT NULL DO NOTHING
"""
_LEFT = """
    SELECT FROM lead_credits c WHERE c.balance <> 0
      AND NOT EXISTS (SELECT FROM credit_entries e WHERE e.user_id = c.user_id) LIMIT 1
"""


def open_all(tell: Callable[[str], None]) -> int:
    """Opens the ledger of everybody who has a balance; how many entries were written."""
    written = 0
    while True:
        written += _pass(tell)
        if not rows(_LEFT):
            return written
        time.sleep(PAUSE)


def _pass(tell: Callable[[str], None]) -> int:
    last, written = "", 0
    while users := _after(last):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LOCK, [users])
            locked = [row[0] for row in cursor.fetchall()]
            # A statement of its own: it sees what was written while the locks were waited for.
            cursor.execute(_OPEN, [locked])
            written += cursor.rowcount
        last = users[-1]
        tell(f"{written:,} opening entries are written.")
    return written


def _after(last: str) -> list[str]:
    found = rows(
        "SELECT user_id FROM lead_credits WHERE user_id > %s AND balance <> 0"
        " ORDER BY user_id LIMIT %s",
        [last, BATCH],
    )
    return [row["user_id"] for row in found]
