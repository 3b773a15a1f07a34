"""Are we at work ourselves? Rules on the worker and on the heartbeat."""

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Count, Max, Q
from procrastinate.contrib.django.models import ProcrastinateWorker

from billing.alerts import heartbeat
from billing.alerts.firing import Firing, Look, Severity, list_page
from billing.formatting import format_age
from billing.models import InboxEvent, ReconciliationRun

WORKER_LOST = timedelta(seconds=60)  # six of its heartbeats


def workers(look: Look) -> Iterator[Firing]:
    """No worker has given a sign of life for a minute: events and schedules wait.

    The web process checks it, too (billing.alerts.web): a worker that is gone tells nobody.
    """
    seen = ProcrastinateWorker.objects.aggregate(
        alive=Count("id", filter=Q(last_heartbeat__gte=look.now - WORKER_LOST)),
        last=Max("last_heartbeat"),
    )
    if seen["alive"]:
        return
    last = seen["last"]
    when = f"The last sign of one came {format_age(last, look.now)}." if last else "None is known."
    yield Firing(
        "No worker is running",
        f"{when} Events are kept in the inbox and nothing processes them: payments bring no credits"
        " and no access. Start one: manage.py run_worker. Its log says why it ended.",
        list_page(InboxEvent, status=InboxEvent.Status.PENDING),
    )


def beats(look: Look) -> Iterator[Firing]:
    """The heartbeat of the last good daily run could not be sent; it is tried again here."""
    error = heartbeat.retry(look.now)
    if error:
        yield Firing(
            "The heartbeat could not be sent",
            f"The daily run went well, and the address in HEARTBEAT_URL was told so in vain:"
            f" {error} It is tried again every five minutes; whoever listens there may raise an"
            " alarm meanwhile.",
            list_page(ReconciliationRun),
            Severity.WARNING,
        )
