"""Stripe's events in `billing_events`, as the runbook's queries read them."""

from collections.abc import Sequence

from django.db import connection

from billing.gateway.observation import StripeDict
from billing.gateway.shapes import event_subscription_id, metadata_user_id, session_user_id
from billing.mirror.objects import as_json


def payload(data: StripeDict) -> StripeDict:
    """The event's object, with `subscription` and `metadata.user_id` where they moved from."""
    filled = dict(data)
    subscription = event_subscription_id(data)
    if subscription and not isinstance(data.get("subscription"), str):
        filled["subscription"] = subscription
    is_session = data.get("object") == "checkout.session"
    user_id = session_user_id(data) if is_session else metadata_user_id(data)
    if user_id:
        metadata = data.get("metadata")
        kept = metadata if isinstance(metadata, dict) else {}
        filled["metadata"] = {"user_id": user_id, **{k: v for k, v in kept.items() if v}}
    return filled


def write(events: Sequence[StripeDict]) -> None:
    """Logs these events, each once however often it is processed."""
    if not events:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_events
                (stripe_event_id, type, payload, created_at, api_version, livemode)
            SELECT id, type, payload, to_timestamp(created), api_version, livemode
            FROM jsonb_to_recordset(%s::jsonb) AS n(id text, type text, payload jsonb,
                created bigint, api_version text, livemode bool)
            ON CONFLICT (stripe_event_id) DO NOTHING
            """,
            [as_json([_record(event) for event in events])],
        )


def _record(event: StripeDict) -> StripeDict:
    return {
        "id": event["id"],
        "type": event["type"],
        "payload": payload(event["data"]["object"]),
        "created": event["created"],
        "api_version": str(event.get("api_version") or ""),
        "livemode": event.get("livemode") is True,
    }
