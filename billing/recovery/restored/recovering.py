"""What a restore lost, from both who know: the export what only we knew, Stripe all else.

What is put back is one transaction: a kill leaves all of it or nothing. It comes first, so that
what was granted has its entry in the ledger again, by its source, when Stripe's events come.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateWorker

from billing.database import held
from billing.diagnosis import audit
from billing.formatting import format_time, iso_time
from billing.models import AuditLink, BillingEvent, ExportProgress, Recovery, acting_as
from billing.operations.base import InvalidInputError
from billing.operations.erasure import erase_again
from billing.recovery import outage
from billing.recovery.backups import folder
from billing.recovery.backups.folder import Restored
from billing.recovery.export import reading, writing
from billing.recovery.export.store import Store, open_store
from billing.recovery.export.streams import NAMES, STREAMS, noted
from billing.recovery.restored import boundary, entries, records
from billing.recovery.restored.boundary import Boundary

MARGIN = timedelta(minutes=15)  # before the backup: what was on its way to us then
WORKING = timedelta(seconds=30)  # since a worker's last sign of life
AUDIT_TYPE = "system.restore_recovered"

Tell = Callable[[str], None]


@dataclass(slots=True)
class PutBack:
    """What came back from the export, and what nobody can know.

    `audit` and `ledger` are rows, `renumbered` the audit events that took a new id. `is_whole` is
    whether the audit log ends with the very link that was exported last. `unknown` is from when to
    when (UTC) claims, grants and notes may be missing.
    """

    audit: int = 0
    renumbered: int = 0
    ledger: int = 0
    balances: int = 0
    records: dict[str, int] = field(default_factory=dict)
    no_place: list[dict[str, Any]] = field(default_factory=list)
    no_place_count: int = 0
    operations: dict[str, int] = field(default_factory=dict)
    done: list[dict[str, Any]] = field(default_factory=list)
    is_forked: bool = False
    is_whole: bool = False
    has_export: bool = True
    unknown: tuple[datetime, datetime] | None = None

    def as_dict(self) -> dict[str, Any]:
        unknown = [iso_time(moment) for moment in self.unknown] if self.unknown else None
        return {**asdict(self), "unknown": unknown}


@dataclass(frozen=True, slots=True)
class Begin:
    """What is recovered: the state that the database was restored to, and when that was (UTC)."""

    taken_at: datetime
    restored_at: datetime
    backup: str = ""

    @property
    def since(self) -> datetime:
        """From when on Stripe is asked."""
        return self.taken_at - MARGIN


def begin(since: datetime | None, database: str) -> Begin:
    """From the note that the restore left, or a time that somebody names.

    Raises InvalidInputError, or BackupError where the notes cannot be read.
    """
    if since is not None:
        return Begin(since, timezone.now())
    note: Restored | None = folder.newest_restore(database) if settings.BACKUP_FOLDER else None
    if note is None:
        raise InvalidInputError(
            f"No note of a restore of {database} is in BACKUP_FOLDER: name the backup's own moment"
            " with --since, such as --since 2026-11-20T02:30."
        )
    return Begin(note.taken_at, note.restored_at, note.backup)


def warnings() -> list[str]:
    """Who may be writing meanwhile."""
    alive = ProcrastinateWorker.objects.filter(last_heartbeat__gte=timezone.now() - WORKING)
    said = (
        "A worker is running. Stop it, and the web server, until this has ended: what they write"
        " takes ids that lost rows had, and the audit log cannot go on link by link."
    )
    return [said] if alive.exists() else []


def look(started: Begin, actor: str) -> PutBack:
    """What would be put back: it is, and taken back. Raises StoreError."""
    with transaction.atomic():
        found = put_back(started, actor)
        transaction.set_rollback(True)
    return found


def put_back(started: Begin, actor: str) -> PutBack:
    """Puts back what only we knew, all of it or nothing; a second time nothing is left to do.

    Raises StoreError, and AlreadyExportingError where an exporter is at work.
    """
    if not settings.EXPORT_URL:
        return PutBack(has_export=False, unknown=(started.taken_at, started.restored_at))
    store = open_store()
    with writing.alone(), transaction.atomic(), acting_as(actor):
        limits = boundary.find(store)
        found = _from_export(store, limits)
        head = reading.audit_head(store)
        newest = AuditLink.objects.order_by("-position").first()
        found.is_whole = bool(head and newest and head.hash == newest.hash)
        found.is_forked = limits.is_forked
        if not found.is_forked and not found.renumbered:
            _go_on(store)
    since = limits.until or started.taken_at
    found.unknown = (since, started.restored_at) if since < started.restored_at else None
    return found


def _from_export(store: Store, limits: Boundary) -> PutBack:
    audited, renumbered = entries.put_back_audit(store, limits.position)
    ledger, balances = entries.put_back_ledger(store, limits.entry)
    rows = records.put_back(store, limits.record)
    return PutBack(
        audit=audited,
        renumbered=renumbered,
        ledger=ledger,
        balances=balances,
        records=dict(rows.rows),
        no_place=rows.no_place,
        no_place_count=rows.no_place_count,
        operations=dict(rows.operations),
        done=rows.done,
    )


def _go_on(store: Store) -> None:
    """Has the export go on after its newest segments: all that they hold is here again."""
    for name, stream in zip(NAMES, STREAMS, strict=True):
        newest = reading.newest(store, name)
        if newest is None:
            continue
        seen = noted(stream)
        ExportProgress.objects.update_or_create(
            stream=name,
            defaults={
                "place": store.place,
                "segment": newest.header.segment,
                "digest": newest.digest,
                "last_id": newest.header.last,
                "pending": None,
                "next_id": seen.next_id,
                "waits_for": seen.waits_for,
                "noted_at": seen.noted_at,
                "error": "",
            },
        )


@dataclass(slots=True)
class Recovered:
    """What a recovery after a restore came to. `broken` is what is wrong with the audit log."""

    begin: Begin
    put_back: PutBack
    recovery: Recovery
    broken: str


def recover(started: Begin, *, actor: str, tell: Tell, grace: timedelta | None = None) -> Recovered:
    """Puts back what only we knew, replays Stripe, and writes down that it did.

    Raises StoreError, a GatewayError, and what outage.recover() raises; it can be run again.
    """
    tell("Putting back what only we knew")
    found = put_back(started, actor)
    tell("Erasing again who was erased")
    erase_again()
    recovery = outage.recover(
        Recovery.Kind.RESTORE, since=started.since, actor=actor, on_progress=tell, grace=grace
    )
    tell("Verifying the audit log")
    _write_down(started, found, recovery, actor)
    verdict = audit.verify()
    return Recovered(started, found, recovery, verdict.broken)


def _write_down(started: Begin, found: PutBack, recovery: Recovery, actor: str) -> None:
    said = {
        "backup": started.backup,
        "taken_at": iso_time(started.taken_at),
        "recovery": recovery.pk,
        "put_back": {
            name: value
            for name, value in found.as_dict().items()
            if name not in ("done", "no_place")
        },
        "summary": f"Recovered what happened since {format_time(started.taken_at)}.",
    }
    with transaction.atomic(), acting_as(actor):
        BillingEvent.objects.create(type=AUDIT_TYPE, payload=said)


def alone() -> AbstractContextManager[None]:
    """Of two recoveries after a restore, the second one is refused."""
    said = "Another recover_restore is at work: wait for its end."
    return held("recover_restore", lambda: InvalidInputError(said))
