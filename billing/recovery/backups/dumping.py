"""Making the files of a backup: a dump, and its manifest, of one and the same moment."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from billing.formatting import format_size
from billing.recovery.backups import contents, folder, programs, servers
from billing.recovery.backups.folder import BackupError, Manifest
from billing.recovery.backups.programs import Tell
from billing.recovery.backups.servers import Address, Connection, telling

LOCK_WAIT = "5min"  # for tables that a migration has locked


def dump(address: Address, where: Path, *, actor: str, tell: Tell) -> Manifest:
    """Dumps a database into the folder, which is there whole or not at all. Raises BackupError.

    It is not verified yet. `tell` is told in words how far it has come.
    """
    began = time.monotonic()
    with telling("Dumping the database"), address.connect() as connection:
        program = programs.find(connection.info.server_version) / "pg_dump"
        made = servers.properties(connection)
        with snapshot(connection) as (exported, taken_at):
            name = folder.name_of(address.database, taken_at)
            with partial(folder.partial_file(name, where)) as descriptor:
                command: list[str | Path] = [
                    *(program, "--format=custom", f"--snapshot={exported}", "--no-password"),
                    f"--lock-wait-timeout={LOCK_WAIT}",
                ]
                environment = address.environment()
                with programs.running(command, environment, stdout=descriptor) as running:
                    found = contents.measure(connection)
                    running.finish(lambda: tell(f"dumping, {format_size(_size(descriptor))}"))
                connection.rollback()  # the snapshot has served: the server may tidy up again
                os.fsync(descriptor)
                tell("reading it back")
                manifest = Manifest(
                    name=name,
                    taken_at=taken_at,
                    database=address.database,
                    server_version=connection.info.parameter_status("server_version") or "",
                    actor=actor,
                    size=_size(descriptor),
                    sha256=folder.digest(folder.partial_file(name, where)),
                    seconds=round(time.monotonic() - began, 3),
                    contents=found,
                    properties=made,
                )
                publish(manifest, where)
    return manifest


@contextmanager
def snapshot(connection: Connection) -> Iterator[tuple[str, datetime]]:
    """A transaction whose view others can share: its name, and when it was taken (UTC)."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        row = connection.execute("SELECT pg_export_snapshot(), statement_timestamp()").fetchone()
        assert row is not None  # noqa: S101  (narrows the type)
        yield str(row[0]), row[1].astimezone(UTC)
    finally:
        with suppress(Exception):
            connection.rollback()


@contextmanager
def partial(file: Path) -> Iterator[int]:
    """A new file, for us alone, that is gone again unless it got another name within.

    Whoever writes to it holds its lock, pg_dump included: a file that can be locked is a dead
    run's. Raises BackupError where there is no room, or no access.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, folder.PRIVATE_FILE)
    except OSError as error:
        raise BackupError(folder.cannot("write", file, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    except OSError as error:
        raise BackupError(folder.cannot("write", file, error)) from error
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def publish(manifest: Manifest, where: Path) -> None:
    """Makes a dump that is whole a backup. Killed at any moment, it is one or it is none."""
    manifest_file = folder.manifest_file(manifest.name, where)
    folder.write(manifest_file, manifest.as_json())
    try:
        folder.partial_file(manifest.name, where).rename(folder.dump_file(manifest.name, where))
        folder.sync(where)
    except OSError as error:
        manifest_file.unlink(missing_ok=True)
        raise BackupError(folder.cannot("write", manifest_file, error)) from error


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size
