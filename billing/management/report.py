"""What the commands of finance share: their days, and their amounts as lines and as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import exponent
from billing.revenue.asked import InvalidReportError, parsed_day, parsed_zone
from billing.revenue.days import ONE_DAY, last_days, midnight
from billing.revenue.exporting import safe

LAST_DAYS = 7  # the window of a report unless its days are named
MOST_DAYS = 400  # that one report has
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def add_days(parser: CommandParser) -> None:
    """The options that `window` reads."""
    parser.add_argument(
        "--from",
        dest="first",
        metavar="DATE",
        help="The first day, such as 2026-11-01 (default: the last 7 whole days).",
    )
    parser.add_argument(
        "--to", dest="last", metavar="DATE", help="The last day (default: yesterday)."
    )
    parser.add_argument(
        "--timezone",
        default=settings.REPORT_TIME_ZONE,
        metavar="ZONE",
        help="Whose days these are, such as Europe/Berlin (default: REPORT_TIME_ZONE's,"
        f" {settings.REPORT_TIME_ZONE}).",
    )


def window(options: dict[str, Any]) -> dict[str, Any]:
    """`since`, `until` and `timezone` of a report. Raises InvalidReportError."""
    zone = parsed_zone(options["timezone"])
    since, until = last_days(LAST_DAYS, timezone.now(), zone.key)
    if options["last"]:
        until = midnight(parsed_day(options["last"]) + ONE_DAY, zone)
        since = midnight(parsed_day(options["last"]) - ONE_DAY * (LAST_DAYS - 1), zone)
    if options["first"]:
        since = midnight(parsed_day(options["first"]), zone)
    if not since < until:
        raise InvalidReportError("The first day must not be after the last, which is yesterday.")
    if until - since > ONE_DAY * MOST_DAYS:
        raise InvalidReportError(f"A report has at most {MOST_DAYS} days.")
    return {"since": since, "until": until, "timezone": zone.key}


def shown_days(said: dict[str, Any]) -> str:
    """The window of a report, for people."""
    zone = ZoneInfo(said["timezone"])
    since, until = (
        datetime.fromisoformat(said[name]).astimezone(zone).strftime("%Y-%m-%d %H:%M")
        for name in ("since", "until")
    )
    return f"From {since} up to {until}, {said['timezone']}"


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """The lines of a CSV document, in which nothing but a number begins like a formula."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue().splitlines()


def _cell(value: Any) -> Any:
    return safe(value) if isinstance(value, str) and not NUMBER.fullmatch(value) else value


def in_units(amount: int, currency: str) -> str:
    """Minor units as a number that a spreadsheet reads: `-1234.50`."""
    decimals = exponent(currency)
    whole, fraction = divmod(abs(amount), 10**decimals)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{fraction:0{decimals}d}" if decimals else f"{sign}{whole}"
