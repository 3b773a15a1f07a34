"""From suspects to findings: each person's are put before the checks, as on their own page.

Stripe is asked once for each object that looked different, so that what is said is true now and
not when a list was read. What is about to arrive is no difference: findings about objects with an
event of the last moments that is not processed here yet are left for the next run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from billing.diagnosis import checks
from billing.diagnosis.at_stripe import AtStripe
from billing.diagnosis.checks.people import TABLES
from billing.diagnosis.examination import findings
from billing.diagnosis.facts import Facts, Person, gather, read_about, read_received, read_uses
from billing.diagnosis.findings import Finding
from billing.diagnosis.kinds import RECONCILED
from billing.gateway.client import PATHS, Gateway, StripeNotFoundError, patiently
from billing.gateway.observation import Observation, StripeDict
from billing.gateway.pace import wait_for_turn
from billing.gateway.shapes import id_of
from billing.ingress.handled import HANDLED
from billing.models import (
    InboxEvent,
    ReconciliationRun,
    ReconciliationSuspect,
)
from billing.reconciliation import groups, worklist
from billing.reconciliation.lists import EVENTS
from billing.reconciliation.reading import trimmed

PEOPLE = 50  # examined together: Stripe is asked once for them what is on its way
GRACE = timedelta(minutes=2)  # for which an event may be on its way
EXPAND = {
    "checkout.session": ("line_items",),
    "refund": ("charge",),
    "dispute": ("charge",),
}
COMPARED = frozenset(
    {"subscription", "invoice", "charge", "checkout.session", "refund", "dispute", "customer"}
)


@dataclass(slots=True)
class Examined:
    """What was found of one person."""

    person: Person
    suspects: list[ReconciliationSuspect]
    found: list[Finding] = field(default_factory=list)
    in_flight: bool = False


def examine_all(
    run: ReconciliationRun,
    stripe: Gateway,
    tell: Callable[[str], None],
    *,
    grace: timedelta = GRACE,
) -> None:
    """Examines everybody whom a run suspects and has not examined yet."""
    groups.stamp(run)
    open_ = run.suspects.filter(examined=False).order_by("person")
    total, done = open_.values("person").distinct().count(), 0
    while names := list(open_.values_list("person", flat=True).distinct()[:PEOPLE]):
        begun = timezone.now()
        by_person: dict[str, list[ReconciliationSuspect]] = {name: [] for name in names}
        for each in run.suspects.filter(examined=False, person__in=names).order_by("id"):
            by_person[each.person].append(each)
        examined = [
            examine(name, suspects, stripe, since=run.since) for name, suspects in by_person.items()
        ]
        leave_out_in_flight(examined, stripe, begun, grace)
        with transaction.atomic():
            for one in examined:
                worklist.keep(one.found, one.person, run)
                _mark(run, one)
        done += len(names)
        tell(f"{done:,} of {total:,} people and objects are examined.")


def _mark(run: ReconciliationRun, one: Examined) -> None:
    ids = [each.pk for each in one.suspects]
    run.suspects.filter(pk__in=ids).update(examined=True, in_flight=one.in_flight)


def examine(
    name: str,
    suspects: list[ReconciliationSuspect],
    stripe: Gateway,
    *,
    since: datetime | None = None,
) -> Examined:
    """What the checks find of a person, with Stripe's word on what looked different.

    `since` is from when on Stripe's lists were read: what is older is asked for by itself.
    """
    one = Examined(groups.person_of(name), suspects)
    asked = AtStripe(timezone.now())
    for kind, object_id in _objects(suspects):
        _ask(kind, object_id, asked, stripe)
    told = _add_lost_events(suspects, asked, stripe, since)
    about = _about(suspects, asked, told)
    facts = gather(one.person, about=about)
    facts.stripe = asked
    read_uses(facts)
    for kind, object_id in _changed_by_hand(facts):
        if object_id not in asked.of(kind) and object_id not in asked.gone:
            _ask(kind, object_id, asked, stripe)
    read_about(facts, about)
    read_received(facts)
    facts.unlisted = list(
        InboxEvent.objects.defer("body").filter(stripe_event_id__in=asked.gone).order_by("id")
    )
    found = findings(facts, checks.OF_BOOKS)
    kept = {(each.kind, each.subject): each for each in found if each.kind in RECONCILED}
    one.found = list(kept.values())
    return one


def _objects(suspects: Iterable[ReconciliationSuspect]) -> list[tuple[str, str]]:
    named = [(each.kind, each.object_id) for each in suspects if each.kind in COMPARED]
    return list(dict.fromkeys(named))


def _about(
    suspects: Iterable[ReconciliationSuspect], asked: AtStripe, told: Iterable[str]
) -> list[str]:
    """Ids of everything that is looked at: objects, what events are about (`told`), charges."""
    ids = [each.object_id for each in suspects if each.object_id and each.kind != EVENTS]
    ids += [*told, *asked.of("charge")]
    return list(dict.fromkeys(ids))


def _ask(kind: str, object_id: str, asked: AtStripe, stripe: Gateway) -> None:
    """Adds an object as it is at Stripe now, or that Stripe does not know it."""
    try:
        data = retrieve(kind, object_id, stripe).data
    except StripeNotFoundError:
        (asked.unknown if kind == "customer" else asked.gone).add(object_id)
        return
    asked.add(kind, data)
    charge = data.get("charge")
    if kind in ("refund", "dispute") and isinstance(charge, dict):
        asked.add("charge", charge)


def retrieve(kind: str, object_id: str, stripe: Gateway) -> Observation:
    """One object, at the pace of bulk work. Raises a GatewayError."""
    wait_for_turn()
    return patiently(lambda: stripe.retrieve(kind, object_id, expand=EXPAND.get(kind, ())))


def _add_lost_events(
    suspects: Iterable[ReconciliationSuspect],
    asked: AtStripe,
    stripe: Gateway,
    since: datetime | None,
) -> list[str]:
    """Adds Stripe's events that are not here, and what those are about that no list has shown.

    Returns the ids of what all events among the suspects are about.
    """
    named = {each.object_id: each.event for each in suspects if each.kind == EVENTS}
    here = set(
        InboxEvent.objects.filter(stripe_event_id__in=named).values_list(
            "stripe_event_id", flat=True
        )
    )
    told: list[str] = []
    for event_id, event in named.items():
        event = event or _event(event_id, asked, stripe)
        if event is None:
            continue
        about = event["data"]["object"]
        objects = [i for i in dict.fromkeys((about["id"], about.get("charge"))) if i]
        told += objects
        if event_id in here:
            continue
        for object_id in objects:
            asked.events.setdefault(object_id, []).append(event)
        kind, made = str(about.get("object")), int(about.get("created") or 0)
        is_older = since is not None and made < since.timestamp()
        if kind in COMPARED and is_older and about["id"] not in asked.of(kind):
            _ask(kind, about["id"], asked, stripe)
    for events in asked.events.values():
        events.sort(key=lambda each: int(each["created"]), reverse=True)
    return told


def _event(event_id: str, asked: AtStripe, stripe: Gateway) -> StripeDict | None:
    try:
        return trimmed(retrieve(EVENTS, event_id, stripe).data)
    except StripeNotFoundError:
        asked.gone.add(event_id)
        return None


def _changed_by_hand(facts: Facts) -> Iterator[tuple[str, str]]:
    """What raw SQL has changed of the person's: whether Stripe has it so can only it say."""
    for event in facts.sql_events:
        table = TABLES.get(event.type.split(".")[1])
        states = (event.payload.get("after"), event.payload.get("before"))
        keys = [state.get(table.key) for state in states if table and isinstance(state, dict)]
        if table and keys and keys[0] and table.kind in PATHS:
            yield table.kind, str(keys[0])


