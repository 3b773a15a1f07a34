"""Statements for many rows: what they are given is one JSON parameter, bound by the server.

A list or an array for each column would be quoted value by value in Python, and Django's
usual cursor writes all parameters into the statement's text, where PostgreSQL parses them
once more: for a page of Stripe's objects that costs more than storing it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import orjson
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.backends.utils import CursorWrapper
from django.db.models import Model, QuerySet

Row = TypeVar("Row")
AnyModel = TypeVar("AnyModel", bound=Model)
DIRECT = "direct"
CHUNK = 2_000  # rows that `stream` reads at a time
FIRST = 250  # of them at first: as many as a page shows, and whether there are more
TEXTS = "ARRAY(SELECT json_array_elements_text(%s::json))"
"""An array of texts from one parameter, `as_json` of them."""


def use_pool(pool: Mapping[str, Any]) -> None:
    """From now on, this process reaches the database through a pool in transaction mode.

    What needs a session of its own still has one, which it gives back after the request.
    """
    known: dict[str, dict[str, Any]] = connections.settings
    own = known[DEFAULT_DB_ALIAS]
    known[DIRECT] = own | {"CONN_MAX_AGE": 0}
    known[DEFAULT_DB_ALIAS] = own | dict(pool)


def direct() -> BaseDatabaseWrapper:
    """The connection whose session is our own until we close it: behind a pool another one.

    It is for locks of the session's, and for cursors that live outside a transaction.
    """
    return connections[DIRECT] if DIRECT in connections.settings else connections[DEFAULT_DB_ALIAS]


def directly(rows: "QuerySet[AnyModel, Row]") -> "QuerySet[AnyModel, Row]":
    """The same rows, read so that memory is flat, by `iterator`."""
    return rows if connection.in_atomic_block else rows.using(direct().alias)


def cursor() -> CursorWrapper:
    """A cursor of Django's connection whose parameters the server binds."""
    connection.ensure_connection()
    psycopg = connection.connection
    usual, psycopg.cursor_factory = psycopg.cursor_factory, ServerBindingCursor
    try:
        return connection.cursor()
    finally:
        psycopg.cursor_factory = usual


def as_json(values: Iterable[Any]) -> str:
    """Rows as a parameter of `recordset`, texts as one of `TEXTS`; datetimes as ISO 8601."""
    return orjson.dumps(list(values)).decode()


def recordset(columns: Mapping[str, str]) -> str:
    """A FROM clause's rows from one parameter, `columns` naming each column's SQL type."""
    types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(%s::json) AS n({types})"


def stream(sql: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a query by their columns' names, a few thousand at a time.

    The server keeps the result, so that memory is flat however many they are.
    """
    session = connection if connection.in_atomic_block else direct()
    with session.chunked_cursor() as chunked:
        chunked.execute(sql, params)
        found = chunked.fetchmany(FIRST)
        names = [column.name for column in chunked.description or ()]
        while found:
            for row in found:
                yield dict(zip(names, row, strict=True))
            found = chunked.fetchmany(CHUNK)


@contextmanager
def closing(found: Iterable[Row]) -> Iterator[Iterable[Row]]:
    """Closes a `stream` that may not be read to its end.

    Left to the garbage collector, it would be closed whenever that runs: in the midst of another
    statement of the same connection it would wait for itself, for ever.
    """
    try:
        yield found
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()


def some(found: Iterable[Row], start: int, count: int) -> list[Row]:
    """So many rows from the number `start` on; a `stream` is then closed, whatever is left.

    In a transaction the server makes them as they are read; outside it makes all of them first.
    """
    if not isinstance(found, Generator):
        return list(islice(found, start, start + count))
    with transaction.atomic(), closing(found):
        return list(islice(found, start, start + count))


def rows(sql: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> list[dict[str, Any]]:
    """All rows of a query, by their columns' names."""
    with connection.cursor() as held:
        held.execute(sql, params)
        names = [column.name for column in held.description or ()]
        return [dict(zip(names, row, strict=True)) for row in held.fetchall()]


@contextmanager
def adding_up() -> Iterator[None]:
    """Within it, the sums of many rows are made in memory, up to 64 MB for each of them.

    PostgreSQL cannot know how few periods a report has: it takes each row for one of its own, and
    would first sort all of them on disk.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        yield


def different(model: type[Model], column: str, most: int) -> list[str]:
    """The different texts of a column but '', in their order, at most so many: a look into its
    index for each of them, where DISTINCT would read every row."""
    table = model._meta.db_table
    above = f"SELECT min({column}) FROM {table} WHERE {column} > "  # noqa: S608  (names of ours)
    sql = f"""
        WITH RECURSIVE found AS (
            SELECT ({above} '') AS value
            UNION ALL
            SELECT ({above} found.value) FROM found WHERE found.value IS NOT NULL
        )
        SELECT value FROM found WHERE value IS NOT NULL LIMIT %s
    """  # noqa: S608
    return [str(row["value"]) for row in rows(sql, [most])]


@contextmanager
def held(name: str, refusal: Callable[[], Exception]) -> Iterator[None]:
    """Holds the one lock of this name, for as long as this process's connection lives.

    Raises what `refusal` makes where another process holds it.
    """
    with direct().cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 2))", [name])
        if not cursor.fetchone()[0]:
            raise refusal()
    try:
        yield
    finally:
        with direct().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", [name])
