"""The inbox: where an event is safe from the moment that Stripe gets its 200."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from django.conf import settings

from billing.database import as_json, cursor, recordset
from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import clean, event_customer_id, id_of, is_thin_event
from billing.ingress import queue
from billing.models import InboxEvent

logger = logging.getLogger(__name__)

LONGEST_ID = 255  # characters, as Stripe says; an index refuses what is much longer


class RejectedError(Exception):
    """A request that is no event to keep. The text is the reason, fit to be counted."""

    def __init__(self, reason: str, *, status: int = 400, detail: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event as it came: what is needed to list and to order it, and its body."""

    stripe_event_id: str
    type: str
    object_id: str
    customer_id: str
    api_version: str
    livemode: bool
    account: str
    created_at: datetime
    body: str


RECEIVED = {
    "stripe_event_id": "text",
    "type": "text",
    "object_id": "text",
    "customer_id": "text",
    "api_version": "text",
    "livemode": "bool",
    "account": "text",
    "created_at": "timestamptz",
    "body": "text",
    "reason": "text",
}


def parse(body: bytes) -> IncomingEvent:
    """A signed body as an event. Raises RejectedError for what is none."""
    try:
        text = body.decode("utf-8")
        event = json.loads(text, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RejectedError("not JSON", detail=type(error).__name__) from error
    if not isinstance(event, dict):
        raise RejectedError("not an event", detail="the body is not an object")
    if is_thin_event(event):
        raise RejectedError(
            "thin event", detail="send snapshot events to this endpoint, not v2 ones"
        )
    return from_event(event, text)


def from_event(event: StripeDict, text: str | None = None) -> IncomingEvent:
    """An event object, from a webhook or from Stripe's list. Raises RejectedError."""
    data = event.get("data")
    data_object = data.get("object") if isinstance(data, dict) else None
    event_id, event_type, created = event.get("id"), event.get("type"), event.get("created")
    if (
        event.get("object") != "event"
        or not isinstance(event_id, str)
        or not isinstance(event_type, str)
        or not 0 < len(event_id) <= LONGEST_ID
        or not 0 < len(event_type) <= LONGEST_ID
        or not isinstance(data_object, dict)
        or isinstance(created, bool)
        or not isinstance(created, int)
        or not 0 <= created < 253402300800  # the year 10000
    ):
        raise RejectedError("not an event", detail="id, type, created or data.object is missing")
    created_at = from_timestamp(created)
    assert created_at is not None  # noqa: S101  (narrows the type)
    return IncomingEvent(
        stripe_event_id=clean(event_id),
        type=clean(event_type),
        object_id=clean(id_of(data_object.get("id")))[:LONGEST_ID],
        customer_id=clean(event_customer_id(data_object))[:LONGEST_ID],
        api_version=clean(str(event.get("api_version") or "")),
        livemode=event.get("livemode") is True,
        account=clean(str(event.get("account") or "")),
        created_at=created_at,
        body=json.dumps(event) if text is None else text,
    )


def receive(
    events: Sequence[IncomingEvent],
    source: InboxEvent.Source = InboxEvent.Source.WEBHOOK,
    *,
    held: int = 0,
) -> list[str]:
    """Inserts what is not there yet and wakes the worker; returns the new events' ids.

    Of events that are `held`, the worker is not told: for so many seconds they are left to who
    brings them.

    The rows are committed before the worker is woken: a wake-up that is lost only
    costs time, since the worker also looks by itself. A duplicate of an event that
    is dead is taken as Stripe's word that it was sent again: it gets another try.
    """
    records = [{**asdict(event), "reason": set_aside_reason(event)} for event in events]
    with cursor() as bound:
        bound.execute(
            f"""
            INSERT INTO billing_inbox (stripe_event_id, type, object_id, customer_id,
                api_version, livemode, body, stripe_created_at, status, reason, source,
                next_attempt_at)
            SELECT stripe_event_id, type, object_id, customer_id, api_version, livemode, body,
                created_at, CASE reason WHEN '' THEN %s ELSE %s END, reason, %s,
                clock_timestamp() + make_interval(secs => %s)
            FROM {recordset(RECEIVED)}
            ON CONFLICT (stripe_event_id) DO NOTHING
            RETURNING stripe_event_id
            """,  # noqa: S608  (the columns are named above)
            [
                InboxEvent.Status.PENDING,
                InboxEvent.Status.SET_ASIDE,
                source,
                held,
                as_json(records),
            ],
        )
        inserted = [row[0] for row in bound.fetchall()]
    if len(inserted) < len(events):
        new = set(inserted)
        revive([e.stripe_event_id for e in events if e.stripe_event_id not in new])
    if held:
        return inserted
    try:
        queue.wake_worker()
    except Exception:
        logger.exception("the worker could not be woken; it will look by itself")
    return inserted


def revive(event_ids: Sequence[str]) -> int:
    """Dead events among these become pending again; returns how many."""
    return InboxEvent.objects.filter(
        stripe_event_id__in=event_ids, status=InboxEvent.Status.DEAD
    ).update(status=InboxEvent.Status.PENDING, reason="Sent again by Stripe.", attempts=0)


def set_aside_reason(event: IncomingEvent) -> str:
    """Why an event is kept but not processed; '' for one to process."""
    if event.account:
        return f"It belongs to the connected account {event.account}, not to ours."
    if event.livemode != settings.STRIPE_LIVE_MODE:
        return (
            f"It is from {'live' if event.livemode else 'test'} mode, and this back office"
            f" works in {'live' if settings.STRIPE_LIVE_MODE else 'test'} mode."
        )
    return ""


def count_rejection(reason: str, detail: str = "") -> None:
    """Adds one to this hour's count of refused requests with this reason."""
    with cursor() as bound:
        bound.execute(
            """
            INSERT INTO billing_webhook_rejections AS r (hour, reason, count, last_detail)
            VALUES (date_trunc('hour', now()), %s, 1, %s)
            ON CONFLICT (hour, reason) DO UPDATE
            SET count = r.count + 1, last_at = clock_timestamp(), last_detail = excluded.last_detail
            """,
            [reason, detail[:500]],
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