def leave_out_in_flight(
    examined: Sequence[Examined], stripe: Gateway, begun: datetime, grace: timedelta
) -> None:
    """Takes back findings about objects of which an event is on its way, or came meanwhile.

    `begun` is when Stripe was first asked about these people: a row may be newer than its answer.
    """
    if not any(one.found for one in examined):
        return
    moving = in_flight(stripe, begun - grace, begun)
    for one in examined:
        settled = [each for each in one.found if not (named_in(each) & moving)]
        one.in_flight = len(settled) < len(one.found)
        one.found = settled


def in_flight(stripe: Gateway, since: datetime, begun: datetime) -> set[str]:
    """Ids of what Stripe has had events about since then, unless those had come to their end here
    before we began to ask."""
    lists = [("recent", "/v1/events", {"created": {"gte": int(since.timestamp())}})]
    events = [
        event
        for _, page in stripe.lists_at_once(lists)
        for event in page.data
        if event["type"] in HANDLED
    ]
    came = InboxEvent.objects.filter(stripe_event_id__in=[event["id"] for event in events])
    ended = came.exclude(status=InboxEvent.Status.PENDING).exclude(processed_at__gte=begun)
    settled = set(ended.values_list("stripe_event_id", flat=True))
    moving: set[str] = set()
    for event in events:
        if event["id"] not in settled:
            about = event["data"]["object"]
            named = (about.get(n) for n in ("id", "charge", "payment_intent", "invoice"))
            moving |= {event["id"], *filter(None, map(id_of, named))}
    return moving


def named_in(finding: Finding) -> set[str]:
    """Every id that a finding is about."""
    return {finding.subject, *finding.events, *(item.id for item in finding.evidence if item.id)}
