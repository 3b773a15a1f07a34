"""What Stripe says of a person, asked in a constant number of requests.

One page of each list is read, the newest 100: what is not on a page that goes on may still be
at Stripe, and nothing is concluded from its absence (`whole`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils import timezone

from billing.gateway.client import Gateway, StripeNotFoundError, gateway
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import id_of

MOST_CUSTOMERS = 3  # of one person that Stripe is asked about, the newest
MOST_LOOKS = 3  # requests for events: one an object that differs
BEFORE, AFTER = 60, 600  # seconds around a change in which its event was made

LISTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "subscription": ("/v1/subscriptions", {"status": "all"}),
    "invoice": ("/v1/invoices", {}),
    "charge": ("/v1/charges", {}),
    "checkout.session": ("/v1/checkout/sessions", {"expand": ["data.line_items"]}),
}


@dataclass(slots=True)
class AtStripe:
    """Stripe's objects of a person by kind and id, as plain JSON, and when they were read (UTC).

    `unknown` are customers of which Stripe says that there are none. `whole` are the kinds of
    which every object was read. `events` are Stripe's events about an object, the newest first,
    for the few objects that were looked into.
    """

    asked_at: datetime
    objects: dict[str, dict[str, StripeDict]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    events: dict[str, list[StripeDict]] = field(default_factory=dict)
    api_calls: int = 0

    def of(self, kind: str) -> dict[str, StripeDict]:
        """Objects of a kind (`customer`, `subscription`, `checkout.session`, ...) by their ids."""
        return self.objects.get(kind, {})


def ask(customer_ids: Sequence[str], stripe: Gateway | None = None) -> AtStripe:
    """Everything that Stripe has of these customers, the newest 100 of each kind.

    Raises a GatewayError where Stripe does not answer.
    """
    stripe = stripe or gateway()
    before = stripe.calls
    found = AtStripe(timezone.now(), whole=set(LISTS))
    for customer_id in customer_ids[-MOST_CUSTOMERS:]:
        try:
            customer = stripe.retrieve("customer", customer_id)
        except StripeNotFoundError:
            found.unknown.add(customer_id)
            continue
        found.objects.setdefault("customer", {})[customer_id] = customer.data
        requests = [(path, {**always, "customer": customer_id}) for path, always in LISTS.values()]
        for kind, page in zip(LISTS, stripe.at_once(requests), strict=True):
            found.objects.setdefault(kind, {}).update({str(o["id"]): o for o in page.data})
            if page.has_more:
                found.whole.discard(kind)
    if len(customer_ids) > MOST_CUSTOMERS:
        found.whole.clear()
    found.api_calls = stripe.calls - before
    return found


TYPES: Mapping[str, tuple[str, ...]] = {
    "subscription": (
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
    ),
    "invoice": ("invoice.paid", "invoice.payment_failed", "invoice.updated", "invoice.voided"),
    "checkout.session": (
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
    ),
    "charge": (
        "refund.created",
        "refund.updated",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ),
    "customer": ("customer.deleted", "customer.updated"),
}


def look_for_events(found: AtStripe, wanted: Iterable[tuple[str, str]]) -> None:
    """Adds Stripe's events about some of these objects (kind, id): one request an object.

    Stripe lists events by type and time only, so that they are looked for around the moments
    at which the object says that it changed. They are kept for 30 days (STRIPE.md, Webhooks).
    """
    stripe = gateway()
    before = stripe.calls
    for kind, object_id in list(wanted)[:MOST_LOOKS]:
        data = found.of(kind).get(object_id, {})
        params: dict[str, Any] = {"types": list(TYPES[kind])}
        if times := moments(found, kind, data):
            params["created"] = {"gte": max(times) - BEFORE, "lte": max(times) + AFTER}
        elif created := data.get("created"):
            params["created"] = {"gte": created}
        page = stripe.page("/v1/events", params)
        found.events[object_id] = [
            event
            for event in page.data
            if object_id in (id_of(o := event["data"]["object"]), id_of(o.get("charge")))
        ]
    found.api_calls += stripe.calls - before


def moments(found: AtStripe, kind: str, data: StripeDict) -> list[int]:
    """When the object changed, as far as it says: Unix seconds."""
    transitions = data.get("status_transitions") or {}
    items = (data.get("items") or {}).get("data") or []
    said: list[Any] = []
    match kind:
        case "subscription":
            said = [data.get("canceled_at"), data.get("ended_at")]
            said += [item.get("current_period_start") for item in items]
        case "invoice":
            said = [transitions.get("paid_at"), transitions.get("voided_at")]
        case "checkout.session":
            intent = id_of(data.get("payment_intent"))
            said = [
                charge.get("created")
                for charge in found.of("charge").values()
                if intent and id_of(charge.get("payment_intent")) == intent
            ]
    return [moment for moment in said if isinstance(moment, int)]
