"""How Stripe's events flow in: by the minute in the past hour, by the hour in the past day."""

from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.db.models.functions import TruncHour, TruncMinute

from billing.admin import cells
from billing.admin.charts import Chart, Series, counted
from billing.admin.home import buckets
from billing.models import InboxEvent

DELIVERED = InboxEvent.objects.filter(source=InboxEvent.Source.WEBHOOK)
FAILED = (InboxEvent.Status.FAILED, InboxEvent.Status.DEAD)


def newest() -> datetime | None:
    """When the last delivery came."""
    return DELIVERED.order_by("-received_at", "-id").values_list("received_at", flat=True).first()


def charts(now: datetime) -> list[Chart]:
    return [
        chart(
            now,
            timedelta(minutes=1),
            60,
            "Events per minute",
            "What Stripe delivered in the past hour, UTC.",
            "Nothing was delivered in the past hour.",
        ),
        chart(
            now,
            timedelta(hours=1),
            24,
            "Events per hour",
            "What Stripe delivered in the past 24 hours, UTC.",
            "Nothing was delivered in the past 24 hours.",
        ),
    ]


def chart(now: datetime, size: timedelta, count: int, title: str, about: str, empty: str) -> Chart:
    """Deliveries by when they came, and how many of them have failed."""
    starts = buckets.steps(now, size, count)
    end = starts[-1] + size
    trunc = TruncHour if size >= timedelta(hours=1) else TruncMinute
    found = {
        start: (total, failed)
        for start, total, failed in DELIVERED.filter(received_at__gte=starts[0])
        .order_by()
        .annotate(start=trunc("received_at"))
        .values_list("start")
        .annotate(total=Count("id"), failed=Count("id", filter=Q(status__in=FAILED)))
    }
    counts = [found.get(start, (0, 0)) for start in starts]
    return Chart(
        title=title,
        about=about,
        unit=counted("events"),
        labels=[f"{start:%Y-%m-%d %H:%M}" for start in starts],
        ticks=[f"{start:%H:%M}" for start in starts],
        heading="From (UTC)",
        series=[
            Series("received in order", [total - failed for total, failed in counts]),
            Series("failed or dead", [failed for _, failed in counts]),
        ],
        kind="stack",
        url=cells.changelist_url(InboxEvent),
        links=buckets.links(InboxEvent, "received_at", starts, end),
        empty=empty,
    )
