"""Restoring a backup: into a new database, which takes the old one's name only when it is whole.

Nothing is asked of the old database, which may be damaged, closed or gone, and nothing is written
into the new one. The switch is one transaction, so that killed at any moment, what answers under
the name is either of the two. Within it, the new database's comment says where it comes from: a
later call finds out by it what an earlier one has come to.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from billing.recovery.backups import folder, migrations, servers
from billing.recovery.backups.folder import BackupError, BackupUsageError, Manifest, Restored
from billing.recovery.backups.programs import Tell
from billing.recovery.backups.servers import Address, Connection, telling
from billing.recovery.backups.verifying import check, compare, load

logger = logging.getLogger(__name__)

MAINTENANCE = "postgres"  # the database to connect to while ours is replaced
RESTORING, DAMAGED = "restoring", "damaged"
COMMENT = "restored_from"  # the key in the comment of a database that was restored
GONE_WITHIN = 15.0  # seconds, by connections that were ended

Migrate = Callable[[str], None]

FOUND = """
    SELECT d.datallowconn, shobj_description(d.oid, 'pg_database'),
           (SELECT count(*) FROM pg_stat_activity a
            WHERE a.datname = d.datname AND a.backend_type = 'client backend')
    FROM pg_database d WHERE d.datname = %s
