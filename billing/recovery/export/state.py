"""How the export is doing, as our own rows tell it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from billing.formatting import format_age
from billing.models import ExportProgress
from billing.recovery.export.store import shown

LATE = timedelta(minutes=10)  # many passes, and longer than the transactions that hold rows back


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream: its newest row's id, in how many segments."""

    name: str
    last_id: int
    segments: int


@dataclass(frozen=True, slots=True)
class State:
    """Where the books are exported to ('' for nowhere), and that all is there up to `until`.

    `begun_at` is null before the first pass; `until` is too, until one came to its end. `error` is
    why the last pass failed, '' where it did not. Times are UTC.
    """

    place: str
    begun_at: datetime | None
    until: datetime | None
    error: str
    streams: list[StreamState]

    def is_late(self, now: datetime) -> bool:
        since = self.until or self.begun_at
        return since is not None and now - since > LATE

    def verdict(self, now: datetime) -> tuple[str, str]:
        """How it stands in a sentence, and its tone: success, warning or danger."""
        if not settings.EXPORT_URL:
            said = (
                "What only we know is not exported: EXPORT_URL is not set. After a restore, claims,"
                " grants and notes since the backup would be lost."
            )
            return said, "warning"
        if self.error:
            return f"The export of the books fails. {self.error}", "danger"
        if self.until is None:
            return f"The export of the books to {self.place} is about to begin.", "warning"
        age = format_age(self.until, now)
        said = f"What only we know is exported to {self.place}, all of it up to {age}."
        return said, "danger" if self.is_late(now) else "success"

    @property
    def is_stopped(self) -> bool:
        """Whether it was begun and no place is set any more: what changes piles up."""
        return self.begun_at is not None and not settings.EXPORT_URL


def status() -> State:
    """What stands in our own rows; the place itself is not asked."""
    rows = list(ExportProgress.objects.order_by("stream"))
    moments = [row.exported_at for row in rows]
    begun = [row.noted_at for row in rows if row.noted_at]
    return State(
        place=shown(settings.EXPORT_URL) or next((row.place for row in rows if row.place), ""),
        begun_at=(min(begun) if begun else timezone.now()) if rows else None,
        until=min(moment for moment in moments if moment) if rows and None not in moments else None,
        error=next((row.error for row in rows if row.error), ""),
        streams=[StreamState(row.stream, row.last_id, row.segment) for row in rows],
    )
