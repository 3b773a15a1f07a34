"""The companions of the rows there are: batch by batch, each committed by itself.

A batch takes the rows that nobody has locked and leaves the others for the next pass: it never
waits while it holds a lock, so that it cannot be part of a deadlock with the application.
"""

import time
from collections.abc import Callable

from django.db import OperationalError, connection, transaction

from billing.adoption import journal
from billing.adoption.catalog import quoted, theirs
from billing.adoption.mapping import Mapped, TableMap, Way
from billing.adoption.triggers import to_ours
from billing.database import rows

BATCH = 2_000  # rows
PAUSE = 0.2  # seconds between two passes
Tell = Callable[[str], None]


def fill(mapping: TableMap, tell: Tell) -> None:
    """Writes what a row of theirs says into our columns beside it, wherever that is missing."""
    wanted = [each for each in mapping.of(Way.COMPANION) if _is_to_be_filled(mapping, each)]
    if not wanted:
        return
    table = theirs(mapping.table.name)
    missing = " OR ".join(f"({_is_missing(mapping, each)})" for each in wanted)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint",
                [table],
            )
            blocks = int(cursor.fetchone()[0])
        _pass(mapping, wanted, missing, blocks, tell)
        if not rows(f"SELECT FROM {table} WHERE {missing} LIMIT 1"):
            return
        time.sleep(PAUSE)


def _pass(mapping: TableMap, wanted: list[Mapped], missing: str, blocks: int, tell: Tell) -> None:
    table, name = theirs(mapping.table.name), mapping.table.name
    per_block = max(mapping.table.row_estimate / max(blocks, 1), 1)
    stride = max(int(BATCH / per_block), 1)
    values = ", ".join(f"{quoted(each.column)} = {_value(mapping, each)}" for each in wanted)
    statement = f"""
        WITH picked AS (
            SELECT ctid FROM {table}
            WHERE ctid >= %s::tid AND ctid < %s::tid AND ({missing}) FOR UPDATE SKIP LOCKED)
        UPDATE {table} AS t SET {values} FROM picked WHERE t.ctid = picked.ctid
    """  # noqa: S608  (the names are the catalog's, quoted)
    for start in range(0, blocks + 1, stride):
        with transaction.atomic(), connection.cursor() as cursor:
            hush()
            cursor.execute(statement, [f"({start},0)", f"({start + stride},0)"])
        tell(f"{name}: {min(start + stride, blocks):,} of {blocks:,} blocks are filled.")


def hush() -> bool:
    """Lets no trigger fire for the rest of the transaction, where we may; whether we may.

    Ours looks at the other setting; the application's would see an update that it never made.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('backoffice.filling', 'on', true)")
        try:
            with transaction.atomic():
                cursor.execute("SET LOCAL session_replication_role = replica")
        except OperationalError:
            return False
        except Exception as error:
            if getattr(error.__cause__, "sqlstate", "") != "42501":
                raise
            return False
    return True


def _is_to_be_filled(mapping: TableMap, each: Mapped) -> bool:
    """A key only until its index stands: after that what is empty was set apart."""
    return each is not mapping.key or not mapping.table.has_unique(each.column)


def _is_missing(mapping: TableMap, each: Mapped) -> str:
    column = quoted(each.column)
    is_made_up = each.theirs is None or each.name == "id"
    if is_made_up or (each.blank and each is not mapping.key):
        return f"{column} IS NULL"
    return f"{column} IS NULL AND {quoted(each.name)} IS NOT NULL"


def _value(mapping: TableMap, each: Mapped) -> str:
    column = quoted(each.column)
    if each.name == "id":
        return f"coalesce(t.{column}, nextval('{sequence(mapping)}'))"
    return f"coalesce(t.{column}, {to_ours(mapping, each, f't.{quoted(each.name)}')})"


def sequence(mapping: TableMap) -> str:
    """The sequence that gives the rows of a table our numbers."""
    return quoted(journal.schema(), f"{mapping.table.name}_number")


def set_apart(mapping: TableMap) -> int:
    """Leaves of the rows with one key the newest in sight; how many others there were."""
    key = mapping.key
    if key is None or key.way is not Way.COMPANION or mapping.table.has_unique(key.column):
        return 0
    table, column = theirs(mapping.table.name), quoted(key.column)
    columns = mapping.table.columns
    newest = [f"{quoted(n)} DESC NULLS LAST" for n in ("updated_at", "created_at") if n in columns]
    order = ", ".join([*newest, "ctid DESC"])
    with transaction.atomic(), connection.cursor() as cursor:
        hush()
        cursor.execute(
            f"""
            UPDATE {table} AS t SET {column} = NULL
            FROM (SELECT ctid, row_number() OVER (PARTITION BY {column} ORDER BY {order}) AS place
                  FROM {table} WHERE {column} IN (
                      SELECT {column} FROM {table} WHERE {column} IS NOT NULL
                      GROUP BY {column} HAVING count(*) > 1)) AS d
            WHERE t.ctid = d.ctid AND d.place > 1
            """  # noqa: S608
        )
        return int(cursor.rowcount)
