"""Stripe's events about a person whose effects are missing: lost, failed, waiting, set aside."""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings

from billing.diagnosis.causes import NOT_RECEIVED, causes_of
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_time
from billing.models import InboxEvent

SHOWN_FOR = timedelta(days=7)  # as on the home page
PATIENCE = timedelta(minutes=5)  # for which an event may wait for the worker
Status = InboxEvent.Status


def not_processed(facts: Facts) -> Iterator[Finding]:
    """Events in the inbox that have had no effect."""
    for event in facts.undelivered:
        replay = Fix("replay_events", {"event_ids": [event.stripe_event_id]})
        match event.status:
            case Status.FAILED | Status.DEAD:
                is_open = event.status == Status.FAILED
                again = "It is tried again by itself" if is_open else "It was given up"
                times = f"{event.attempts} time{'' if event.attempts == 1 else 's'}"
                yield _about(
                    event,
                    Kind.EVENT_FAILED,
                    Severity.MONEY,
                    f"{event.type} was received and failed {times}:"
                    f" {event.reason} {again}; what it brings is missing here.",
                    replay,
                )
            case Status.PENDING if event.received_at < facts.now - PATIENCE:
                yield _about(
                    event,
                    Kind.EVENT_WAITING,
                    Severity.WARNING,
                    f"{event.type} waits since {format_time(event.received_at)}: no worker has"
                    " taken it. See on the home page whether one runs.",
                    replay,
                )
            case Status.SET_ASIDE if event.received_at > facts.now - SHOWN_FOR:
                if not synced_since(facts, event):
                    yield _set_aside(event)


def _set_aside(event: InboxEvent) -> Finding:
    """It is of another mode or account; what it brings is needed only if that has changed."""
    fits_now = event.livemode == settings.STRIPE_LIVE_MODE and " mode" in event.reason
    return _about(
        event,
        Kind.EVENT_SET_ASIDE,
        Severity.WARNING,
        f"{event.type} was received and set aside: {event.reason} "
        + (
            "By now this is the right mode: sync the customer to have what it brought."
            if fits_now
            else "That is as it should be, unless the endpoint or the key is the wrong one."
        ),
        Fix("sync_from_stripe", {"kind": "customer", "id": event.customer_id})
        if fits_now and event.customer_id
        else None,
    )


def synced_since(facts: Facts, event: InboxEvent) -> bool:
    """Whether what the event is about was brought in after it came."""
    subjects = {event.customer_id, event.object_id, facts.user_id}
    return any(
        operation.name == "sync_from_stripe"
        and operation.subject in subjects
        and operation.created_at > event.received_at
        for operation in facts.operations
    )


def _about(
    event: InboxEvent, kind: Kind, severity: Severity, verdict: str, fix: Fix | None
) -> Finding:
    return Finding(
        kind,
        severity,
        event.stripe_event_id,
        verdict,
        (
            Evidence("Event", event.type, event.stripe_event_id, event.stripe_created_at),
            Evidence("About", event.object_id, event.object_id),
            Evidence("Received", event.get_status_display(), time=event.received_at),
        ),
        fix,
    )


def never_received(facts: Facts) -> Iterator[Finding]:
    """Events that Stripe has about what differs here, and that never came."""
    if facts.stripe is None:
        return
    for object_id in facts.stripe.events:
        for cause in causes_of(facts, object_id):
            if cause.state == NOT_RECEIVED:
                yield Finding(
                    Kind.EVENT_NOT_RECEIVED,
                    Severity.MONEY,
                    cause.event_id,
                    f"Stripe sent {cause.type} at {format_time(cause.created_at)}, and it never"
                    " arrived here.",
                    (cause.as_evidence(), Evidence("About", object_id, object_id)),
                    cause.fix,
                )


def unknown(facts: Facts) -> Iterator[Finding]:
    """Events here that Stripe does not know: of another account, or signed by somebody else."""
    for event in facts.unlisted:
        yield _about(
            event,
            Kind.EVENT_UNKNOWN,
            Severity.MONEY,
            f"{event.type} was received at {format_time(event.received_at)} with a valid signature,"
            " and Stripe knows no such event. See which account or test it is from; if nobody"
            " can say, roll the endpoint's signing secret.",
            None,
        )


CHECKS: tuple[Check, ...] = (not_processed, never_received, unknown)
