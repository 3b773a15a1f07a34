"""Reading Stripe's lists in slices, and comparing each page with our rows.

A slice is a span of time in which one of Stripe's lists is read as a whole: only then can be said
what is here alone. Slices are read several at a time, and marked as done with what they showed in
one transaction, so that a run that was killed reads only those again that it was at.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from billing.gateway.client import Gateway
from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import dig, id_of
from billing.models import (
    BillingPayment,
    Purchase,
    ReconciliationRun,
    ReconciliationSlice,
    ReconciliationSuspect,
)
from billing.reconciliation.lists import (
    BY_NAME,
    CUSTOMER,
    EVENTS,
    Listed,
    customer_of,
    spans_of,
    user_of,
)

SLICE = 5_000  # objects of ours in a slice: their ids are all that is kept of it in memory
COUNTED = ("stripe", "here", "missing", "only_here", "differs", "pages")

Tell = Callable[[str], None]


def plan(run: ReconciliationRun) -> None:
    """Cuts what a run lists into slices; once, however often it is resumed."""
    if run.slices.exists():
        return
    ReconciliationSlice.objects.bulk_create(
        ReconciliationSlice(run=run, list=listed.name, since=start, until=end)
        for listed, since, until in spans_of(run)
        for start, end in _cut(listed, since, until)
    )


def _cut(
    listed: Listed, since: datetime | None, until: datetime
) -> Iterator[tuple[datetime | None, datetime]]:
    """Spans with about as many of our rows each, on whole seconds, as Stripe's times are."""
    rows = between(listed, since, until).order_by(listed.made).values(listed.made)
    sql, params = rows.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT date_trunc('second', at) FROM"  # noqa: S608  (a query of Django's)
            f" (SELECT {listed.made} AS at, row_number() OVER (ORDER BY {listed.made}) AS place"
            f" FROM ({sql}) ours) placed"
            f" WHERE place > 1 AND place %% {SLICE} = 1 ORDER BY 1",
            params,
        )
        cuts = [at for (at,) in cursor.fetchall() if (since is None or at > since) and at < until]
    yield from pairwise([since, *cuts, until])


def between(listed: Listed, since: datetime | None, until: datetime) -> QuerySet[Any]:
    """Our rows of a span that a list of Stripe's should have."""
    narrowed = {f"{listed.made}__lt": until, **listed.expected}
    if since is not None:
        narrowed[f"{listed.made}__gte"] = since
    return listed.rows().filter(**narrowed)


