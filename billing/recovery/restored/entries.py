"""Putting back the audit log and the ledger, row by row as they were, ids and times included.

An audit event's hash has its id in it: under its own id, after the same link, it gets the very hash
that it had. Where an id was given to something else since the restore, the row takes a new one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pgtrigger
from django.db import connection

from billing.projection.ledger import RESTORED, recorded, ways_back, write_entries
from billing.recovery.assessment.books import BROKEN_LINE
from billing.recovery.export import reading
from billing.recovery.export.store import Store
from billing.recovery.export.streams import AUDIT, LEDGER

CHUNK = 2_000  # rows in one statement
WRITES = ("insert", "update")
BROKEN = "The ledger's line was broken before the loss, and goes on from here"
TWICE = "Spent before the loss, and once more after the restore"

# As texts, so that every number in a payload stays as exact as it was.
_EVENTS = """
    INSERT INTO billing_events
    SELECT e.* FROM jsonb_array_elements(%s::jsonb) AS l,
        jsonb_populate_record(NULL::billing_events, l->'event') AS e
    ORDER BY e.id
"""
_RENUMBERED_EVENT = """
    INSERT INTO billing_events
    SELECT e.* FROM jsonb_populate_record(NULL::billing_events, jsonb_set(%s::jsonb->'event',
        '{id}', to_jsonb(nextval(pg_get_serial_sequence('billing_events', 'id'))))) AS e
    WHERE NOT EXISTS (
        SELECT FROM billing_events b
        WHERE b.recorded_at = e.recorded_at AND b.type = e.type AND b.actor = e.actor)
"""
_ENTRIES = """
    INSERT INTO credit_entries
    SELECT e.* FROM jsonb_array_elements(%s::jsonb) AS l
    JOIN LATERAL jsonb_populate_record(NULL::credit_entries, CASE
        WHEN EXISTS (SELECT FROM credit_entries c WHERE c.id = (l->>'id')::bigint)
        THEN jsonb_set(l, '{id}',
            to_jsonb(nextval(pg_get_serial_sequence('credit_entries', 'id'))))
        ELSE l END) AS e ON true
    WHERE NOT EXISTS (SELECT FROM credit_entries c WHERE c.source = e.source)
      AND NOT EXISTS (
        SELECT FROM credit_entries c
        WHERE c.user_id = e.user_id AND c.created_at = e.created_at
          AND c.kind = e.kind AND c.delta = e.delta AND c.owed_delta = e.owed_delta)
    ORDER BY e.id
    ON CONFLICT (source) WHERE source IS NOT NULL DO NOTHING  -- the first of two counts
    RETURNING user_id
"""
_TWICE_SPENT = """
    INSERT INTO credit_entries
        (user_id, delta, owed_delta, balance_after, owed_after, kind, reason)
    SELECT user_id, -sum(delta), -sum(delta), 0, sum(owed_delta) - sum(delta), 'correction', %s
    FROM credit_entries WHERE user_id = ANY(%s) GROUP BY user_id HAVING sum(delta) < 0
"""
_THEIRS = "(SELECT * FROM credit_entries WHERE user_id = ANY(%s))"
_BROKEN = f"""
    SELECT DISTINCT ON (user_id) user_id, id, balance_after, owed_after
    FROM credit_entries
    WHERE user_id IN (
        SELECT user_id FROM ({BROKEN_LINE.replace("%", "%%").format(entries=_THEIRS)}) AS b)
    ORDER BY user_id, id DESC
"""  # noqa: S608  (constants of ours)
_BALANCES = """
    INSERT INTO lead_credits AS b (user_id, balance, owed, updated_at)
    SELECT user_id, sum(delta), sum(owed_delta), max(created_at)
    FROM credit_entries WHERE user_id = ANY(%s) GROUP BY user_id
    ON CONFLICT (user_id) DO UPDATE SET balance = excluded.balance, owed = excluded.owed,
        updated_at = excluded.updated_at