"""
END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = %s AND backend_type = 'client backend'
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a restore finds on the server under the name of the database, and beside it.

    `restored` is from which restore it comes; None where it comes from none. `left_over` are
    databases that killed restores have left half-made.
    """

    exists: bool
    is_open: bool = False
    connections: int = 0
    restored: Restored | None = None
    left_over: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A restore that has come to its end; `earlier` where it was an earlier call that did it."""

    note: Restored
    earlier: bool = False


def look(connection: Connection, database: str) -> Standing:
    """How things stand, asked of the maintenance database."""
    left_over = servers.those_beside(connection, database, RESTORING)
    row = connection.execute(FOUND, [database]).fetchone()
    if row is None:
        return Standing(False, left_over=left_over)
    is_open, comment, connections = row
    return Standing(True, is_open, connections, _restored(comment), left_over)


def standing(address: Address, maintenance: str = MAINTENANCE) -> Standing:
    """The same, for who only wants to know. Raises BackupError."""
    with _maintaining(address, maintenance) as connection:
        return look(connection, address.database)


def restore(
    address: Address,
    manifest: Manifest,
    where: Path,
    *,
    actor: str,
    maintenance: str = MAINTENANCE,
    migrate: Migrate | None = None,
    tell: Tell = lambda said: None,
) -> Outcome:
    """Puts a backup in the place of the database at `address`, which is kept under another name.

    `migrate` is called with the new database's name once that is whole, before it is switched to,
    and applies what is missing. Raises BackupError: the old database is then where
    it was.
    """
    with _maintaining(address, maintenance) as connection:
        found = _alone(connection, address.database)
        if note := _unwritten(found, where):
            folder.write(where / note.file_name, note.as_json())
            if note.backup == manifest.name:
                return Outcome(note, earlier=True)
        found = _start_over(connection, address.database, found)
        check(manifest, where, tell)
        now = datetime.now(UTC)
        note = Restored(
            backup=manifest.name,
            taken_at=manifest.taken_at,
            restored_at=now,
            database=address.database,
            damaged=servers.beside(address.database, DAMAGED, now) if found.exists else "",
            actor=actor,
            audit_head=manifest.audit_head,
            newest_event=manifest.contents.newest_event,
        )
        with _new(connection, address, manifest, note) as database:
            load(address.at(database), manifest, where, tell)
            compare(address.at(database), manifest, tell)
            servers.adopt(connection, database, manifest.properties)
            if migrate:
                tell("migrating")
                migrate(database)
                note = replace(note, migrated=migrations.between(manifest).missing)
            tell("switching over")
            _switch(connection, database, note, was_open=found.is_open)
        folder.write(where / note.file_name, note.as_json())
        return Outcome(note)


@contextmanager
def _maintaining(address: Address, maintenance: str) -> Iterator[Connection]:
    if maintenance == address.database:
        raise BackupUsageError(
            f"{maintenance} is what is to be restored: name another database of the same server"
            " with --maintenance-database."
        )
    try:
        connection = address.at(maintenance).connect()
    except psycopg.Error as error:
        raise BackupError(
            f"Cannot connect to the database {maintenance} on the same server:"
            f" {servers.first_line(error)}. Name one that the user may connect to with"
            " --maintenance-database."
        ) from error
    with connection, telling("Restoring"):
        yield connection


def _alone(connection: Connection, database: str) -> Standing:
    """How things stand, once nobody else is at it. Raises BackupError where somebody is, or was
    until now."""
    before = look(connection, database).restored
    if not servers.hold(connection, database, 3):
        raise BackupError(f"A restore of {database} is under way already. Wait for its end.")
    found = look(connection, database)
    if found.restored != before:
        raise BackupError(f"Somebody else has restored {database} just now: look at it first.")
    return found


def _restored(comment: str | None) -> Restored | None:
    """What the comment of a database says of the restore that it comes from."""
    try:
        return Restored.from_json(json.loads(comment or "")[COMMENT])
    except (ValueError, KeyError, TypeError):
        return None


def _unwritten(found: Standing, where: Path) -> Restored | None:
    """The note of a restore that was killed just before it could leave it; None without one."""
    note = found.restored
    return note if note and not (where / note.file_name).exists() else None


def _start_over(connection: Connection, database: str, found: Standing) -> Standing:
    """Clears away what a killed restore has left, and opens what it has closed."""
    for left_over in found.left_over:
        logger.warning("dropping %s, which a killed restore left", left_over)
        servers.drop(connection, left_over)
    if found.left_over and found.exists and not found.is_open:
        _set_open(connection, database, True)
    return look(connection, database)


@contextmanager
def _new(
    connection: Connection, address: Address, manifest: Manifest, note: Restored
) -> Iterator[str]:
    """A new database beside the old one, which is dropped again unless it was switched to."""
    database = servers.beside(address.database, RESTORING, note.restored_at)
    try:
        servers.create(connection, database, manifest.properties)
        yield database
    except BaseException:
        with suppress(psycopg.Error):
            servers.drop(connection, database)
        raise


def _switch(connection: Connection, database: str, note: Restored, *, was_open: bool) -> None:
    """Gives the new database the name, and the old one another. Raises BackupError."""
    name, old = sql.Identifier(note.database), sql.Identifier(note.damaged)
    comment = sql.Literal(json.dumps({COMMENT: note.as_json()}))
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    try:
        if note.damaged:
            _set_open(connection, note.database, False)
            _end_connections(connection, note.database)
        with connection.transaction():
            if note.damaged:
                connection.execute(rename.format(name, old))
            connection.execute(rename.format(sql.Identifier(database), name))
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, comment))
            if note.damaged and was_open:
                _set_open(connection, note.damaged, True)
    except BaseException:
        if note.damaged and was_open:
            with suppress(psycopg.Error):
                _set_open(connection, note.database, True)
        raise


def _set_open(connection: Connection, database: str, is_open: bool) -> None:
    """Whether anybody may connect from now on."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            sql.Identifier(database), sql.SQL("true" if is_open else "false")
        )
    )


def _end_connections(connection: Connection, database: str) -> None:
    """Ends all connections to a database that takes no new ones. Raises BackupError."""
    until = time.monotonic() + GONE_WITHIN
    while connection.execute(END, [database]).fetchall():
        if time.monotonic() > until:
            raise BackupError(
                f"Connections to {database} do not end. Stop what is connected, then run it again:"
                " nothing was switched."
            )
        time.sleep(0.05)
