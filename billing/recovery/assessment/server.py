"""Can the database be read at all? Every table from end to end, and what PostgreSQL itself says."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import Error, connection, transaction

from billing.formatting import format_time
from billing.recovery.assessment.outcomes import (
    SHOWN,
    Check,
    Look,
    Outcome,
    Verdict,
    first_line,
    is_broken,
)

RESTORE = (
    "Stop the worker and the web server, copy the data directory as it is, and look at the disk"
    " and PostgreSQL's log. Then restore a backup into a new database: manage.py restore."
)
TABLES = """
    SELECT c.oid::regclass::text, n.nspname = current_schema(),
           pg_relation_size(c.oid) / current_setting('block_size')::int,
           has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
      AND n.nspname <> 'information_schema'
    ORDER BY n.nspname = 'pg_catalog' DESC, 1
"""
BTREES = """
    SELECT c.oid, c.oid::regclass::text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
    WHERE i.indisvalid AND i.indisready AND c.relpersistence = 'p' ORDER BY 2
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A table, and how many blocks it has on disk."""

    name: str
    is_ours: bool
    blocks: int
    may_read: bool


def stored_tables() -> list[Stored]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        return [Stored(*row) for row in cursor.fetchall()]


def readable(look: Look) -> Outcome:
    """Every table is read once, with everything that is stored apart from its rows."""
    tables = stored_tables()
    refused = [table.name for table in tables if table.is_ours and not table.may_read]
    broken: list[str] = []
    for number, table in enumerate(tables, 1):
        look.tell(f"reading {table.name}, {number:,} of {len(tables):,} tables")
        if table.may_read and (error := reading_fails(table.name)):
            broken.append(f"{table.name}: {error}")
            look.unreadable[table.name] = unreadable_blocks(table)
    numbers = {"tables": len(tables), "blocks": sum(table.blocks for table in tables)}
    if broken:
        return Outcome(
            "readable",
            Verdict.DAMAGED,
            f"{len(broken):,} of {len(tables):,} tables cannot be read to their end: "
            + "; ".join(broken[:SHOWN]),
            RESTORE,
            numbers={**numbers, "broken": len(broken)},
            rows=list(bad_rows(look))[:SHOWN],
        )
    if refused:
        said = f"This role may not read {', '.join(refused[:SHOWN])}."
        advice = "Look with the role that owns the tables."
        return Outcome("readable", Verdict.UNSURE, said, advice, numbers=numbers, is_blind=True)
    said = f"All {len(tables):,} tables can be read from end to end."
    return Outcome("readable", Verdict.OK, said, numbers=numbers)


def reading_fails(table: str, where: str = "") -> str:
    """Why a table, or a part of it, cannot be read; '' where it can.

    As text every value is taken out of where it is stored, compressed or elsewhere.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"SELECT sum(length(whole_row::text)) FROM ONLY {table} AS whole_row {where}"  # noqa: S608
            )
    except Error as error:
        if not is_broken(error):
            raise
        return first_line(error)
    return ""


def unreadable_blocks(table: Stored) -> list[int]:
    """Which blocks of a table make reading fail, by halves: at most as many as are shown."""
    found: list[int] = []
    spans = [(0, table.blocks)]
    while spans and len(found) < SHOWN:
        start, end = spans.pop()
        where = f"WHERE ctid >= '({start},0)' AND ctid < '({end},0)'"
        if start >= end or not reading_fails(table.name, where):
            continue
        if end - start == 1:
            found.append(start)
            continue
        middle = (start + end) // 2
        spans += [(middle, end), (start, middle)]
    return found


def bad_rows(look: Look) -> Iterator[dict[str, str]]:
    for table, blocks in look.unreadable.items():
        for block in blocks:
            yield {"id": f"{table}, block {block:,}{between(look, table, block)}", "page": ""}


def between(look: Look, table: str, block: int) -> str:
    """Between which ids the rows of a block lie, in a table whose rows stay where they are."""
    bad = look.unreadable[table]
    before = ids_of(table, block - 1, "max") if block and block - 1 not in bad else ""
    after = ids_of(table, block + 1, "min") if block + 1 not in bad else ""
    if not before and not after:
        return ""
    return f", about ids {before or 'from the first'} to {after or 'the last'}"


