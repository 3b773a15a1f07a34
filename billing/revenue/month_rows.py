"""The rows of months: made when a month is over, checked against Stripe, and told what came since.

What the worker does of itself; a person signs and closes (billing.operations.closing).
"""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Min
from django.utils import timezone as clock

from billing.gateway.client import Gateway, gateway
from billing.models import MonthClose, RevenueEntry, acting_as
from billing.revenue import bridge_days, closing
from billing.revenue.months import Month

WORKER = "schedule"
State = MonthClose.State


def current(month: Month) -> MonthClose | None:
    """The row that a month goes on as; none where it was never looked at."""
    return MonthClose.objects.filter(month=month.first).exclude(state=State.REOPENED).first()


def open_months(timezone: str, now: datetime) -> int:
    """Makes a row for each month that is over, from the first entry on; says how many are new."""
    first = RevenueEntry.objects.aggregate(first=Min("at"))["first"]
    if first is None:
        return 0
    month, over = Month.of(first, timezone), []
    while month.until <= now:
        over.append(month)
        month = month.next
    known = set(MonthClose.objects.values_list("month", flat=True))
    new = [each for each in over if each.first not in known]
    with transaction.atomic(), acting_as(WORKER):
        for each in new:
            MonthClose.objects.get_or_create(
                month=each.first, state=State.OPEN, defaults={"timezone": timezone}
            )
    return len(new)


def see_what_came_since() -> None:
    """Counts, for each closed month, what would change it and what concerns it."""
    for close in MonthClose.objects.filter(state=State.CLOSED):
        said = closing.later(close)
        if said != close.later:
            say(close, later=said)


def check(close: MonthClose, stripe: Gateway | None = None) -> None:
    """Reads a month's days from Stripe and keeps them; the row says how far it is.

    Raises a GatewayError where Stripe does not tell; what was read until then is kept.
    """
    month = closing.month_of(close)
    try:
        bridge_days.read(
            month.since,
            min(month.until, clock.now()),
            month.timezone,
            stripe or gateway(),
            lambda said: say(close, stage=said),
        )
        say(close, checked_at=clock.now())
    finally:
        say(close, stage="")


def say(close: MonthClose, **values: Any) -> None:
    with transaction.atomic(), acting_as(WORKER):
        MonthClose.objects.filter(pk=close.pk).update(**values)
