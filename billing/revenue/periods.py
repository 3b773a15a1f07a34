"""The days, weeks or months of a report, as the clocks of its time zone have them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from billing.revenue.days import ONE_DAY, midnight

By = Literal["day", "week", "month"]
Unit = Literal["day", "hour"]

_NAMES: Mapping[Unit, str] = {"day": "edges", "hour": "hour_edges"}


def _edges(unit: Unit) -> str:
    return f"""
    {_NAMES[unit]} AS MATERIALIZED (
        SELECT DISTINCT date_trunc('{unit}', bound, 'UTC') AS {unit}
        FROM unnest(%(starts)s::timestamptz[] || %(until)s::timestamptz) AS bounds(bound)
        WHERE bound <> date_trunc('{unit}', bound, 'UTC')
    )
"""  # noqa: S608  (the names stand here)


EDGES = _edges("day")
"""A part of WITH: the days of UTC in which a period begins or ends."""
HOUR_EDGES = _edges("hour")
"""The same for hours, each in one of those days: none where clocks are whole hours from UTC."""


def of_edges(
    columns: str, table: str, at: str = "at", *, unit: Unit = "day", where: str = "true"
) -> str:
    """A SELECT of what `table` has of the days in EDGES, or of the hours in HOUR_EDGES.

    OFFSET 0 has PostgreSQL look each of them up: else it compares every row with every day.
    """
    return f"""
        SELECT of_edge.* FROM {_NAMES[unit]} edge CROSS JOIN LATERAL (
            SELECT {columns} FROM {table}
            WHERE {at} >= edge.{unit} AND {at} < edge.{unit} + interval '1 {unit}'
              AND {where} OFFSET 0
        ) of_edge
    """  # noqa: S608  (the names are the callers' own)


@dataclass(frozen=True)
class Periods:
    """The periods from the day `first` up to and with `last`.

    Weeks begin on Monday. The first and the last period are cut where those days cut them.
    """

    first: date
    last: date
    timezone: str
    by: By

    @cached_property
    def dates(self) -> list[date]:
        """The first day of each period."""
        return list(self._begun())

    @cached_property
    def starts(self) -> list[datetime]:
        """When each period begins, in UTC and in order: what `width_bucket` counts by."""
        zone = ZoneInfo(self.timezone)
        return [midnight(day, zone) for day in self.dates]

    @property
    def count(self) -> int:
        return len(self.dates)

    @property
    def since(self) -> datetime:
        return self.starts[0]

    @cached_property
    def until(self) -> datetime:
        """The first moment after the last day, UTC."""
        return midnight(self.last + ONE_DAY, ZoneInfo(self.timezone))

    @property
    def ends(self) -> list[datetime]:
        """When each period is over, UTC."""
        return [*self.starts[1:], self.until]

    def label(self, number: int) -> str:
        """What a period is called: `2026-11-01`, or `2026-11` for a month that is whole."""
        return self.dates[number].isoformat()

    def span(self, number: int) -> tuple[date, date]:
        """The first and the last day of a period."""
        is_last = number == self.count - 1
        following = self.last + ONE_DAY if is_last else self.dates[number + 1]
        return self.dates[number], following - ONE_DAY

    def previous(self) -> "Periods":
        """As many days before; whole months have as many months before."""
        if self._is_of_whole_months:
            months = (self.last.year - self.first.year) * 12 + self.last.month - self.first.month
            first = _months_before(self.first, months + 1)
        else:
            first = self.first - (self.last - self.first) - ONE_DAY
        return Periods(first, self.first - ONE_DAY, self.timezone, self.by)

    def year_ago(self) -> "Periods":
        """The same days of the year before; the 29th of February has the 28th."""
        first = _months_before(self.first, 12)
        last = _months_before(self.last + ONE_DAY, 12) - ONE_DAY
        return Periods(first, max(first, last), self.timezone, self.by)

    @property
    def _is_of_whole_months(self) -> bool:
        return self.first.day == 1 and (self.last + ONE_DAY).day == 1

    def _begun(self) -> Iterator[date]:
        day = self.first
        while day <= self.last:
            yield day
            day = _following(day, self.by)


def _following(day: date, by: By) -> date:
    """The first day of the period after the one that `day` is in."""
    match by:
        case "day":
            return day + ONE_DAY
        case "week":
            return day + timedelta(days=7 - day.weekday())
        case "month":
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _months_before(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 - months
    year, month = divmod(index, 12)
    for cut in range(4):
        try:
            return date(year, month + 1, day.day - cut)
        except ValueError:
            continue
    raise AssertionError(day)
