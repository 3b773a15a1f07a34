"""Keeps lots, uses and flows up with the ledger: as much as there is new, or all from the start."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from billing.database import cursor
from billing.revenue.credits import statements
from billing.revenue.credits.staging import stage

USERS = 2_000  # in one transaction
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('billing.credit_lots', 0))"

# Users with entries above `floor`, in the order of their ids, whose lots do not have them.
_BEHIND = """
    SELECT user_id FROM (
        SELECT e.user_id, max(e.id) AS last FROM credit_entries e
        WHERE e.id > %s AND e.user_id > %s GROUP BY e.user_id ORDER BY e.user_id
    ) e LEFT JOIN billing_credit_positions p USING (user_id)
    WHERE last > coalesce(p.entry_id, 0)
    ORDER BY user_id LIMIT %s
"""
_HORIZON = """
    SELECT p.floor, p.candidate, p.transaction,
           (SELECT coalesce(max(id), 0) FROM credit_entries),
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    FROM billing_credit_progress p WHERE p.id = 1
"""
_FORGET = """
    TRUNCATE billing_credit_lots, billing_credit_uses, billing_credit_flows,
             billing_credit_positions;
    UPDATE billing_credit_progress SET floor = 0, candidate = 0, transaction = 0 WHERE id = 1
"""


@dataclass(frozen=True, slots=True)
class Horizon:
    """Up to where the ledger is known to be derived, and what is known when we look at it.

    An entry may be seen later than one with a higher id, whose transaction ended earlier. But
    every transaction that had written up to `last` when we looked has an id below the one in
    which we note it. (A snapshot's xmax, `next_one`, can be below one that is open.)
    """

    floor: int
    candidate: int
    transaction: int
    last: int
    oldest_open: int
    next_one: int

    @property
    def reached(self) -> int:
        """The floor, once what is there to be seen now has been derived."""
        was_restored = self.transaction > self.next_one  # the ids are another server's
        over = self.oldest_open >= self.transaction or was_restored
        return max(self.candidate, self.floor) if over else self.floor

    @property
    def is_over(self) -> bool:
        """Whether the candidate has become the floor, so that there is room for another."""
        return self.reached >= self.candidate


def refresh() -> int:
    """Derives what the ledger has got since; how many users it was for.

    Each thousand or two of them in a transaction of its own: an interrupted one goes on where
    it was. Two at a time share the work.
    """
    horizon = _horizon()
    count = sum(_derive(users) for users in _behind(horizon.floor))
    _note(horizon)
    return count


def rebuild() -> int:
    """Forgets all that was derived, and derives it anew from the ledger; of how many users.

    Where it is interrupted, the next refresh goes on.
    """
    with transaction.atomic(), cursor() as bound:
        bound.execute(LOCK)
        bound.execute("INSERT INTO billing_credit_progress (id) VALUES (1) ON CONFLICT DO NOTHING")
        bound.execute(_FORGET)
    return refresh()


def _behind(floor: int) -> Iterator[list[str]]:
    after = ""
    while True:
        with cursor() as bound:
            bound.execute(_BEHIND, [floor, after, USERS])
            users = [row[0] for row in bound.fetchall()]
        if users:
            yield users
            after = users[-1]
        if len(users) < USERS:
            return


def _derive(users: list[str]) -> int:
    with transaction.atomic(), cursor() as bound:
        bound.execute(LOCK)
        stage(users)
        bound.execute(statements.APPLY)
        bound.execute(statements.ADVANCE)
    return len(users)


def _horizon() -> Horizon:
    with cursor() as bound:
        bound.execute("INSERT INTO billing_credit_progress (id) VALUES (1) ON CONFLICT DO NOTHING")
        bound.execute(_HORIZON)
        return Horizon(*bound.fetchone())


def _note(horizon: Horizon) -> None:
    """Raises the floor, unless somebody else has moved it meanwhile."""
    candidate = horizon.last if horizon.is_over else horizon.candidate
    with connection.cursor() as held:
        held.execute(
            """
            UPDATE billing_credit_progress
            SET floor = %s, candidate = %s, refreshed_at = now(),
                transaction = CASE WHEN %s THEN pg_current_xact_id()::text::bigint
                                   ELSE transaction END
            WHERE id = 1 AND floor = %s AND candidate = %s
            """,
            [horizon.reached, candidate, horizon.is_over, horizon.floor, horizon.candidate],
        )


def refreshed() -> dict[str, Any]:
    """When the last refresh ended (UTC, None for never), and up to which entry all is derived."""
    with cursor() as bound:
        bound.execute("SELECT refreshed_at, floor FROM billing_credit_progress WHERE id = 1")
        at, floor = bound.fetchone() or (None, 0)
    return {"refreshed_at": at, "floor": floor}
