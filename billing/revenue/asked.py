"""What a finance report is asked for: its days and their zone, its currency, its own filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal, Self, TypeVar, get_args
from zoneinfo import ZoneInfo

from billing.revenue.periods import By, Periods

Against = Literal["", "previous", "year"]
Chosen = TypeVar("Chosen", bound=str)
MOST_PERIODS = 400  # in one view
MOST_YEARS = 20
LONGEST = 200  # characters of a filter
FIRST_YEAR, LAST_YEAR = 2000, 2100


class InvalidReportError(ValueError):
    """A report was asked for with a value that it cannot have. The text says what to write."""


@dataclass(frozen=True)
class Asked:
    """From the day `first` up to and with `last` of `timezone` (an IANA name), `by` period.

    `currency` ('' for all) is Stripe's code in lower case. `against` names the period that each
    one is compared with: the `previous` one, or the same of the `year` before. `reporting` is a
    currency into which sums are also converted, '' for none. `more` are the report's own filters.
    """

    first: date
    last: date
    timezone: str
    by: By = "day"
    currency: str = ""
    against: Against = ""
    reporting: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, given: Mapping[str, str], *, names: Sequence[str], zone: str, now: datetime
    ) -> Self:
        """From texts as an address or a command has them; `names` are the report's own filters.

        Without days it is the month of `now` so far. Raises InvalidReportError.
        """
        timezone = parsed_zone(given.get("timezone") or zone).key
        today = now.astimezone(ZoneInfo(timezone)).date()
        last = parsed_day(given["to"]) if given.get("to") else today
        first = parsed_day(given["from"]) if given.get("from") else last.replace(day=1)
        if first > last:
            raise InvalidReportError(f"The first day, {first}, is after the last, {last}.")
        asked = cls(
            first,
            last,
            timezone,
            by=_one_of(given.get("by") or "day", get_args(By), "period"),
            currency=_currency(given.get("currency", "")),
            against=_one_of(given.get("against", ""), get_args(Against), "comparison"),
            reporting=_currency(given.get("reporting", "")),
            more={name: checked_text(given[name]) for name in names if given.get(name)},
        )
        if last - first > timedelta(days=366 * MOST_YEARS):
            raise InvalidReportError(f"A report has at most {MOST_YEARS} years.")
        if asked.periods.count > MOST_PERIODS:
            raise InvalidReportError(
                f"These are more than {MOST_PERIODS} {asked.by}s: ask for fewer, or by month."
            )
        return asked

    @cached_property
    def periods(self) -> Periods:
        return Periods(self.first, self.last, self.timezone, self.by)

    @property
    def since(self) -> datetime:
        """When it begins, UTC."""
        return self.periods.since

    @property
    def until(self) -> datetime:
        """When it is over, UTC: the first moment after it."""
        return self.periods.until

    @property
    def words(self) -> str:
        """Its days, for people."""
        days = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return f"{days}, {self.timezone}"

    def params(self) -> dict[str, str]:
        """As an address has it: what `of` reads, and leaves out what is as without it."""
        given = {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "timezone": self.timezone,
            "by": self.by,
            "currency": self.currency,
            "against": self.against,
            "reporting": self.reporting,
            **self.more,
        }
        return {name: value for name, value in given.items() if value}

    def compared(self) -> "Asked | None":
        """The same for what it is compared with; None where it is not."""
        if not self.against:
            return None
        periods = self.periods.previous() if self.against == "previous" else self.periods.year_ago()
        return replace(self, first=periods.first, last=periods.last, against="")


def parsed_day(text: str) -> date:
    """A date as ISO 8601 writes it. Raises InvalidReportError."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidReportError(f"“{text[:60]}” is no date: write it like 2026-11-01.") from error
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise InvalidReportError(f"The year must be from {FIRST_YEAR} to {LAST_YEAR}.")
    return day


def parsed_zone(name: str) -> ZoneInfo:
    """A time zone by IANA's name. Raises InvalidReportError."""
    try:
        return ZoneInfo(name.strip())
    except (KeyError, OSError, ValueError) as error:
        raise InvalidReportError(
            f"“{name[:60]}” is no time zone: name one as IANA does, such as Europe/Berlin."
        ) from error


def _one_of(value: str, allowed: tuple[Chosen, ...], what: str) -> Chosen:
    for each in allowed:
        if each == value:
            return each
    there_are = ", ".join(each for each in allowed if each)
    raise InvalidReportError(f"“{value[:60]}” is no {what}. There are: {there_are}.")


def _currency(text: str) -> str:
    code = text.strip().lower()
    if code and not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise InvalidReportError(f"“{text[:60]}” is no currency: write it like EUR.")
    return code


def checked_text(value: str) -> str:
    """A text of an address that can be asked a database for. Raises InvalidReportError."""
    if len(value) > LONGEST or "\x00" in value:
        raise InvalidReportError(f"A filter has at most {LONGEST} characters, and no NUL.")
    return value.strip()
