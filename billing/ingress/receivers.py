"""The receivers that a company registered with `djstripe_receiver`.

They are called once an event's effects have committed. Their failure is shown on the
event and undoes nothing.
"""

import logging
from typing import Any

from django.db import transaction
from djstripe.models import Event
from djstripe.signals import WEBHOOK_SIGNALS

from billing.models import InboxEvent

logger = logging.getLogger(__name__)

OWN_MODULE = "djstripe."
CALLING = "They were called and did not return: the process ended, or is still at it."


def are_due(event_type: str) -> bool:
    """Whether anybody but dj-stripe itself listens to this type."""
    return bool(_receivers(event_type))


def call_due(limit: int = 100) -> int:
    """Calls the receivers of events that still owe it; returns how many events.

    A crash between an event's commit and this call only delays it. One during the call
    shows on the event, and a replay of it calls them again.
    """
    called = 0
    ids = list(
        InboxEvent.objects.filter(receivers_due=True).order_by("id").values_list("pk", flat=True)
    )[:limit]
    for pk in ids:
        with transaction.atomic():
            row = (
                InboxEvent.objects.select_for_update(skip_locked=True)
                .filter(pk=pk, receivers_due=True)
                .first()
            )
            if row is None:
                continue
            row.receivers_due = False
            row.receiver_error = CALLING
            row.save(update_fields=["receivers_due", "receiver_error"])
        error = _call(row)
        InboxEvent.objects.filter(pk=pk).update(receiver_error=error)
        called += 1
    return called


def _call(row: InboxEvent) -> str:
    event = Event.objects.filter(id=row.stripe_event_id).first()
    if event is None:
        return "dj-stripe's row of the event is missing"
    errors = []
    for receiver in _receivers(row.type):
        try:
            receiver(sender=Event, signal=WEBHOOK_SIGNALS[row.type], event=event)
        except Exception as error:
            logger.exception("a receiver of %s failed on %s", row.type, row.stripe_event_id)
            errors.append(f"{_name(receiver)}: {type(error).__name__}: {error}")
    return "\n".join(errors)[:2000]


def _receivers(event_type: str) -> list[Any]:
    signal = WEBHOOK_SIGNALS.get(event_type)
    if signal is None:
        return []
    live, asynchronous = signal._live_receivers(Event)
    return [r for r in (*live, *asynchronous) if not r.__module__.startswith(OWN_MODULE)]


def _name(receiver: Any) -> str:
    return f"{receiver.__module__}.{getattr(receiver, '__qualname__', receiver)}"