@dataclass(slots=True)
class Reading:
    """What was read of a slice so far: the ids, the counts, and what looked different."""

    slice: ReconciliationSlice
    listed: Listed
    seen: set[str] = field(default_factory=set)
    suspects: list[ReconciliationSuspect] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    worth: dict[str, Counter[str]] = field(default_factory=dict)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    hours: dict[str, list[int]] = field(default_factory=dict)

    def take(self, page: list[StripeDict]) -> None:
        """Compares a page with our rows."""
        self.counts["pages"] += 1
        objects = {str(data["id"]): data for data in page if self.listed.counts(data)}
        self.seen |= objects.keys()
        rows = self._rows(self.listed, objects)
        for object_id, data in objects.items():
            row = rows.get(object_id)
            self._count(data, row)
            if row is None or self.listed.differs(row, data):
                self.counts["missing" if row is None else "differs"] += 1
                self.suspects.append(suspect(self.slice.run_id, self.listed.kind, data))
        self._take_customers(objects.values())

    def _rows(self, listed: Listed, ids: Iterable[str]) -> dict[str, Any]:
        rows = listed.rows().filter(**{f"{listed.key}__in": list(ids)})
        if listed.name == EVENTS:
            rows = rows.only(listed.key)
        return {str(getattr(row, listed.key)): row for row in rows}

    def _take_customers(self, objects: Iterable[StripeDict]) -> None:
        """The customers whom a page brought along."""
        brought = [data["customer"] for data in objects if isinstance(data.get("customer"), dict)]
        customers = {str(data["id"]): data for data in brought}
        rows = self._rows(CUSTOMER, customers) if customers else {}
        for customer_id, data in customers.items():
            row = rows.get(customer_id)
            if row is None or CUSTOMER.differs(row, data):
                self.suspects.append(
                    suspect(self.slice.run_id, "customer", {**data, "object": "customer"})
                )

    def _count(self, data: StripeDict, row: Any) -> None:
        self.counts["stripe"] += 1
        self.counts["here"] += row is not None
        if self.listed.has_status:
            self._count_status("stripe", str(data.get("status")))
            if row is not None:
                self._count_status("here", row.status)
        currency, amount = self.listed.worth(data)
        if currency:
            ours = getattr(row, self.listed.our_worth, 0) if amount and row is not None else 0
            held = self.worth.setdefault(currency, Counter())
            held["stripe"] += amount
            held["here"] += ours
        if self.listed.name == EVENTS:
            at = from_timestamp(data["created"])
            assert at is not None  # noqa: S101  (narrows the type)
            hour = self.hours.setdefault(at.replace(minute=0, second=0).isoformat(), [0, 0])
            hour[0] += 1
            hour[1] += row is not None

    def _count_status(self, side: str, status: str) -> None:
        self.statuses.setdefault(status, Counter())[side] += 1

    def finish(self) -> None:
        """Adds what is here alone, and marks the slice as read."""
        listed, part = self.listed, self.slice
        for row in self._ours_alone():
            self.counts["here"] += 1
            self.counts["only_here"] += 1
            if listed.has_status:
                self._count_status("here", row.status)
            self.suspects.append(
                ReconciliationSuspect(
                    run_id=part.run_id,
                    kind=listed.kind,
                    object_id=getattr(row, listed.key),
                    stripe_customer_id=getattr(
                        row, "stripe_customer_id", getattr(row, "customer_id", "")
                    ),
                    user_id=getattr(row, "user_id", None) or "",
                )
            )
            if listed.our_worth and row.currency:
                held = self.worth.setdefault(row.currency, Counter())
                held["here"] += getattr(row, listed.our_worth)
        name_owners(self.suspects)
        part.done = True
        part.counts = {
            **self.counts,
            "amounts": {currency: dict(held) for currency, held in self.worth.items()},
            "statuses": {status: dict(held) for status, held in self.statuses.items()},
            "hours": self.hours,
        }
        with transaction.atomic():
            ReconciliationSuspect.objects.bulk_create(self.suspects, batch_size=1_000)
            part.save(update_fields=["done", "counts"])

    def _ours_alone(self) -> Iterator[Any]:
        rows = between(self.listed, self.slice.since, self.slice.until)
        if self.listed.name == EVENTS:
            rows = rows.defer("body")
        ids = list(rows.order_by().values_list(self.listed.key, flat=True))
        alone = [object_id for object_id in ids if object_id not in self.seen]
        for start in range(0, len(alone), 1_000):
            yield from rows.filter(**{f"{self.listed.key}__in": alone[start : start + 1_000]})


def read(run: ReconciliationRun, stripe: Gateway, tell: Tell) -> None:
    """Reads every slice of a run that is not read yet. Raises a GatewayError where a list breaks
    off; what was read before it stays."""
    left = list(run.slices.filter(done=False).order_by("id"))
    total, done = run.slices.count(), run.slices.count() - len(left)
    reading = {part.pk: Reading(part, BY_NAME[part.list]) for part in left}
    requests = ((part.pk, BY_NAME[part.list].path, _params(part)) for part in left)
    objects = 0
    for key, page in stripe.lists_at_once(requests):
        reading[key].take(page.data)
        objects += len(page.data)
        if not page.has_more:
            reading.pop(key).finish()
            done += 1
        tell(f"Objects read: {objects:,}; parts compared: {done:,} of {total:,}.")


def _params(part: ReconciliationSlice) -> Mapping[str, Any]:
    created = {"lt": int(part.until.timestamp())}
    if part.since is not None:
        created["gte"] = int(part.since.timestamp())
    return {**BY_NAME[part.list].params, "created": created}


