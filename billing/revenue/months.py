"""A month of a time zone, as finance closes it."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from billing.revenue.asked import FIRST_YEAR, LAST_YEAR, InvalidReportError
from billing.revenue.days import ONE_DAY, Days, midnight


@dataclass(frozen=True, slots=True)
class Month:
    """The month that begins on the day `first` of `timezone` (an IANA name)."""

    first: date
    timezone: str

    @classmethod
    def parsed(cls, text: str, timezone: str) -> Self:
        """A month as `2026-10`. Raises InvalidReportError."""
        found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text.strip(), re.ASCII)
        if found is None or not FIRST_YEAR <= int(found[1]) <= LAST_YEAR:
            raise InvalidReportError(f"“{text[:60]}” is no month: write it like 2026-10.")
        return cls(date(int(found[1]), int(found[2]), 1), timezone)

    @classmethod
    def of(cls, moment: datetime, timezone: str) -> Self:
        """The month that a moment is in."""
        return cls(moment.astimezone(ZoneInfo(timezone)).date().replace(day=1), timezone)

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def next(self) -> "Month":
        return Month((self.first + timedelta(days=32)).replace(day=1), self.timezone)

    @property
    def last(self) -> date:
        """Its last day."""
        return self.next.first - ONE_DAY

    @property
    def since(self) -> datetime:
        """When it begins, UTC."""
        return midnight(self.first, ZoneInfo(self.timezone))

    @property
    def until(self) -> datetime:
        """The first moment after it, UTC."""
        return midnight(self.next.first, ZoneInfo(self.timezone))

    @property
    def days(self) -> Days:
        return Days(self.since, self.until, self.timezone)
