"""Whether webhooks flow, all that was paid is granted, and what people asked for was done."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q, Sum
from procrastinate.contrib.django.models import ProcrastinateWorker

from billing.admin import cells
from billing.admin.home.figures import Figure, Section
from billing.admin.related import Table
from billing.alerts.processes import WORKER_LOST
from billing.formatting import format_age, format_time
from billing.models import (
    InboxEvent,
    LeadCredits,
    OperationRecord,
    Purchase,
    StatusOverride,
    WebhookRejection,
)
from billing.operations import approvals

QUIET = timedelta(hours=24)  # without any event, after which somebody should look
WAITING_LONG = timedelta(minutes=5)  # for a worker that is alive
REFUSED_SINCE = timedelta(days=1)
SET_ASIDE_SINCE = timedelta(days=7)  # as the list's filter has it
OPERATIONS_SINCE = timedelta(days=7)
UNFINISHED = timedelta(minutes=10)  # after which a started operation was interrupted
LATEST = 5

Status = InboxEvent.Status


def webhooks(newest: datetime | None, now: datetime) -> Section:
    """Do Stripe's events come in, and are they processed?"""
    section = Section(
        "Webhooks",
        {
            "success": "Webhooks flow",
            "warning": "Webhooks flow, but look",
            "danger": "Webhooks need you",
        },
    )
    section.figures = [
        last_event(newest, now),
        *inbox_figures(now),
        refused(now),
        worker(now),
    ]
    return section


def last_event(newest: datetime | None, now: datetime) -> Figure:
    url = cells.changelist_url(InboxEvent)
    if newest is None:
        return Figure("Last event", "none yet", url, "Nothing was ever received.", "warning")
    age = format_age(newest, now)
    if now - newest > QUIET:
        return Figure("Last event", age, url, "Quiet for more than a day.", "warning")
    return Figure("Last event", age, url, f"It came at {format_time(newest)}.")


def inbox_figures(now: datetime) -> Iterator[Figure]:
    """How many events wait, failed, are dead or set aside. The processed are not counted."""
    recent = Q(status=Status.SET_ASIDE, received_at__gte=now - SET_ASIDE_SINCE)
    counted = (
        InboxEvent.objects.filter(
            Q(status__in=[Status.PENDING, Status.FAILED, Status.DEAD]) | recent
        )
        .order_by()
        .values_list("status")
        .annotate(Count("id"), Min("received_at"))
    )
    found = {status: (count, oldest) for status, count, oldest in counted}
    told = {
        Status.PENDING: ("Pending", "Each waits for its turn.", "success"),
        Status.FAILED: ("Failed", "They will be tried again by themselves.", "warning"),
        Status.DEAD: ("Dead", "They need a person: see why, put it right, replay.", "danger"),
        Status.SET_ASIDE: (
            "Set aside in the past week",
            "Of another account or mode: not processed.",
            "warning",
        ),
    }
    for status, (title, verdict, tone) in told.items():
        count, oldest = found.get(status, (0, None))
        if status == Status.PENDING and oldest and now - oldest > WAITING_LONG:
            verdict, tone = f"The oldest came {format_age(oldest, now)}: too long ago.", "danger"
        span = {"since": "week"} if status == Status.SET_ASIDE else {}
        url = cells.changelist_url(InboxEvent, status=status, **span)
        yield (
            Figure(title, f"{count:,}", url, verdict, tone)
            if count
            else Figure(title, "0", url, "None, as it should be.")
        )


def refused(now: datetime) -> Figure:
    """Requests that were no events of Stripe's for us: each reason with its count."""
    reasons = (
        WebhookRejection.objects.filter(last_at__gte=now - REFUSED_SINCE)
        .order_by()
        .values_list("reason")
        .annotate(total=Sum("count"))
        .order_by("-total")
    )
    found = list(reasons)
    url = cells.changelist_url(WebhookRejection, since="day")
    title = "Refused in the past day"
    if not found:
        return Figure(title, "0", url, "None, as it should be.")
    verdict = "; ".join(f"{count:,} × {reason}" for reason, count in found[:3])
    return Figure(title, f"{sum(count for _, count in found):,}", url, f"{verdict}.", "warning")


