"""One pass of the export: everything that can be exported now, in segments that stay.

A segment's bytes are kept in our own table before they go out, and forgotten once they are there.
So however often a process is killed, the same segment is written again, and none twice.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing.database import held
from billing.models import ExportChange, ExportProgress
from billing.recovery.export import segments
from billing.recovery.export.segments import Header
from billing.recovery.export.store import Store, StoreError, open_store, shown
from billing.recovery.export.streams import (
    NAMES,
    RECORDS,
    STREAMS,
    Batch,
    Stream,
    is_past,
    next_batch,
    note_everything,
    noted,
)

HEADS = "heads.json"  # how far the export is: the one object that is written again
PROBE = "written-once"
TO_COPY = -1  # of the records: what was there before is still to be noted
NOTE = ("next_id", "waits_for", "noted_at")

Tell = Callable[[str], None]


class AlreadyExportingError(Exception):
    """Another process is at it. The text says so, for people."""


class ForkedError(StoreError):
    """The place has what this database does not know of."""


@dataclass(slots=True)
class Tally:
    """What a pass wrote, by stream; `is_unfinished` where its time was over before its work."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    segments: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    until: datetime | None = None
    is_unfinished: bool = False


def export_books(*, seconds: float | None = None, on_progress: Tell | None = None) -> Tally:
    """Exports what is new, for `seconds` at most. Raises StoreError, AlreadyExportingError.

    What the place does not take is kept, and tried again by the next pass.
    """
    store, tally = open_store(), Tally()
    deadline = time.monotonic() + seconds if seconds is not None else None
    with alone():
        _ensure_rows()
        try:
            _begin(store)
            _see_that_it_is_ours(store)
            for stream in STREAMS:
                for batch in _exported(stream, store, deadline):
                    tally.rows[stream.name] += batch.rows
                    tally.segments[stream.name] += 1
                    if on_progress:
                        on_progress(f"{stream.name} up to {batch.last:,}")
            tally.is_unfinished = deadline is not None and time.monotonic() > deadline
            tally.until = _tell_heads(store)
        except StoreError as error:
            ExportProgress.objects.update(error=str(error))
            raise
        ExportProgress.objects.exclude(error="").update(error="")
    return tally


def alone() -> AbstractContextManager[None]:
    """Holds the one lock of all exporters of this database, as long as the connection lives."""
    said = "Another process is exporting just now: leave it to that."
    return held("billing.export", lambda: AlreadyExportingError(said))


def _ensure_rows() -> None:
    """From the first of them on, the triggers note what changes."""
    ExportProgress.objects.bulk_create(
        [ExportProgress(stream=name, noted_at=timezone.now()) for name in NAMES],
        ignore_conflicts=True,
    )


def _begin(store: Store) -> None:
    """Begins in a place that is new to us, from the start. Raises StoreError."""
    if not ExportProgress.objects.exclude(place=store.place).exists():
        return
    store.prepare()
    if store.read(HEADS) is not None or any(
        store.read(segments.path_of(name, 1)) is not None for name in NAMES
    ):
        raise ForkedError(
            f"{store.place} holds an export that this database did not write. If it is of this one"
            " before it was restored, run manage.py recover_restore; else give EXPORT_URL a folder"
            " of its own."
        )
    if store.create(PROBE, b"") and store.create(PROBE, b""):
        raise StoreError(
            f"{store.place} lets what is there be overwritten (it ignores If-None-Match): an"
            " export there could be changed unseen. Use a store that refuses it."
        )
    fresh = [noted(stream) for stream in STREAMS]
    with transaction.atomic():
        ExportChange.objects.all().delete()
        for progress in fresh:
            progress.place = store.place
            if progress.stream == RECORDS.name:
                progress.next_id = TO_COPY
            progress.save()


def _see_that_it_is_ours(store: Store) -> None:
    """Raises ForkedError where somebody else's segments are there beyond our own."""
    said = read_heads(store)
    for progress in ExportProgress.objects.all():
        there = said.get("streams", {}).get(progress.stream, {}).get("segment", 0)
        if there > progress.segment + (progress.pending is not None):
            raise _forked(store.place, progress.stream, there, progress.segment)


