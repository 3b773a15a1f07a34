"""A backup from its start to its end: dumped, verified, written down, and old ones deleted."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from billing.models import Backup
from billing.recovery.backups import folder, keeping, servers
from billing.recovery.backups.dumping import dump
from billing.recovery.backups.folder import BackupError, Manifest
from billing.recovery.backups.programs import Tell
from billing.recovery.backups.servers import Address, Connection, telling
from billing.recovery.backups.verifying import verify

logger = logging.getLogger(__name__)


class AlreadyRunningError(BackupError):
    """Another process makes a backup of this database."""


@dataclass(slots=True)
class Made:
    """A backup that is there, and the names of those that were deleted as too old.

    `warning` says what could not be tidied up; '' where all was.
    """

    manifest: Manifest
    deleted: list[str] = field(default_factory=list)
    warning: str = ""


def make(*, actor: str, verifying: bool = True, tell: Tell = lambda said: None) -> Made:
    """Makes a backup of our own database. Two are never made at once.

    The backup is there also where it could not be verified: its manifest's `error` says why.
    Raises BackupError where there is none, and writes that down too; AlreadyRunningError.
    """
    address, where = servers.of_django(), folder.folder()
    began = time.monotonic()
    with alone(address) as connection:
        try:
            folder.prepare(where)
            keeping.clear_left_over(address, where, connection)
            manifest = dump(address, where, actor=actor, tell=tell)
        except BackupError as error:
            _write_failure(address, where, actor, str(error), time.monotonic() - began)
            raise
        write_down(manifest, where)
        if verifying:
            manifest = _verified(address, manifest, where, tell, began)
        made = Made(manifest)
        try:
            made.deleted = _delete_old(address, where)
        except BackupError as error:
            made.warning = str(error)
            logger.warning("%s", error)
        return made


@contextmanager
def alone(address: Address) -> Iterator[Connection]:
    """Holds the one lock of all backups of a database, for as long as the connection lives.

    Raises AlreadyRunningError.
    """
    with telling("Making a backup"), address.connect() as connection:
        if not servers.hold(connection, "backup", 2):
            raise AlreadyRunningError(
                f"A backup of {address.database} is being made already. Wait for its end: the page"
                " Backups shows it."
            )
        yield connection


def _verified(
    address: Address, manifest: Manifest, where: Path, tell: Tell, began: float
) -> Manifest:
    """The manifest with what verifying came to, which is written down."""
    try:
        verify(address, manifest, where, tell)
        manifest = replace(manifest, verified_at=timezone.now())
    except BackupError as error:
        logger.warning("the backup %s is not good: %s", manifest.name, error)
        manifest = replace(manifest, error=str(error))
    manifest = replace(manifest, seconds=round(time.monotonic() - began, 3))
    folder.write(folder.manifest_file(manifest.name, where), manifest.as_json())
    write_down(manifest, where)
    return manifest


def write_down(manifest: Manifest, where: Path) -> None:
    """Keeps the row of a backup as its files are."""
    Backup.objects.update_or_create(
        name=manifest.name,
        defaults={
            "taken_at": manifest.taken_at,
            "actor": manifest.actor,
            "location": str(folder.dump_file(manifest.name, where)),
            "size": manifest.size,
            "seconds": manifest.seconds,
            "verified_at": manifest.verified_at,
            "error": manifest.error,
            "manifest": manifest.as_json(),
        },
    )


def _write_failure(address: Address, where: Path, actor: str, error: str, seconds: float) -> None:
    """The row of a backup that did not come to be."""
    now = timezone.now()
    Backup.objects.create(
        name=folder.name_of(address.database, now),
        taken_at=now,
        actor=actor,
        location=str(where),
        size=0,
        seconds=round(seconds, 3),
        error=error,
        deleted_at=now,
    )


def _delete_old(address: Address, where: Path) -> list[str]:
    """Deletes what is too old, and makes our rows say what the folder holds. Its names."""
    ours = [each for each in folder.manifests(where) if each.database == address.database]
    now = timezone.now()
    old = keeping.too_old(ours, now, settings.BACKUP_KEEP_DAYS)
    for each in old:
        keeping.remove(each.name, where)
    deleted = [each.name for each in old]
    there = [each for each in ours if each.name not in deleted]
    known = dict(Backup.objects.values_list("name", "verified_at"))
    for each in there:
        # After a restore our rows know nothing of the backups since.
        if each.name not in known or known[each.name] != each.verified_at:
            write_down(each, where)
    gone = Backup.objects.filter(deleted_at=None).exclude(name__in=[each.name for each in there])
    gone.update(deleted_at=now)
    return deleted
