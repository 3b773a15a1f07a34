"""Stripe's raw payloads are not kept for ever: what was processed long ago loses its body.

The inbox keeps each event's row, since its unique id is what keeps an event from being taken
twice, and says when its body was dropped. So does dj-stripe's copy of the event. The log
(`billing_events`), the ledger and the audit log stay as they are: figures of any past time are
computed from them. Nothing is dropped of an event that was not processed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min, Q, QuerySet
from django.utils import timezone

from billing.models import BillingEvent, InboxEvent, acting_as

BATCH = 1_000  # events of one transaction
AUDIT_TYPE = "system.payloads_dropped"
Status = InboxEvent.Status
DONE = Q(status__in=[Status.PROCESSED, Status.IGNORED], receivers_due=False)
# What says so where a body is asked for.
GONE = "Its payload was dropped for its age, and Stripe keeps an event for 30 days only."

_DROP = """
    WITH due AS (
        SELECT id FROM billing_inbox
        WHERE payload_dropped_at IS NULL AND received_at < %(before)s
          AND status IN ('processed', 'ignored') AND NOT receivers_due
        ORDER BY received_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
    UPDATE billing_inbox i SET body = '', payload_dropped_at = clock_timestamp()
    FROM due WHERE i.id = due.id RETURNING i.stripe_event_id
"""
_DROP_MIRRORED = """
    UPDATE djstripe_event SET stripe_data = stripe_data - 'data', data = '{}'
    WHERE id = ANY(%s)
"""
_DROP_MISSED = """
    UPDATE billing_missed_events SET body = ''
    WHERE body <> '' AND status = 'done' AND stripe_event_id = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """The payloads that are here: how many are due to be dropped, and the oldest one's time."""

    due: int
    oldest: datetime | None


def before() -> datetime | None:
    """The time before which payloads are dropped; None where they are kept for ever."""
    days = settings.RETAIN_PAYLOADS_DAYS
    return timezone.now() - timedelta(days=days) if days else None


def kept() -> Kept:
    """What there is, in one statement."""
    rows: QuerySet[InboxEvent] = InboxEvent.objects.filter(payload_dropped_at=None)
    limit = before()
    due = DONE & (Q(received_at__lt=limit) if limit else Q(pk=None))
    found = rows.aggregate(oldest=Min("received_at"))
    count = rows.filter(due).order_by().aggregate(n=Count("pk"))["n"] if limit else 0
    return Kept(count, found["oldest"])


def drop(actor: str, on_progress: Callable[[int], None] | None = None) -> int:
    """Drops what is due, batch by batch; how many events' payloads it was.

    Killed in between, what was dropped stays dropped, and the next call goes on.
    """
    limit, total = before(), 0
    if limit is None:
        return 0
    while count := _drop_batch(limit):
        total += count
        if on_progress:
            on_progress(count)
    if total:
        said: dict[str, Any] = {
            "before": limit.isoformat(),
            "events": total,
            "summary": f"The payloads of {total:,} events that were received before"
            f" {limit:%Y-%m-%d %H:%M} UTC were dropped.",
        }
        with transaction.atomic(), acting_as(actor):
            BillingEvent.objects.create(type=AUDIT_TYPE, payload=said)
    return total


def _drop_batch(limit: datetime) -> int:
    with transaction.atomic(), acting_as("system"), connection.cursor() as cursor:
        cursor.execute(_DROP, {"before": limit, "batch": BATCH})
        ids = [event_id for (event_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(_DROP_MIRRORED, [ids])
            cursor.execute(_DROP_MISSED, [ids])
    return len(ids)