def _exported(stream: Stream, store: Store, deadline: float | None) -> Iterator[Header]:
    """Writes the stream's segments, and yields each one's header once it is there.

    When nothing comes any more, notes what is new since and looks once more: while no other
    transaction is open, all is taken at once.
    """
    if stream is RECORDS and not _copied():
        return
    has_noted = False
    while True:
        if header := _deliver(stream, store):
            yield header
        if deadline is not None and time.monotonic() > deadline:
            return
        with transaction.atomic():
            progress = ExportProgress.objects.select_for_update().get(stream=stream.name)
            batch, is_all = next_batch(stream, progress)
            if batch:
                progress.pending = segments.pack(_header(stream, progress, batch), batch.lines)
            progress.save()
        if batch:
            continue
        if has_noted or not is_all:
            return
        noted(stream).save(update_fields=NOTE)
        has_noted = True


def _copied() -> bool:
    """Whether all records that were there at first have been noted: done once it is safe."""
    with transaction.atomic():
        progress = ExportProgress.objects.select_for_update().get(stream=RECORDS.name)
        if progress.next_id != TO_COPY:
            return True
        if not is_past(RECORDS, progress):
            return False
        note_everything()
    noted(RECORDS).save(update_fields=NOTE)
    return True


def _header(stream: Stream, progress: ExportProgress, batch: Batch) -> Header:
    return Header(
        stream=stream.name,
        segment=progress.segment + 1,
        first=batch.first,
        last=batch.last,
        rows=len(batch.lines),
        before=progress.digest,
        at=timezone.now().astimezone(UTC).isoformat(),
    )


def _deliver(stream: Stream, store: Store) -> Header | None:
    """Writes the segment that is pending, if one is. Raises StoreError."""
    progress = ExportProgress.objects.get(stream=stream.name)
    if progress.pending is None:
        return None
    body, number = bytes(progress.pending), progress.segment + 1
    digest, path = segments.digest_of(body), segments.path_of(stream.name, number)
    if not store.create(path, body):
        there = store.read(path)
        if there is None or segments.digest_of(there) != digest:
            raise _forked(store.place, stream.name, number, progress.segment)
    header = segments.unpack(body).header
    ExportProgress.objects.filter(stream=stream.name).update(
        segment=number, digest=digest, last_id=header.last, pending=None
    )
    return header


def _tell_heads(store: Store) -> datetime | None:
    """Writes how far each stream is; from when on something may be missing."""
    rows = list(ExportProgress.objects.order_by("stream"))
    moments = [row.exported_at for row in rows]
    until = None if None in moments else min(moment for moment in moments if moment)
    said = {
        "until": until.isoformat() if until else None,
        "streams": {
            row.stream: {"segment": row.segment, "digest": row.digest, "last": row.last_id}
            for row in rows
        },
    }
    store.replace(HEADS, json.dumps(said, indent=1).encode())
    return until


def stop() -> None:
    """Ends the export: nothing is noted for it any more. What is at the place stays there."""
    with alone(), transaction.atomic():
        ExportProgress.objects.all().delete()
        ExportChange.objects.all().delete()


def read_heads(store: Store) -> dict[str, Any]:
    """How far the export says that it is; {} where it says nothing. Raises StoreError."""
    body = store.read(HEADS)
    if body is None:
        return {}
    try:
        said = json.loads(body)
        if isinstance(said, dict):
            return said
    except ValueError:
        pass
    raise StoreError(f"{store.place}/{HEADS} is no JSON: somebody has changed it.")


def _forked(place: str, stream: str, there: int, known: int) -> ForkedError:
    return ForkedError(
        f"{shown(place)} has segment {there:,} of “{stream}”, and this database knows of"
        f" {known:,}: it was restored from a backup, or another database exports there. After a"
        " restore run manage.py recover_restore; else give EXPORT_URL a folder of its own."
    )