"""


def put_back_audit(store: Store, after: int) -> tuple[int, int]:
    """The events of the links beyond `after`; how many, and of those how many with a new id.

    Needs a transaction. Raises StoreError.
    """
    reserve("billing_events", _highest_event(store, after))
    count = renumbered = 0
    for lines, are_free in _in_order(reading.texts(AUDIT.name, after, store)):
        with connection.cursor() as cursor:
            if are_free:
                cursor.execute(_EVENTS, [array(lines)])
                count += cursor.rowcount
            else:
                cursor.execute(_RENUMBERED_EVENT, [lines[0]])
                count += cursor.rowcount
                renumbered += cursor.rowcount
    return count, renumbered


def _highest_event(store: Store, after: int) -> int:
    found = reading.rows(AUDIT.name, after, store)
    return max((row["event"]["id"] for row in found if row["event"]), default=0)


def _in_order(found: Iterable[tuple[dict[str, Any], str]]) -> Iterator[tuple[list[str], bool]]:
    """Rows for one statement each, and whether their ids are free.

    A statement links its events in the order of their ids; the chain's order may be another.
    """
    for chunk in chunks((row, line) for row, line in found if row["event"]):
        taken = taken_ids("billing_events", [row["event"]["id"] for row, _ in chunk])
        run: list[str] = []
        last = 0
        for row, line in chunk:
            event_id = row["event"]["id"]
            if run and (event_id < last or event_id in taken):
                yield run, True
                run = []
            if event_id in taken:
                yield [line], False
                continue
            run.append(line)
            last = event_id
        if run:
            yield run, True


def put_back_ledger(store: Store, after: int) -> tuple[int, int]:
    """The entries with ids above `after` that are not here, and the balances of their users.

    How many entries, and how many balances. What Stripe has brought again since the restore is
    known by its source and left out. Needs a transaction. Raises StoreError.
    """
    count, users = 0, set[str]()
    for chunk in chunks(reading.texts(LEDGER.name, after, store)):
        reserve("credit_entries", max(row["id"] for row, _ in chunk))
        with connection.cursor() as cursor:
            cursor.execute(_ENTRIES, [array(line for _, line in chunk)])
            found = [user for (user,) in cursor.fetchall()]
        count += len(found)
        users.update(found)
    with connection.cursor() as cursor:
        cursor.execute(_TWICE_SPENT, [TWICE, list(users)])
    go_on(list(users))
    # The ledger has their entries already.
    ignored = pgtrigger.ignore(*(f"billing.LeadCredits:ledger_{verb}" for verb in WRITES))
    with ignored, connection.cursor() as cursor:
        cursor.execute(_BALANCES, [list(users)])
    return count, len(users)


def go_on(users: list[str]) -> None:
    """Has broken lines go on from two entries that say so, as after a tie-out.

    Somebody had written past the triggers, or the ids that lost entries had are now another's.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BROKEN, [users, users])
        ends = cursor.fetchall()
    for user, entry, balance, owed in ends:
        source = f"{RESTORED}{user}:{entry}"
        held, ledger = (balance, owed), recorded(user)
        unseen, back = ways_back(user, held, ledger, reason=BROKEN, source=source)
        write_entries([unseen, back] if back.changes else [unseen])


def reserve(table: str, highest: int) -> None:
    """Has the table's sequence give only ids above `highest` from now on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(s::regclass, %s) FROM pg_get_serial_sequence(%s, 'id') AS s"
            " WHERE coalesce(pg_sequence_last_value(s::regclass), 0) < %s",
            [highest, table, highest],
        )


def taken_ids(table: str, ids: list[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table} WHERE id = ANY(%s)", [ids])  # noqa: S608
        return {found for (found,) in cursor.fetchall()}


def chunks(
    found: Iterable[tuple[dict[str, Any], str]],
) -> Iterator[list[tuple[dict[str, Any], str]]]:
    some: list[tuple[dict[str, Any], str]] = []
    for each in found:
        some.append(each)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some


def array(lines: Iterable[str]) -> str:
    return f"[{','.join(lines)}]"
