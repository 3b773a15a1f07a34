"""The lots of some users' credits and what used them, derived from the ledger: first in, first out.

Of each user, the credits that ever came and those that ever went are laid out in a row each, in
the order of the ledger; where a lot lies beside an entry that took credits, the entry used the
lot. What comes later lies further on, so that no earlier use ever changes.
"""

from collections.abc import Collection

from billing.database import TEXTS, as_json, cursor
from billing.revenue.credits import statements


def stage(users: Collection[str]) -> None:
    """Derives everything of these users into temporary tables, which the transaction's end empties.

    They are `stage_entries` (an entry of the ledger; where its `delta` is above 0, a lot) and
    `stage_uses`. With the users come those from whom credits were moved to them. Needs an open
    transaction.
    """
    with cursor() as bound:
        bound.execute(statements.TABLES)
        bound.execute("TRUNCATE stage_entries, stage_uses")
        wanted = as_json(sorted(with_givers(users)))
        bound.execute(statements.ENTRIES.format(users=TEXTS), [wanted])
        bound.execute("ANALYZE stage_entries (id, user_id, delta)")
        bound.execute(statements.USES)
        _value_returns()


def with_givers(users: Collection[str]) -> set[str]:
    """These users, those from whom credits were moved to them, and so on back."""
    found, new = set(users), set(users)
    while new:
        with cursor() as bound:
            bound.execute(statements.GIVERS.format(users=TEXTS), [as_json(sorted(new))])
            new = {row[0] for row in bound.fetchall()} - found
        found |= new
    return found


def _value_returns() -> None:
    """Gives the lots that came back what had been taken, one after the other.

    Such a lot may have been taken and have come back again: each round knows the value of those
    lots that depend on what the round before has valued. Every one depends on earlier entries.
    """
    with cursor() as bound:
        bound.execute("SELECT EXISTS (SELECT FROM stage_entries WHERE delta > 0 AND paid IS NULL)")
        unvalued = bound.fetchone()[0]
        while unvalued:
            bound.execute(statements.RETURNS)
            unvalued = bound.rowcount > 0
            bound.execute(statements.VALUES)
