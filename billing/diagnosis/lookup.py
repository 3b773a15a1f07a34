"""What Stripe has under an id that our tables do not know, and the operation that brings it in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing.diagnosis.findings import Fix
from billing.diagnosis.terms import kind_of
from billing.gateway.client import (
    Gateway,
    GatewayError,
    StripeNotFoundError,
    gateway,
    giving_up_on_silence,
)
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import dig, event_customer_id, id_of, session_user_id

SYNCED = frozenset(["customer", "subscription", "invoice"])  # each by its own id
# Where an object names a customer or, where it does not, another object that may.
PARENTS: dict[str, tuple[str, str]] = {
    "charge": ("payment_intent", "payment_intent"),
    "dispute": ("charge", "charge"),
    "refund": ("charge", "charge"),
    "invoice_payment": ("invoice", "invoice"),
    "subscription_item": ("subscription", "subscription"),
    "balance_transaction": ("source", "charge"),
}
MOST_PARENTS = 2  # a refund's charge, and that one's payment intent
AMOUNTS = ("amount_total", "amount_due", "amount", "unit_amount")


@dataclass(slots=True)
class Looked:
    """What Stripe said of an id. `error` says in a sentence why it said nothing; `is_unknown`
    where that is because Stripe has nothing of this id.

    Minor units of `currency`; `created` is UTC. `customer_id` is the customer it belongs to,
    `user_id` the user of ours whom a checkout session names; '' where there is none. `bring_in`
    is the operation that brings it into our tables; without one, `advice` says what to do.
    """

    id: str
    kind: str
    error: str = ""
    is_unknown: bool = False
    customer_id: str = ""
    user_id: str = ""
    amount: int | None = None
    currency: str = ""
    status: str = ""
    created: datetime | None = None
    livemode: bool = False
    bring_in: Fix | None = None
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "error": self.error or None,
            "customer": self.customer_id or None,
            "user_id": self.user_id or None,
            "amount": self.amount,
            "currency": self.currency or None,
            "status": self.status or None,
            "created": self.created.isoformat() if self.created else None,
            "livemode": self.livemode,
            "fix": self.bring_in.as_dict() if self.bring_in else None,
            "advice": self.advice or None,
        }


def look_up(stripe_id: str) -> Looked:
    """Asks Stripe for an object by its id, in at most four requests, outside of any transaction.

    Raises nothing for what Stripe says or does not say: `error` has it in words. Raises
    ValueError for a text that looks like no id of Stripe's (billing.diagnosis.terms.kind_of).
    """
    kind = kind_of(stripe_id)
    if not kind:
        raise ValueError(f"{stripe_id[:60]!r} does not look like an id of Stripe's.")
    looked = Looked(stripe_id, kind)
    try:
        with giving_up_on_silence():
            _read(looked, gateway())
    except StripeNotFoundError:
        looked.is_unknown = True
        looked.error = (
            f"Stripe knows no {_words(kind)} {stripe_id} in this account and mode. Check the id,"
            " and whether it is of live or of test mode."
        )
    except GatewayError as error:
        looked.error = f"{error} Try again in a moment."
    return looked


def _words(kind: str) -> str:
    return kind.replace("_", " ").replace(".", " ")


def _read(looked: Looked, stripe: Gateway) -> None:
    data = stripe.retrieve(looked.kind, looked.id).data
    inner = dig(data, "data", "object") if looked.kind == "event" else data
    about: StripeDict = inner if isinstance(inner, dict) else data
    looked.livemode = data.get("livemode") is True
    looked.status = _status(looked.kind, data)
    looked.created = _time(data.get("created"))
    looked.amount = next((about[n] for n in AMOUNTS if isinstance(about.get(n), int)), None)
    looked.currency = str(about.get("currency") or "")
    looked.user_id = session_user_id(about) if about.get("object") == "checkout.session" else ""
    looked.customer_id = event_customer_id(about) or _customer_of_parents(looked, about, stripe)
    _offer(looked, data, stripe)


def _status(kind: str, data: StripeDict) -> str:
    """Its status in Stripe's word; an event's is its type."""
    if data.get("deleted") is True:
        return "deleted"
    if kind == "event":
        return str(data.get("type") or "")
    if kind in ("price", "product"):
        return "active" if data.get("active") is True else "archived"
    return str(data.get("status") or "")


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None
    except (ValueError, OverflowError, OSError):
        return None


def _customer_of_parents(looked: Looked, about: StripeDict, stripe: Gateway) -> str:
    """The customer by the objects that it hangs on: a refund names its charge alone."""
    kind = str(about.get("object") or looked.kind)
    for _ in range(MOST_PARENTS):
        field, kind = PARENTS.get(kind, ("", ""))
        parent = id_of(about.get(field)) if field else ""
        if not parent or kind_of(parent) != kind:
            return ""
        about = stripe.retrieve(kind, parent).data
        if customer := event_customer_id(about):
            return customer
    return ""


def _offer(looked: Looked, data: StripeDict, stripe: Gateway) -> None:
    """The operation that brings it in, or else what can be done."""
    if looked.kind == "event":
        looked.bring_in = Fix("replay_events", {"event_ids": [looked.id]})
    elif looked.status == "deleted" and looked.kind != "customer":
        looked.advice = "It was deleted at Stripe: there is nothing to bring in."
    elif looked.kind in SYNCED:
        looked.bring_in = Fix("sync_from_stripe", {"kind": looked.kind, "id": looked.id})
    elif looked.customer_id:
        fix = {"kind": "customer", "id": looked.customer_id}
        looked.bring_in = Fix("sync_from_stripe", fix)
    elif session := _session_of(looked, data, stripe):
        looked.bring_in = Fix("grant_purchase", {"purchase_id": session})
    else:
        looked.advice = ADVICE.get(
            looked.kind, "It names no customer: there is nothing to bring in."
        )


ADVICE = {
    "price": "Nobody here has a live subscription at it. Prices come in with what is bought.",
    "product": "Products come in with what is bought: search for a price or a payment.",
}


def _session_of(looked: Looked, data: StripeDict, stripe: Gateway) -> str:
    """A guest's checkout session, by which the purchase is granted; '' where there is none."""
    if looked.kind == "checkout.session":
        return looked.id
    intent = looked.id if looked.kind == "payment_intent" else id_of(data.get("payment_intent"))
    if not intent:
        return ""
    page = stripe.page("/v1/checkout/sessions", {"payment_intent": intent, "limit": 1})
    return id_of(page.data[0].get("id")) if page.data else ""
