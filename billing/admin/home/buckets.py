"""The minutes, hours and days that charts count by, and the addresses of what fell into them."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Model

from billing.admin import cells
from billing.formatting import iso_time


def report_zone() -> ZoneInfo:
    """The time zone whose days the business counts by."""
    return ZoneInfo(getattr(settings, "REPORT_TIME_ZONE", "UTC"))


def steps(now: datetime, size: timedelta, count: int) -> list[datetime]:
    """The starts of the last `count` whole minutes or hours, the present one the last."""
    seconds = size.total_seconds()
    latest = datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
    return [latest - size * i for i in reversed(range(count))]


def days(now: datetime, zone: ZoneInfo, count: int) -> list[datetime]:
    """The midnights of the last `count` days in a time zone, today's the last."""
    today = now.astimezone(zone).date()
    return [
        datetime.combine(today - timedelta(days=i), time(), zone) for i in reversed(range(count))
    ]


def links(
    model: type[Model], field: str, starts: Sequence[datetime], end: datetime, **query: str
) -> list[str]:
    """The list's address for each span: from a start up to the next, the last up to `end`."""
    return [
        cells.changelist_url(
            model,
            **query,
            **{f"{field}__gte": iso_time(since), f"{field}__lt": iso_time(until)},
        )
        for since, until in pairwise([*starts, end])
    ]
