"""Statements that change the application's tables, each with the shortest lock that there is."""

import logging
import time
from collections.abc import Iterable, Sequence

from django.db import OperationalError, connection, transaction

from billing.adoption import journal
from billing.adoption.catalog import quoted, theirs
from billing.database import rows

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = "250ms"  # for which a statement waits for its lock, and others behind it
PAUSE = 0.25  # seconds until the first retry
MOST_PAUSE = 10.0
PATIENCE = 600.0  # seconds


class BusyTableError(Exception):
    """A lock could not be had for minutes. The text says what to do."""


def briefly(
    statements: Sequence[str], notes: Iterable[tuple[str, str]] = (), forget: str = ""
) -> None:
    """Runs statements as one transaction that never waits long for a lock.

    While a statement waits for its lock, the application's statements wait behind it: so it gives
    up soon, lets them pass, and tries again. Within it the journal gets `notes`, each a step and
    what takes it back, or loses the step `forget`.
    """
    notes = list(notes)
    until, pause = time.monotonic() + PATIENCE, PAUSE
    while True:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                for step_, undo in notes:
                    journal.note(step_, undo)
                if forget:
                    journal.forget(forget)
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                for each in statements:
                    cursor.execute(each)
            return
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in ("55P03", "40P01"):
                raise
            if time.monotonic() > until:
                raise BusyTableError(
                    "A table was locked for ten minutes: look for a transaction that stays open"
                    " (pg_stat_activity), end it, and run adopt --apply again. It goes on here."
                ) from error
            logger.info("A table is in use: %s is tried again in %.1f s", statements[0], pause)
            time.sleep(pause)
            pause = min(pause * 2, MOST_PAUSE)


def step(name: str, statements: Sequence[str], undo: str) -> None:
    """Does once what is not in the journal yet, and notes it in the same transaction."""
    if not journal.has(name):
        briefly(statements, [(name, undo)])


def index(table: str, name: str, statement: str) -> None:
    """Makes an index while the table is written to; one that a kill left half made is made anew.

    `statement` is CREATE INDEX CONCURRENTLY.
    """
    found = rows(
        "SELECT i.indisvalid AS is_valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relname = %s AND i.indrelid = %s::regclass",
        [name, theirs(table)],
    )
    if found and found[0]["is_valid"]:
        return
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {quoted('public', name)}"
    with connection.cursor() as cursor:
        if found:
            cursor.execute(drop)
        journal.note(f"{table}: index {name}", drop)
        cursor.execute(statement)


def check(table: str, name: str, condition: str) -> None:
    """A constraint that holds for new rows at once, and for all once they were read."""
    own = theirs(table)
    add = f"ALTER TABLE {own} ADD CONSTRAINT {quoted(name)} CHECK ({condition}) NOT VALID"
    step(f"{table}: constraint {name}", [add],
         f"ALTER TABLE {own} DROP CONSTRAINT IF EXISTS {quoted(name)}")  # fmt: skip
    is_valid = rows(
        "SELECT convalidated AS it_is FROM pg_constraint WHERE conrelid = %s::regclass"
        " AND conname = %s",
        [own, name],
    )
    if is_valid and not is_valid[0]["it_is"]:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {own} VALIDATE CONSTRAINT {quoted(name)}")
