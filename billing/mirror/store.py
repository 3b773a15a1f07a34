"""Stripe's objects into dj-stripe's tables, whole pages at once.

Every table is written with one statement, whatever the number of objects. dj-stripe's own
sync writes the same rows one by one, with requests to Stripe in between; where it does not
find what newer API versions have moved, ours are filled (`billing.mirror.tables.MOVED`).

What Stripe has deleted stays, marked by Stripe's own `"deleted": true` in `stripe_data`:
dj-stripe deletes such rows, except customers, and with a price or a product the subscription
items of years. A deleted customer's `date_purged` is set, as dj-stripe does; products and
prices are no longer active.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from djstripe.models import Event
from psycopg import sql

from billing.database import cursor
from billing.gateway.observation import Observation, StripeDict
from billing.mirror import references
from billing.mirror.objects import Batch, Row, as_json, collect
from billing.mirror.references import MissingParentError, mend
from billing.mirror.tables import LEGACY_TABLE, LEGACY_TYPES, MODELS, Table, tables

logger = logging.getLogger(__name__)

__all__ = [
    "MissingParentError",
    "WrongModeError",
    "ensure_account",
    "mend",
    "missing_parents",
    "prepare",
    "supported",
    "write",
    "write_events",
]


class WrongModeError(ValueError):
    """An object of live mode was to be stored among those of test mode, or the reverse."""


def supported(kind: str) -> bool:
    """Whether dj-stripe has a table for Stripe's type `kind`; `write` ignores the others."""
    return kind in MODELS


def prepare(observations: Sequence[Observation]) -> Batch:
    """These objects as rows, for `missing_parents` and `write`, which both need them.

    Raises ValueError for what is not an object of its kind.
    """
    return collect(complete(observations))


def write(
    observations: Sequence[Observation] | Batch, *, account_id: str | None, livemode: bool
) -> None:
    """Store these objects, at most one observation of each, and all that they contain.

    Each replaces its row. So do the items of a subscription and the lines of an invoice, as
    far as they are in it; an object that is merely expanded in another one is stored if it
    was not known. `account_id` owns them all. Runs in the caller's transaction.

    Raises MissingParentError (see `missing_parents`), WrongModeError, and ValueError for
    what is not an object of its kind.
    """
    require_transaction()
    batch = observations if isinstance(observations, Batch) else prepare(observations)
    check_mode(batch, livemode)
    for left_out in batch.left_out:
        logger.warning("Not mirrored, because dj-stripe requires it: %s", left_out)
    if not batch.rows:
        return
    dangling = references.settle(batch, account_id)
    references.forget([row for row in batch.rows.values() if row.rank > 0])
    write_legacy(batch.legacy())
    taken = {
        (table.name, row.id)
        for table, rows in batch.by_table()
        for row in write_table(table, rows, account_id)
    }
    noted = [item for item in dangling if item.row.key in taken]
    references.remember(noted)
    written = batch.present()
    references.fill(written)

    def catch_up() -> None:  # Django names the function where it fails
        references.catch_up(written, noted)

    transaction.on_commit(catch_up, robust=True)


def missing_parents(observations: Sequence[Observation] | Batch) -> set[tuple[str, str]]:
    """Kinds and ids of objects without which `write` cannot store these.

    They are to be written first or in the same call, and may have such parents themselves.
    """
    batch = observations if isinstance(observations, Batch) else prepare(observations)
    return set(references.required(batch, references.absent(batch)))


def write_events(events: Sequence[StripeDict], account_id: str | None) -> None:
    """Store events; those that are there already stay as they are.

    Their objects are not stored. Raises MissingParentError if the account is not there.
    """
    require_transaction()
    references.settle(Batch(), account_id)
    execute(
        tables()["event"].insert, account_id, as_json([{"stripe_data": event} for event in events])
    )


def ensure_account(data: StripeDict) -> None:
    """Store the account that owns all others, as `GET /v1/account` gives it.

    Events that needed nothing may be there before it; they get their owner now.
    """
    account_id = str(data["id"])
    execute(tables()["account"].upsert, account_id, as_json([{"stripe_data": data}]))
    Event.objects.filter(djstripe_owner_account=None).update(djstripe_owner_account=account_id)


def require_transaction() -> None:
    """Foreign keys are checked at COMMIT, and locks are held until then."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("The mirror is written in the caller's transaction.")


def check_mode(batch: Batch, livemode: bool) -> None:
    """Live and test mode never mix. Raises WrongModeError."""
    for row in batch.rows.values():
        if row.data.get("livemode") not in (None, livemode):
            mode = "live" if livemode else "test"
            raise WrongModeError(f"{row.table.kind} {row.id} is not of {mode} mode.")


def complete(observations: Sequence[Observation]) -> list[Observation]:
    """Deleted objects as they last were, marked as deleted; the others as they are.

    Stripe retrieves a deleted object as an id and a mark; the rest is taken from its row.
    """
    stubs = [seen for seen in observations if seen.deleted and "created" not in seen.data]
    held = stored(stubs)
    return [
        replace(seen, data=held.get((seen.kind, seen.id), {}) | seen.data | {"deleted": True})
        if seen.deleted
        else seen
        for seen in observations
    ]


def stored(observations: Iterable[Observation]) -> dict[tuple[str, str], StripeDict]:
    """What our rows of these objects hold, by kind and id."""
    by_kind: dict[str, list[str]] = {}
    for seen in observations:
        if supported(seen.kind):
            by_kind.setdefault(seen.kind, []).append(seen.id)
    if not by_kind:
        return {}
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, id, stripe_data::text FROM {} WHERE id = ANY(%s)").format(
            sql.Literal(kind), sql.Identifier(tables()[kind].name)
        )
        for kind in by_kind
    )
    with cursor() as bound:
        bound.execute(query.as_string(), list(by_kind.values()))
        return {(kind, found): json.loads(data) for kind, found, data in bound.fetchall()}


def write_table(table: Table, rows: Sequence[Row], account_id: str | None) -> list[Row]:
    """Write rows of one table; those that it took."""
    observed = [row for row in rows if row.rank > 0]
    expanded = [row for row in rows if row.rank == 0]
    if observed:
        # An event never changes once it is made.
        statement = table.insert if table.kind == "event" else table.upsert
        execute(statement, account_id, records(observed))
    if expanded:
        new = set(execute(table.insert, account_id, records(expanded)))
        expanded = [row for row in expanded if row.id in new]
    taken = observed + expanded
    for link in table.links:
        references.relink(table.name, link, taken)
    return taken


def records(rows: Sequence[Row]) -> str:
    """Rows as the statements of their table take them."""
    return as_json(
        [{"stripe_data": row.data, "deleted_at": row.deleted_at, **row.targets} for row in rows]
    )


def execute(statement: str, account_id: str | None, objects: str) -> list[str]:
    """Run one of a table's statements; the ids that it returns."""
    with cursor() as bound:
        bound.execute(statement, [account_id, objects])
        return [object_id for (object_id,) in bound.fetchall()] if bound.description else []


def write_legacy(ids: list[str]) -> None:
    """Make these ids of cards, bank accounts and sources something to pay a charge with."""
    if not ids:
        return
    types = [LEGACY_TYPES.get(object_id.split("_")[0], "UNSUPPORTED") for object_id in ids]
    statement = sql.SQL(
        "INSERT INTO {} (id, type) SELECT * FROM unnest(%s::text[], %s::text[])"
        " ON CONFLICT DO NOTHING"
    ).format(sql.Identifier(LEGACY_TABLE))
    with cursor() as bound:
        bound.execute(statement.as_string(), [ids, types])
