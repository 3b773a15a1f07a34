"""What is critical of what was missed, and what is at stake in it: the queue while webhooks fail.

First who has paid and has nothing for it, then what was renewed, then who may use what, then what
was paid back.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from billing.gateway.observation import StripeDict
from billing.gateway.shapes import (
    dig,
    id_of,
    line_is_proration,
    line_price_id,
    list_data,
    metadata_user_id,
    session_user_id,
    subscription_items,
)
from billing.models import BillingCustomer, CreditPrice, MissedEvent

ACTIVATE, GRANT, PAID, CHANGED, REVERSED, REST = 0, 1, 2, 3, 4, 9
RANKS: Mapping[int, str] = {
    ACTIVATE: "Subscription to activate",
    GRANT: "Pack to grant",
    PAID: "Invoice paid",
    CHANGED: "Subscription changed",
    REVERSED: "Refund or dispute",
    REST: "Everything else",
}
BY_TYPE: Mapping[str, int] = {
    "checkout.session.completed": GRANT,
    "checkout.session.async_payment_succeeded": GRANT,
    "invoice.paid": PAID,
    "customer.subscription.created": CHANGED,
    "customer.subscription.updated": CHANGED,
    "customer.subscription.deleted": CHANGED,
    "customer.subscription.paused": CHANGED,
    "customer.subscription.resumed": CHANGED,
    "charge.refunded": REVERSED,
    "charge.refund.updated": REVERSED,
    "refund.created": REVERSED,
    "refund.updated": REVERSED,
    "refund.failed": REVERSED,
    "charge.dispute.created": REVERSED,
    "charge.dispute.updated": REVERSED,
    "charge.dispute.closed": REVERSED,
    "charge.dispute.funds_withdrawn": REVERSED,
    "charge.dispute.funds_reinstated": REVERSED,
}
"""What can be critical; Stripe's list takes up to twenty types at once."""
CRITICAL = tuple(BY_TYPE)
PAYS = ("paid", "no_payment_required")  # of a session's payment status


def rank_of(event: StripeDict) -> int:
    """An event's place in the queue: one of RANKS."""
    rank = BY_TYPE.get(str(event.get("type")), REST)
    if rank != GRANT:
        return rank
    session = event["data"]["object"]
    if session.get("payment_status") not in PAYS:
        return REST
    return {"subscription": ACTIVATE, "payment": GRANT}.get(str(session.get("mode")), REST)


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake in a missed event: whose it is, and what it is worth.

    `amount` is in minor units of `currency`; None where it is not about money. `credits` are those
    that mapped prices bring; None where the event does not say what was bought.
    """

    what: str
    customer_id: str
    user_id: str
    amount: int | None
    currency: str
    credits: int | None


def stakes(missed: Sequence[MissedEvent]) -> list[Stake]:
    """What is at stake in each of them: two statements, however many they are."""
    objects = [json.loads(each.body)["data"]["object"] if each.body else {} for each in missed]
    worth = _credits({price for data in objects for price, _ in _bought(data)})
    users = _users(each.customer_id for each in missed)
    return [
        Stake(
            RANKS[each.rank],
            each.customer_id,
            _user_of(data) or users.get(each.customer_id, ""),
            _amount(data),
            str(data.get("currency") or ""),
            _sum(data, worth),
        )
        for each, data in zip(missed, objects, strict=True)
    ]


def _credits(prices: Iterable[str]) -> dict[str, int]:
    rows = CreditPrice.objects.filter(price_id__in=list(prices))
    return dict(rows.values_list("price_id", "credits"))


def _users(customers: Iterable[str]) -> dict[str, str]:
    rows = BillingCustomer.objects.filter(
        stripe_customer_id__in={each for each in customers if each}, user_id__isnull=False
    )
    return {customer: str(u) for customer, u in rows.values_list("stripe_customer_id", "user_id")}


def _user_of(data: StripeDict) -> str:
    if data.get("object") == "checkout.session":
        return session_user_id(data)
    return metadata_user_id(data)


def _amount(data: StripeDict) -> int | None:
    match data.get("object"):
        case "checkout.session":
            return data.get("amount_total")
        case "invoice":
            return data.get("amount_paid")
        case "charge":
            return data.get("amount_refunded")
        case "refund" | "dispute":
            return data.get("amount")
        case "subscription":
            return _of_subscription(data)
        case _:
            return None


def _of_subscription(data: StripeDict) -> int | None:
    """What a period of it costs, tiers and discounts left out."""
    items = subscription_items(data)
    each = [
        amount * (item.get("quantity") or 1)
        for item in items
        if isinstance(amount := dig(item, "price", "unit_amount"), int)
    ]
    return sum(each) if each and len(each) == len(items) else None


def _bought(data: StripeDict) -> list[tuple[str, int]]:
    """The prices that were paid for, and how many of each, as far as the event says so."""
    kind = data.get("object")
    lines = data.get("line_items") if kind == "checkout.session" else data.get("lines")
    return [
        (id_of(line_price_id(line)), int(line.get("quantity") or 0))
        for line in list_data(lines)
        if not line_is_proration(line)
    ]


def _sum(data: StripeDict, worth: Mapping[str, int]) -> int | None:
    known = [worth[price] * count for price, count in _bought(data) if price in worth]
    return sum(known) if known else None
