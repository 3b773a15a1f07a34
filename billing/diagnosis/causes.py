"""Why something did not arrive here: which event should have brought it, and where that is."""

from dataclasses import dataclass
from datetime import datetime

from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Evidence, Fix
from billing.gateway.observation import from_timestamp
from billing.models import InboxEvent

Status = InboxEvent.Status

STATES = {
    Status.PENDING: "was received and waits to be processed",
    Status.FAILED: "was received, failed, and will be tried again",
    Status.DEAD: "was received and failed until it was given up",
    Status.SET_ASIDE: "was received and set aside",
    Status.PROCESSED: "was received and processed",
    Status.IGNORED: "was received and needed nothing",
}
NOT_RECEIVED = "not_received"


@dataclass(frozen=True, slots=True)
class Cause:
    """A Stripe event and what became of it: a status of the inbox, or `not_received`."""

    event_id: str
    type: str
    state: str
    created_at: datetime
    detail: str = ""

    @property
    def in_words(self) -> str:
        """A clause that goes on from the event's name."""
        said = "never arrived" if self.state == NOT_RECEIVED else STATES[Status(self.state)]
        return f"{said}: {self.detail}" if self.detail else said

    @property
    def is_open(self) -> bool:
        """Whether its effects are still missing."""
        return self.state not in (Status.PROCESSED, Status.IGNORED)

    @property
    def fix(self) -> Fix | None:
        """Its replay; None where a replay would be refused or has nothing to do."""
        if not self.is_open or self.state == Status.SET_ASIDE:
            return None
        return Fix("replay_events", {"event_ids": [self.event_id]})

    def as_evidence(self) -> Evidence:
        return Evidence(f"Event {self.type}", self.in_words, self.event_id, self.created_at)


def causes_of(facts: Facts, object_id: str) -> list[Cause]:
    """The events about an object, the newest first: those at Stripe that are not here as well."""
    here = {
        event.stripe_event_id: _received(event)
        for event in (*facts.about.get(object_id, ()), *facts.undelivered)
        if event.object_id == object_id
    }
    found = dict(here)
    if facts.stripe is not None:
        for event in facts.stripe.events.get(object_id, ()):
            row = facts.received.get(event["id"])
            found.setdefault(
                event["id"],
                _received(row)
                if row
                else Cause(
                    str(event["id"]),
                    str(event["type"]),
                    NOT_RECEIVED,
                    from_timestamp(event["created"]) or facts.now,
                ),
            )
    return sorted(found.values(), key=lambda cause: cause.created_at, reverse=True)


def open_events(facts: Facts, object_id: str) -> frozenset[str]:
    """Ids of all events about an object whose effects are missing: one finding speaks for them."""
    return frozenset(cause.event_id for cause in causes_of(facts, object_id) if cause.is_open)


def open_cause(facts: Facts, object_id: str, *types: str) -> Cause | None:
    """The newest event about an object whose effects are missing here; of these types, if any."""
    return next(
        (
            cause
            for cause in causes_of(facts, object_id)
            if cause.is_open and (not types or cause.type in types)
        ),
        None,
    )


def replay_of(facts: Facts, *object_ids: str) -> Fix | None:
    """The replay of all events about objects whose effects are missing, the oldest first; None
    where there is none, or a replay would be refused."""
    causes = {c.event_id: c for each in object_ids for c in causes_of(facts, each) if c.fix}
    missed = [*causes.values()]
    missed.reverse()  # of two in one second, the one that was found later is the older
    missed.sort(key=lambda cause: cause.created_at)
    if not missed:
        return None
    return Fix("replay_events", {"event_ids": [cause.event_id for cause in missed]})


def sync_of(customer_id: str, payment_id: str = "") -> Fix | None:
    """The sync of a customer with all that is theirs, or else of a payment that names nobody."""
    kind, named = ("customer", customer_id) if customer_id else ("payment", payment_id)
    return Fix("sync_from_stripe", {"kind": kind, "id": named}) if named else None


def _received(event: InboxEvent) -> Cause:
    return Cause(
        event.stripe_event_id,
        event.type,
        event.status,
        event.stripe_created_at,
        event.reason if event.status in (Status.FAILED, Status.DEAD, Status.SET_ASIDE) else "",
    )
