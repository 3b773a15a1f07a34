"""What is exported next, each row once, however late its transaction commits.

`audit` is the audit log in the order of its chain, whose positions are given under one lock: what
can be seen of it has no gaps. `ledger` is credit_entries in the order of ids, which are given
before their rows can be seen: it waits for whoever is writing there. `records` are the rows of the
other tables as they are after each change: triggers note which changed, and what is taken is the
note; one that is seen late is taken late, and always the row as it is by then.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection
from django.utils import timezone

from billing.models import CreditEntry, ExportProgress
from billing.recovery.export.tables import BY_TABLE, OURS

ROWS = 5_000  # in one segment, about
TAKEN = 5_000  # notes of changes looked at at a time

_AUDIT = """
    SELECT c.position, jsonb_build_object(
        'position', c.position, 'hash', c.hash, 'event', to_jsonb(e))::text
    FROM billing_audit_chain c LEFT JOIN billing_events e ON e.id = c.event_id
    WHERE c.position > %s ORDER BY c.position LIMIT %s
"""
_LEDGER = """
    SELECT id, to_jsonb(e)::text FROM credit_entries e
    WHERE id > %s AND id <= %s ORDER BY id LIMIT %s
"""
_NOTED = """
    WITH due AS (
        SELECT id, sum(cardinality(row_ids)) OVER (ORDER BY id) - cardinality(row_ids) AS before
        FROM (
            SELECT id, row_ids FROM billing_export_changes ORDER BY id LIMIT %s
        ) AS looked_at
    ), taken AS (
        DELETE FROM billing_export_changes c USING due
        WHERE c.id = due.id AND due.before < %s RETURNING c.id, c.table_name, c.row_ids
    )
    SELECT table_name, row_ids FROM taken ORDER BY id
"""
_NOTE_ALL = """
    INSERT INTO billing_export_changes (table_name, row_ids)
    SELECT %s, array_agg(id ORDER BY id)
    FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 200 FROM {table}) AS n(id, note)
    GROUP BY note ORDER BY note
"""
# Whoever writes to a table holds this lock from before its first id to the transaction's end.
_WRITERS = """
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid IS DISTINCT FROM pg_backend_pid()
      AND relation = ANY(%s::text[]::regclass[]::oid[])
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one segment, as JSON texts, with the first and the last one's id."""

    lines: list[str]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. `take` needs a transaction. One that `waits` takes nothing above the `newest`
    id that was given when it looked, and that only once those are over that were writing then to
    the `tables`."""

    name: str
    take: Callable[[ExportProgress], Batch | None]
    newest: Callable[[], int] = lambda: 0
    tables: tuple[str, ...] = ()
    waits: bool = False


def next_batch(stream: Stream, progress: ExportProgress) -> tuple[Batch | None, bool]:
    """What comes next, None where nothing does yet; and whether that is all. In a transaction.

    Where nothing comes, all that was committed before the note is exported.
    """
    over = not stream.waits or is_past(stream, progress)
    batch = stream.take(progress) if over else None
    if batch is None and over:
        progress.exported_at = progress.noted_at
    return batch, over


def is_past(stream: Stream, progress: ExportProgress) -> bool:
    """Whether all who were writing at the note are over."""
    return not set(progress.waits_for) & set(writers(stream.tables))


def noted(stream: Stream) -> ExportProgress:
    """The newest id that was given, and only then who may still bring rows up to it."""
    now, newest = timezone.now(), stream.newest()
    return ExportProgress(
        stream=stream.name, next_id=newest, waits_for=writers(stream.tables), noted_at=now
    )


def writers(tables: tuple[str, ...]) -> list[str]:
    """The transactions of others that have written to one of these tables, or begun to."""
    if not tables:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [list(tables)])
        return [transaction for (transaction,) in cursor.fetchall()]


def note_everything() -> None:
    """Notes all rows that are there, as if each had changed just now."""
    with connection.cursor() as cursor:
        for model in OURS:
            table = model._meta.db_table
            cursor.execute(_NOTE_ALL.format(table=table), [table])
        cursor.execute(
            _NOTE_ALL.format(
                table="(SELECT id FROM billing_customers WHERE attributed_by = 'operator') AS c"
            ),
            ["billing_customers"],
        )


def _take_audit(progress: ExportProgress) -> Batch | None:
    return _selected(_AUDIT, [progress.last_id, ROWS])


def _take_ledger(progress: ExportProgress) -> Batch | None:
    return _selected(_LEDGER, [progress.last_id, progress.next_id, ROWS])


def _take_records(progress: ExportProgress) -> Batch | None:
    """The rows that were noted, as they are now: a later change has a later note."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTED, [TAKEN, ROWS])
        ids: dict[str, dict[int, None]] = {}
        for table, row_ids in cursor.fetchall():
            ids.setdefault(table, {}).update(dict.fromkeys(row_ids))
    lines = [
        f'{{"n": {number}, {image}}}'
        for number, image in enumerate(
            (image for table in ids if table in BY_TABLE for image in _images(table, ids[table])),
            start=progress.last_id + 1,
        )
    ]
    if not lines:
        return None
    return Batch(lines, progress.last_id + 1, progress.last_id + len(lines))


def _images(table: str, ids: dict[int, None]) -> list[str]:
    """Each row's table, id and image as the inside of a JSON object; null for one that is gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, to_jsonb(t)::text FROM {table} t WHERE id = ANY(%s)",  # noqa: S608
            [list(ids)],
        )
        rows = dict(cursor.fetchall())
    name = json.dumps(table)
    return [f'"table": {name}, "id": {id_}, "row": {rows.get(id_, "null")}' for id_ in ids]


def _selected(sql: str, params: list[int]) -> Batch | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
    if not rows:
        return None
    return Batch([line for _, line in rows], rows[0][0], rows[-1][0])


def _newest_entry() -> int:
    """The last id that the ledger's sequence gave, its row to be seen or not."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)",
            [CreditEntry._meta.db_table],
        )
        return int(cursor.fetchone()[0] or 0)


AUDIT = Stream("audit", _take_audit)
LEDGER = Stream("ledger", _take_ledger, _newest_entry, (CreditEntry._meta.db_table,), waits=True)
RECORDS = Stream("records", _take_records, tables=tuple(BY_TABLE))
STREAMS = (AUDIT, LEDGER, RECORDS)
NAMES = tuple(stream.name for stream in STREAMS)