def worker(now: datetime) -> Figure:
    """Whether any worker has given a sign of life in the past minute."""
    counted = ProcrastinateWorker.objects.aggregate(
        alive=Count("id", filter=Q(last_heartbeat__gte=now - WORKER_LOST)),
        last=Max("last_heartbeat"),
    )
    url = cells.changelist_url(InboxEvent, status=Status.PENDING)
    if counted["alive"]:
        return Figure("Workers", f"{counted['alive']} alive", url, "Events are processed.")
    last = counted["last"]
    seen = f"The last sign of one came {format_age(last, now)}." if last else "None ever ran."
    return Figure("Workers", "none alive", url, f"{seen} Start it: manage.py run_worker.", "danger")


def purchases() -> Section:
    """Is everything that was paid granted?"""
    section = Section(
        "Credits", {"success": "All that was paid is granted", "warning": "Some wait for you"}
    )
    counted = dict(
        Purchase.objects.exclude(status=Purchase.Status.GRANTED)
        .order_by()
        .values_list("status")
        .annotate(Count("id"))
    )
    told = {
        Purchase.Status.UNATTRIBUTED: (
            "Paid by nobody we know",
            "Find out who it was, and grant the credits for it.",
        ),
        Purchase.Status.UNPRICED: (
            "Paid without a price in credits",
            "Map the price to credits, then sync.",
        ),
    }
    for status, (title, verdict) in told.items():
        count, url = counted.get(status, 0), cells.changelist_url(Purchase, status=status)
        section.figures.append(
            Figure(title, f"{count:,}", url, verdict, "warning")
            if count
            else Figure(title, "0", url, "None, as it should be.")
        )
    owing = LeadCredits.objects.filter(owed__gt=0).count()
    section.figures.append(
        Figure(
            "Users who owe credits",
            f"{owing:,}",
            cells.changelist_url(LeadCredits, state="owing"),
            "Their next grant pays it." if owing else "None.",
        )
    )
    return section


def operations(now: datetime) -> Section:
    """Did what people asked for come to its end?"""
    section = Section(
        "Operations", {"success": "All came to their end", "warning": "Some need a look"}
    )
    section.figures += [waiting_for_approval(), set_by_hand()]
    recent = OperationRecord.objects.filter(created_at__gte=now - OPERATIONS_SINCE)
    counted = recent.aggregate(
        failed=Count("id", filter=Q(status=OperationRecord.Status.FAILED)),
        unfinished=Count(
            "id",
            filter=Q(status=OperationRecord.Status.STARTED, created_at__lt=now - UNFINISHED),
        ),
    )
    for title, status, count, verdict in (
        ("Failed in the past week", "failed", counted["failed"], "Each says why."),
        (
            "Started, never finished",
            "started",
            counted["unfinished"],
            "They were interrupted: look, and run them again.",
        ),
    ):
        url = cells.changelist_url(OperationRecord, status=status)
        section.figures.append(
            Figure(title, f"{count:,}", url, verdict, "warning")
            if count
            else Figure(title, "0", url, "None, as it should be.")
        )
    return section


def waiting_for_approval() -> Figure:
    """Requests that a second person has to decide."""
    requests = approvals.waiting()
    url = cells.changelist_url(OperationRecord, status="requested")
    if count := requests.count():
        oldest = requests.values_list("created_at", flat=True)[0]
        verdict = f"The oldest was asked for at {format_time(oldest)}: approve or reject it."
        return Figure("Waiting for approval", f"{count:,}", url, verdict, "warning")
    return Figure("Waiting for approval", "0", url, "Nobody waits for a second person.")


def set_by_hand() -> Figure:
    """Subscriptions whose status is a person's word and not Stripe's."""
    in_force = StatusOverride.objects.filter(ended_at=None)
    counted = in_force.aggregate(count=Count("id"), last=Max("expires_at"))
    url = cells.changelist_url(StatusOverride, state="in_force")
    title = "Statuses set by hand"
    if counted["count"]:
        until = format_time(counted["last"])
        verdict = f"Stripe has not confirmed them. The last ends at {until}."
        return Figure(title, f"{counted['count']:,}", url, verdict, "warning")
    return Figure(title, "0", url, "None, as it should be.")


def latest_operations() -> Table:
    """What people changed last."""
    rows = OperationRecord.objects.all()[:LATEST]
    return Table(
        title="Latest operations",
        headers=["What", "About", "Status", "By", "Reason", "Time (UTC)"],
        rows=[
            (
                cells.page_url(row),
                [
                    row.name.replace("_", " ").capitalize(),
                    row.subject,
                    cells.status_label(row.status),
                    row.actor,
                    row.reason,
                    cells.time(row.created_at),
                ],
            )
            for row in rows
        ],
        empty="Nobody has changed anything by hand.",
        more=cells.changelist_url(OperationRecord),
    )
