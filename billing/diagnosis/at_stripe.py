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
from billing.gateway.shapes import id_of, session_user_id

MOST_CUSTOMERS = 3  # of one person that Stripe is asked about, the newest
MOST_EMAILS = 2  # of one person, under which guests are looked for
MOST_PAYMENTS = 2  # of guests, the newest, of which Stripe is asked what was refunded
MOST_LOOKS = 3  # requests for events: one an object that differs

LISTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "subscription": ("/v1/subscriptions", {"status": "all"}),
    "invoice": ("/v1/invoices", {}),
    "charge": ("/v1/charges", {}),
    "checkout.session": ("/v1/checkout/sessions", {"expand": ["data.line_items"]}),
}


@dataclass(slots=True)
class AtStripe:
    """Stripe's objects of a person by kind and id, as plain JSON, and when they were read (UTC).

    `unknown` are customers of which Stripe says that there are none, `gone` other objects that
    it does not know. `whole` are the kinds of which every object was read. `events` are Stripe's
    events about an object, the newest first, for the few objects that were looked into.
    """

    asked_at: datetime
    objects: dict[str, dict[str, StripeDict]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    events: dict[str, list[StripeDict]] = field(default_factory=dict)
    api_calls: int = 0

    def of(self, kind: str) -> dict[str, StripeDict]:
        """Objects of a kind (`customer`, `subscription`, `checkout.session`, ...) by their ids."""
        return self.objects.get(kind, {})

    def add(self, kind: str, data: StripeDict) -> None:
        """Adds an object that was read."""
        self.objects.setdefault(kind, {})[str(data["id"])] = data

    def lacks(self, kind: str, object_id: str, customer_id: str) -> bool:
        """Whether Stripe knows no such object: it said so, or all of its customer's were read."""
        if object_id in self.gone:
            return True
        customer = self.of("customer").get(customer_id)
        is_listed = kind in self.whole and customer is not None and not customer.get("deleted")
        return is_listed and object_id not in self.of(kind)


def ask(
    customer_ids: Sequence[str],
    *,
    emails: Sequence[str] = (),
    user_id: str | None = None,
    guest_payments: Sequence[str] = (),
) -> AtStripe:
    """Everything that Stripe has of these customers, the newest 100 of each kind.

    Who buys as a guest is no customer: of the sessions with one of the `emails`, those that
    name the user are theirs too, and those that name nobody are kept apart (`guest.session`).
    `guest_payments` are payment intents of theirs that have no customer. Raises a
    GatewayError where Stripe does not answer.
    """
    stripe = gateway()
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
    if user_id is not None:
        for session in _as_guest(stripe, emails):
            if (named := session_user_id(session)) in ("", user_id):
                kind = "checkout.session" if named else "guest.session"
                found.objects.setdefault(kind, {})[str(session["id"])] = session
    for charge in _charges_of(stripe, guest_payments):
        found.objects.setdefault("charge", {})[str(charge["id"])] = charge
    if len(customer_ids) > MOST_CUSTOMERS:
        found.whole.clear()
    found.api_calls = stripe.calls - before
    return found


def _as_guest(stripe: Gateway, emails: Sequence[str]) -> list[StripeDict]:
    """Sessions without a customer and with one of the addresses, which alone prove nothing."""
    path, always = LISTS["checkout.session"]
    requests = [
        (path, {**always, "customer_details": {"email": email}}) for email in emails[:MOST_EMAILS]
    ]
    found = [session for page in stripe.at_once(requests) for session in page.data]
    return [session for session in found if not session.get("customer")]


def _charges_of(stripe: Gateway, payment_intents: Sequence[str]) -> list[StripeDict]:
    """The charges of a few payments."""
    path, always = LISTS["charge"]
    requests = [
        (path, {**always, "payment_intent": intent})
        for intent in list(dict.fromkeys(payment_intents))[:MOST_PAYMENTS]
    ]
    return [charge for page in stripe.at_once(requests) for charge in page.data]


TYPES: Mapping[str, tuple[str, ...]] = {
    "subscription": (
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
    ),
    "invoice": (
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice.updated",
        "invoice.marked_uncollectible",
        "invoice.voided",
    ),
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


def look_for_events(
    found: AtStripe, wanted: Iterable[tuple[str, str]], since: Mapping[str, datetime]
) -> None:
    """Adds Stripe's events about some of these objects (kind, id): one request an object.

    Stripe lists events by type and time only: the newest 100 are read, `since` the last one
    about the object that arrived here (UTC), or since it was made. They are kept for 30 days
    (STRIPE.md, Webhooks).
    """
    stripe = gateway()
    before = stripe.calls
    for kind, object_id in list(wanted)[:MOST_LOOKS]:
        made = int(found.of(kind).get(object_id, {}).get("created") or 0)
        last = int(since[object_id].timestamp()) if object_id in since else 0
        params = {"types": list(TYPES[kind]), "created": {"gte": max(made, last)}}
        page = stripe.page("/v1/events", params)
        found.events[object_id] = [
            event
            for event in page.data
            if object_id in (id_of(o := event["data"]["object"]), id_of(o.get("charge")))
        ]
    found.api_calls += stripe.calls - before
