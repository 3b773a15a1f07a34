"""Which backups are kept, and what is cleared away."""

import fcntl
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from billing.recovery.backups import folder, servers
from billing.recovery.backups.folder import BackupError, Manifest
from billing.recovery.backups.servers import Address, Connection
from billing.recovery.backups.verifying import SCRATCH

logger = logging.getLogger(__name__)

ALWAYS_KEPT = 3  # of the verified ones, however old
RELEASED_WITHIN = 5.0  # seconds, by a program whose connection was ended


def too_old(manifests: Iterable[Manifest], now: datetime, days: int) -> list[Manifest]:
    """Those of one database that are not kept any more. `manifests` begin with the newest."""
    every = list(manifests)
    kept = [each.name for each in every if each.verified_at][:ALWAYS_KEPT]
    since = now - timedelta(days=days)
    return [each for each in every if each.taken_at < since and each.name not in kept]


def remove(name: str, where: Path) -> None:
    """Deletes a backup: from the first moment on, it is none any more. Raises BackupError."""
    dump_file, partial_file = folder.dump_file(name, where), folder.partial_file(name, where)
    try:
        if dump_file.exists():
            dump_file.rename(partial_file)
        folder.manifest_file(name, where).unlink(missing_ok=True)
        partial_file.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(folder.cannot("delete", dump_file, error)) from error


def clear_left_over(address: Address, where: Path, connection: Connection) -> None:
    """Ends and removes what killed runs on this database left. The caller holds their lock."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = %s AND usename = current_user",
        [servers.PROGRAM],
    )
    for database in servers.those_beside(connection, address.database, SCRATCH):
        logger.warning("dropping %s, which a killed run left", database)
        servers.drop(connection, database)
    for file in where.glob(f"*{folder.PARTIAL}"):
        name = file.name.removesuffix(folder.PARTIAL)
        if folder.is_name_of(address.database, name) and _is_dead(file):
            logger.warning("removing %s, which a killed run left", file)
            remove(name, where)
    for file in where.glob(f".*{folder.MANIFEST}{folder.UNFINISHED}"):
        if folder.is_name_of(address.database, file.name[1:].partition(".")[0]):
            file.unlink(missing_ok=True)


def _is_dead(file: Path) -> bool:
    """Whether nobody writes to a partial file; its writer may need a moment to end."""
    until = time.monotonic() + RELEASED_WITHIN
    while True:
        with suppress(BlockingIOError), file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