def ids_of(table: str, block: int, which: str) -> str:
    """The least or the highest id in a block; '' for a table without ids."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {which}(id + 0)::text FROM {table}"  # noqa: S608  (not by the index)
                f" WHERE ctid >= '({block},0)' AND ctid < '({block + 1},0)'"
            )
            [found] = cursor.fetchone()
            return str(found) if found is not None else ""
    except Error:
        return ""


def checksums(look: Look) -> Outcome:
    """How often PostgreSQL itself found a page that is not what it had written."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT current_setting('data_checksums') = 'on',
                   coalesce(sum(checksum_failures), 0), max(checksum_last_failure)
            FROM pg_stat_database WHERE datname = current_database() OR datid = 0
            """
        )
        is_on, failures, last = cursor.fetchone()
    numbers = {"failures": int(failures)}
    if failures:
        said = f"PostgreSQL has found {failures:,} damaged pages, the last on {format_time(last)}."
        return Outcome("checksums", Verdict.DAMAGED, said, RESTORE, numbers=numbers)
    if is_on:
        return Outcome("checksums", Verdict.OK, "No page has failed its checksum.", numbers=numbers)
    return Outcome(
        "checksums",
        Verdict.UNSURE,
        "This server keeps no checksums: it does not notice pages that change by themselves.",
        "Turn them on while it is stopped: pg_checksums --enable.",
    )


def amcheck(look: Look) -> Outcome:
    """PostgreSQL's own check of how tables and indexes are built, where we may have it.

    The extension is made in a transaction that is rolled back: nothing stays.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
            wrong, looked_at = built_wrong(look)
            transaction.set_rollback(True)
    except Error as error:
        if is_broken(error):
            raise
        said = f"Not looked at: {first_line(error)}."
        advice = "A superuser may run it: amcheck is an extension that comes with PostgreSQL."
        return Outcome("amcheck", Verdict.UNSURE, said, advice)
    if not wrong:
        said = f"All {looked_at:,} tables and indexes are built as they should be."
        return Outcome("amcheck", Verdict.OK, said, numbers={"looked_at": looked_at})
    return Outcome(
        "amcheck",
        Verdict.DAMAGED,
        f"{len(wrong):,} of {looked_at:,} tables and indexes are damaged: "
        + "; ".join(wrong[:SHOWN]),
        f"An index alone is mended by REINDEX. {RESTORE}",
        numbers={"looked_at": looked_at, "wrong": len(wrong)},
        rows=[{"id": each, "page": ""} for each in wrong[:SHOWN]],
    )


def built_wrong(look: Look) -> tuple[list[str], int]:
    """What is wrong with tables and B-trees, and how many were looked at."""
    wrong: list[str] = []
    tables = [table for table in stored_tables() if table.may_read]
    with connection.cursor() as cursor:
        cursor.execute(BTREES)
        indexes = cursor.fetchall()
    for number, table in enumerate(tables, 1):
        look.tell(f"amcheck of table {number:,} of {len(tables):,}")
        wrong += complaints(
            table.name,
            "SELECT 'block ' || blkno || ': ' || msg FROM verify_heapam(%s::regclass) LIMIT 3",
            table.name,
        )
    for number, (oid, name) in enumerate(indexes, 1):
        look.tell(f"amcheck of index {number:,} of {len(indexes):,}")
        wrong += complaints(name, "SELECT NULL FROM bt_index_check(%s::oid::regclass, true)", oid)
    return wrong, len(tables) + len(indexes)


def complaints(name: str, sql: str, what: str | int) -> list[str]:
    """What amcheck says of one table or index, as rows or as an error."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, [what])
            return [f"{name}: {said}" for (said,) in cursor.fetchall() if said]
    except Error as error:
        if not is_broken(error):
            raise
        return [f"{name}: {first_line(error)}"]


CHECKS = (
    Check("readable", readable, slow=True),
    Check("checksums", checksums),
    Check("amcheck", amcheck, slow=True),
)
