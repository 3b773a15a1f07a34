"""Whether a backup is good: its file is as it was written, and what comes out of it is the same."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from billing.recovery.backups import contents, folder, programs, servers
from billing.recovery.backups.folder import BackupError, Manifest
from billing.recovery.backups.programs import Tell
from billing.recovery.backups.servers import Address, Connection, telling

logger = logging.getLogger(__name__)

SCRATCH = "verifying"  # databases that backups are restored into to be looked at
JOBS = 2  # tables that are restored at the same time
SHOWN = 5  # differences


def verify(address: Address, manifest: Manifest, where: Path, tell: Tell) -> None:
    """Restores a backup into a scratch database beside its own, and compares the two.

    Raises BackupError with what differs, or why it could not be done.
    """
    check(manifest, where, tell)
    with (
        telling("Verifying the backup"),
        address.connect() as connection,
        scratch(connection, address, manifest) as database,
    ):
        load(address.at(database), manifest, where, tell)
        compare(address.at(database), manifest, tell)


def check(manifest: Manifest, where: Path, tell: Tell) -> None:
    """Raises BackupError where the file is not what was written then."""
    file = folder.dump_file(manifest.name, where)
    tell("reading the file")
    try:
        size = file.stat().st_size
        is_same = size == manifest.size and folder.digest(file) == manifest.sha256
    except OSError as error:
        raise BackupError(folder.cannot("read", file, error)) from error
    if not is_same:
        what = (
            f"it has {size:,} bytes instead of {manifest.size:,}"
            if size != manifest.size
            else "its bytes are not those that were written"
        )
        raise BackupError(
            f"{file} is damaged: {what}. Take another backup: manage.py backup --list."
        )


def load(address: Address, manifest: Manifest, where: Path, tell: Tell) -> None:
    """Fills an empty database from a backup. Raises BackupError."""
    with address.connect() as connection:
        program = programs.find(connection.info.server_version) / "pg_restore"
    command: list[str | Path] = [
        *(program, "--exit-on-error", "--no-password", f"--jobs={JOBS}"),
        f"--dbname={make_conninfo(dbname=address.database)}",
        folder.dump_file(manifest.name, where),
    ]
    tell("restoring")
    with programs.running(command, address.environment()) as running:
        running.finish(lambda: tell("restoring"))


def compare(address: Address, manifest: Manifest, tell: Tell) -> None:
    """Raises BackupError where a restored database is not what was dumped."""
    tell("comparing")
    with address.connect() as connection:
        found = contents.differences(manifest.contents, contents.measure(connection))
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise BackupError(
            f"What was restored from {manifest.name} differs from what was dumped:"
            f" {'; '.join(found[:SHOWN])}{more}."
        )


@contextmanager
def scratch(connection: Connection, address: Address, manifest: Manifest) -> Iterator[str]:
    """A database that is dropped in the end; one that a killed run leaves, the next one drops."""
    name = servers.beside(address.database, SCRATCH, datetime.now(UTC))
    try:
        servers.create(connection, name, manifest.properties)
        yield name
    finally:
        try:
            servers.drop(connection, name)
        except psycopg.Error as error:
            logger.warning("%s was not dropped: %s", name, servers.first_line(error))
