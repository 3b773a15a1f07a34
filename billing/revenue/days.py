"""The days of a report: those of its time zone, of 23, 24 or 25 hours, inside its window."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Days:
    """The days of `timezone` (an IANA name) that the window from `since` up to `until` touches.

    The first and the last may be cut. `until` itself is outside. Both are aware times.
    """

    since: datetime
    until: datetime
    timezone: str

    @cached_property
    def _begun(self) -> list[tuple[datetime, date]]:
        """When each day begins inside the window (UTC), and its date. A day that a zone left
        out altogether has no moment, and is not here."""
        zone = ZoneInfo(self.timezone)
        day = self.since.astimezone(zone).date() - ONE_DAY
        begun: list[tuple[datetime, date]] = []
        while (start := midnight(day, zone)) < self.until:
            if start <= self.since:
                begun = [(self.since.astimezone(UTC), day)]
            elif start == begun[-1][0]:
                begun[-1] = (start, day)
            else:
                begun.append((start, day))
            day += ONE_DAY
        return begun if self.since < self.until else []

    @cached_property
    def starts(self) -> list[datetime]:
        """When each day begins, in UTC and in order: what `width_bucket` counts by."""
        return [start for start, _ in self._begun]

    @cached_property
    def dates(self) -> list[date]:
        return [day for _, day in self._begun]

    @cached_property
    def spans(self) -> list[tuple[datetime, datetime]]:
        """From when up to when each day lasts inside the window, in UTC."""
        ends = [*self.starts[1:], self.until.astimezone(UTC)]
        return list(zip(self.starts, ends, strict=True)) if self.starts else []

    def numbered(self, bucket: int) -> date:
        """The day that `width_bucket(moment, starts)` has found."""
        return self.dates[bucket - 1]

    def of(self, moment: datetime | None) -> date | None:
        """The day of a moment; None outside of the window."""
        if moment is None or not self.since <= moment < self.until:
            return None
        return self.dates[bisect_right(self.starts, moment) - 1]


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day of a zone begins, in UTC: later than 0:00 where the clocks skip that hour."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def last_days(count: int, now: datetime, timezone: str) -> tuple[datetime, datetime]:
    """The window of the last whole days of a zone that are over by `now`."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    return midnight(today - timedelta(days=count), zone), midnight(today, zone)
