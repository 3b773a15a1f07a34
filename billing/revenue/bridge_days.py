"""The bridge's days as they were read from Stripe: kept, added up, and those not read yet."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone as clock

from billing.gateway.client import Gateway
from billing.models import BridgeDay
from billing.revenue.bridge import bridge
from billing.revenue.days import ONE_DAY, Days, midnight
from billing.revenue.stripes import COLLECTED, SETTLED
from billing.revenue.sums import Part

PARTS: dict[str, Part] = {part.name: part for part in (COLLECTED, SETTLED)}
AT_ONCE = 7  # days that are read together
Row = dict[str, Any]


def keep(said: dict[str, Any]) -> None:
    """Keeps what `bridge` said of whole days, in place of what was kept of them before."""
    since, until = (datetime.fromisoformat(said[name]) for name in ("since", "until"))
    zone, now = said["timezone"], clock.now()
    days = Days(since, until, zone)
    whole = {
        day.isoformat()
        for day, span in zip(days.dates, days.spans, strict=True)
        if span == _span(day, zone)
    }
    kept = [row for day in whole for name in PARTS for row in _of_day(said, name, day, zone)]
    for row in kept:
        row.read_at = now
    with transaction.atomic():
        BridgeDay.objects.filter(zone=zone, day__in=whole).delete()
        BridgeDay.objects.bulk_create(kept)


def _span(day: date, zone: str) -> tuple[datetime, datetime]:
    """From when up to when a day lasts, UTC."""
    return midnight(day, ZoneInfo(zone)), midnight(day + ONE_DAY, ZoneInfo(zone))


def _of_day(said: dict[str, Any], name: str, day: str, zone: str) -> list[BridgeDay]:
    """A row for each currency that moved; one without currency where nothing did."""
    moved = [row for row in said[name] if row["date"] == day]
    if not moved:
        return [BridgeDay(day=day, zone=zone, part=name)]
    return [
        BridgeDay(
            day=day,
            zone=zone,
            part=name,
            currency=row["currency"],
            items={key: value for key, value in row.items() if isinstance(value, int)},
            remainder=row["remainder"],
            causes=[
                cause
                for cause in said["causes"]
                if row["remainder"] and (cause["date"], cause["currency"]) == (day, row["currency"])
            ],
        )
        for row in moved
    ]


def read(
    since: datetime,
    until: datetime,
    timezone: str,
    stripe: Gateway,
    tell: Callable[[str], None] = lambda said: None,
) -> None:
    """Reads the whole days of a window from Stripe, a week at a time, and keeps them.

    What was kept stays where it is interrupted. Raises a GatewayError where Stripe does not tell.
    """
    days = Days(since, until, timezone)
    for first in range(0, len(days.dates), AT_ONCE):
        spans = days.spans[first : first + AT_ONCE]
        tell(f"day {first + 1} of {len(days.dates)}")
        keep(bridge(spans[0][0], spans[-1][1], timezone, stripe))


def not_read(days: Days) -> list[date]:
    """The days of which nothing is kept, or only what was said before they were over."""
    ends = dict(zip(days.dates, (span[1] for span in days.spans), strict=True))
    kept = BridgeDay.objects.filter(zone=days.timezone, day__in=days.dates)
    read_at = dict(kept.values_list("day", "read_at"))
    return [day for day in days.dates if day not in read_at or read_at[day] < ends[day]]


def kept_rows(part: str, first: date, last: date, timezone: str, currency: str = "") -> list[Row]:
    """A row for each day and currency, as `bridge` has them, with `causes`."""
    return [
        {
            "date": row.day.isoformat(),
            "currency": row.currency,
            **row.items,
            "remainder": row.remainder,
            "causes": row.causes,
        }
        for row in _kept(part, first, last, timezone, currency).order_by("day", "currency")
    ]


def totals(part: str, first: date, last: date, timezone: str, currency: str = "") -> list[Row]:
    """The kept days of a part added up: a row for each currency."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    kept = _kept(part, first, last, timezone, currency)
    for code, items, remainder in kept.values_list("currency", "items", "remainder"):
        sums[code].update(items, remainder=remainder)
    return [{"currency": code, **PARTS[part].row(sums[code])} for code in sorted(sums)]


def _kept(part: str, first: date, last: date, timezone: str, currency: str) -> QuerySet[BridgeDay]:
    kept = BridgeDay.objects.filter(zone=timezone, part=part, day__range=(first, last))
    return kept.filter(currency=currency) if currency else kept.exclude(currency="")