def suspect(run_id: int, kind: str, data: StripeDict) -> ReconciliationSuspect:
    """One of Stripe's objects that is not here as it is there."""
    about = data["data"]["object"] if kind == EVENTS else data
    return ReconciliationSuspect(
        run_id=run_id,
        kind=kind,
        object_id=str(data["id"]),
        stripe_customer_id=customer_of(about),
        user_id=user_of(about),
        event=trimmed(data) if kind == EVENTS else _payment_of(data),
    )


def _payment_of(data: StripeDict) -> StripeDict | None:
    """By what payment its owner is found, where an object names no customer."""
    named = {name: id_of(data.get(name)) for name in ("charge", "payment_intent")}
    return {name: value for name, value in named.items() if value} or None


def trimmed(event: StripeDict) -> StripeDict:
    """An event of Stripe's with what the checks read of it, and no more."""
    about = event["data"]["object"]
    kept = {name: id_of(about.get(name)) for name in ("id", "charge", "payment_intent", "customer")}
    kept["payment_intent"] = kept["payment_intent"] or id_of(
        dig(about, "payment", "payment_intent")
    )
    return {
        "id": event["id"],
        "type": event["type"],
        "created": event["created"],
        "data": {
            "object": {**kept, "object": about.get("object"), "created": about.get("created")}
        },
    }


def name_owners(suspects: list[ReconciliationSuspect]) -> None:
    """Adds whose they are to suspects that name no customer, by the payment that they name."""
    nobodys = [each for each in suspects if not (each.stripe_customer_id or each.user_id)]
    named = {id(each): _named(each) for each in nobodys}
    charges = {charge for charge, _ in named.values() if charge}
    intents = {intent for _, intent in named.values() if intent}
    if not charges and not intents:
        return
    paid = BillingPayment.objects.filter(stripe_charge_id__in=charges)
    intent_of: dict[str, str] = {}
    customer_of_charge: dict[str, str] = {}
    for charge, intent, customer in paid.values_list(
        "stripe_charge_id", "payment_intent_id", "stripe_customer_id"
    ):
        intent_of[charge], customer_of_charge[charge] = intent, customer
    intents |= {intent for intent in intent_of.values() if intent}
    bought = Purchase.objects.filter(payment_intent_id__in=intents)
    buyers = {
        intent: (customer, user or "")
        for intent, customer, user in bought.values_list(
            "payment_intent_id", "stripe_customer_id", "user_id"
        )
    }
    for each in nobodys:
        charge, intent = named[id(each)]
        customer, user = buyers.get(intent or intent_of.get(charge, ""), ("", ""))
        each.stripe_customer_id = customer_of_charge.get(charge) or customer
        each.user_id = user


def _named(each: ReconciliationSuspect) -> tuple[str, str]:
    """The charge and the payment intent that a suspect names."""
    data = (each.event or {}).get("data", {}).get("object") or each.event or {}
    charge = str(data.get("charge") or "")
    if each.kind == "charge":
        charge = each.object_id
    return charge, str(data.get("payment_intent") or "")


def totals(run: ReconciliationRun) -> tuple[dict[str, Any], list[list[Any]]]:
    """Counts and amounts by kind over all slices, and the events by hour: [hour, Stripe, here]."""
    counts: dict[str, Any] = {}
    hours: dict[str, list[int]] = {}
    for name, part in run.slices.values_list("list", "counts").iterator():
        kind = BY_NAME[name].kind
        held = counts.setdefault(
            kind,
            {**dict.fromkeys(COUNTED, 0), "amounts": {}},
        )
        for what in COUNTED:
            held[what] += part.get(what, 0)
        for what in ("amounts", "statuses"):
            for name_of, sides in part.get(what, {}).items():
                into = held.setdefault(what, {}).setdefault(name_of, {"stripe": 0, "here": 0})
                for side, number in sides.items():
                    into[side] += number
        for hour, (stripe, here) in part.get("hours", {}).items():
            both = hours.setdefault(hour, [0, 0])
            both[0] += stripe
            both[1] += here
    return counts, [[hour, *both] for hour, both in sorted(hours.items())]
