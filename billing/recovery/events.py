"""Which events were missed: Stripe's list, page by page, compared with the inbox by identity."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from billing.gateway.client import Gateway, StripeNotFoundError
from billing.gateway.history import KEPT_EVENTS
from billing.gateway.observation import StripeDict
from billing.ingress import inbox
from billing.ingress.handled import HANDLED
from billing.models import InboxEvent, MissedEvent, Recovery
from billing.operations.selection import DONE
from billing.recovery import queue

PATH = "/v1/events"
LISTED, NOT_NEEDED, HERE, ASIDE = "listed", "not_needed", "here", "set_aside"
COUNTED: Mapping[str, str] = {
    LISTED: "listed by Stripe",
    NOT_NEEDED: "of types that need nothing",
    HERE: "processed here already",
    ASIDE: "set aside: not of our account, mode or form",
}

MissedAs = MissedEvent.MissedAs
Tell = Callable[[str], None]


def span(since: datetime, until: datetime, now: datetime) -> tuple[datetime, datetime] | None:
    """The part of a window of which Stripe still lists events; None where it is all too old."""
    start = max(since, now - KEPT_EVENTS)
    return (start, until) if start <= until else None


@dataclass(slots=True)
class Compared:
    """What a page of Stripe's list comes to: what was missed of it, and how many were not."""

    missed: list[MissedEvent] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def compare(events: Sequence[StripeDict], first: int) -> Compared:
    """A page against the inbox, in one statement. `first` is the place of its first event."""
    found = Compared(counts=Counter({LISTED: len(events)}))
    ids = [str(event["id"]) for event in events]
    standing = dict(
        InboxEvent.objects.filter(stripe_event_id__in=ids).values_list("stripe_event_id", "status")
    )
    for position, event in enumerate(events, start=first):
        status = standing.get(str(event["id"]))
        if event.get("type") not in HANDLED:
            found.counts[NOT_NEEDED] += 1
        elif status in DONE:
            found.counts[HERE] += 1
        elif status == InboxEvent.Status.SET_ASIDE or not (made := _missed(event, status)):
            found.counts[ASIDE] += 1
        else:
            made.position = position
            found.missed.append(made)
    return found


def _missed(event: StripeDict, status: str | None) -> MissedEvent | None:
    """The event as one that was missed; None for one that the inbox would not take to process."""
    try:
        incoming = inbox.from_event(event, orjson.dumps(event).decode())
    except inbox.RejectedError:
        return None
    if inbox.set_aside_reason(incoming):
        return None
    return MissedEvent(
        stripe_event_id=incoming.stripe_event_id,
        type=incoming.type,
        object_id=incoming.object_id,
        customer_id=incoming.customer_id,
        created_at=incoming.created_at,
        body=incoming.body,
        missed_as=_how(event, status),
        rank=queue.rank_of(event),
        status=MissedEvent.Status.WAITING,
        said="",
    )


def _how(event: StripeDict, status: str | None) -> MissedEvent.MissedAs:
    if status is not None:
        return MissedAs.UNPROCESSED
    return MissedAs.UNDELIVERED if event.get("pending_webhooks") else MissedAs.UNSTORED


def request(
    since: datetime, until: datetime, *, critical_only: bool, now: datetime | None = None
) -> Mapping[str, Any] | None:
    """The parameters of the list of a window; None where Stripe lists nothing of it any more."""
    listed = span(since, until, now or timezone.now())
    if listed is None:
        return None
    created = {"gte": int(listed[0].timestamp()), "lte": int(listed[1].timestamp())}
    return {"created": created, **({"types": list(queue.CRITICAL)} if critical_only else {})}


def pages(
    stripe: Gateway, params: Mapping[str, Any] | None, cursor: str = ""
) -> Iterator[list[StripeDict]]:
    """The list's pages, after the event `cursor` if there is one. Raises a GatewayError.

    The next page is on its way meanwhile.
    """
    if params is None:
        return
    after = {"starting_after": cursor} if cursor else {}
    try:
        for _, page in stripe.lists_at_once([(PATH, PATH, {**params, **after})]):
            yield page.data
    except StripeNotFoundError:
        if not cursor:
            raise
        # Stripe lists the cursor no more: nor does it what is older, and that was all that is left.


def find(
    recovery: Recovery, stripe: Gateway, tell: Tell, *, before: timedelta = timedelta()
) -> None:
    """Lists what was missed, from where it was: each page with the cursor in one transaction.

    `before` is for how long before its window, too: the list goes on there, the newest first.
    """
    since = recovery.since - before
    params = request(since, recovery.until, critical_only=recovery.critical_only)
    for page in pages(stripe, params, recovery.cursor):
        _keep(recovery, page)
        tell(f"{recovery.counts[LISTED]:,} events listed.")


def _keep(recovery: Recovery, page: Sequence[StripeDict]) -> None:
    if not page:
        recovery.counts.setdefault(LISTED, 0)
        return
    found = compare(page, recovery.counts.get(LISTED, 0))
    for each in found.missed:
        each.recovery = recovery
    kept = [e for e in found.missed if e.rank < queue.REST or not recovery.critical_only]
    recovery.counts = {**recovery.counts, **_added(recovery.counts, found.counts)}
    recovery.cursor = str(page[-1]["id"])
    with transaction.atomic():
        MissedEvent.objects.bulk_create(kept, ignore_conflicts=True)
        recovery.save(update_fields=["counts", "cursor"])


def _added(counts: Mapping[str, Any], more: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in COUNTED}
