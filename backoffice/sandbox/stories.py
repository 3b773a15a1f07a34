"""Stories: what a buyer, a bank or a month does to the marketplace, as one call."""

from collections.abc import Callable
from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid, missing_parameter
from backoffice.sandbox.lifecycle import (
    cards,
    checkout,
    disputes,
    invoicing,
    payouts,
    people,
    refunds,
    subscribing,
)
from backoffice.sandbox.lifecycle.cards import Decline
from backoffice.sandbox.resources.payments import charge_of
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

Story = Callable[[Work, Json], Json]
STORIES: dict[str, Story] = {}
SUCCESS_URL = "https://marketplace.example/billing/done"


def story(**allowed: Any) -> Callable[[Story], Story]:
    """Registers a story; `allowed` are its parameters with their types."""

    def register(tell: Story) -> Story:
        def checked(work: Work, body: Json) -> Json:
            for name, value in body.items():
                if name not in allowed:
                    raise invalid(f"This story has no {name}. It has: {', '.join(allowed)}.", name)
                if value is not None and not _fits(value, allowed[name]):
                    raise invalid(f"Invalid {name}: {value!r}", name)
            return tell(work, {name: value for name, value in body.items() if value is not None})

        STORIES[tell.__name__] = checked
        return tell

    return register


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, tuple):
        return any(_fits(value, one) for one in wanted)
    if not isinstance(wanted, type):
        return bool(value == wanted and isinstance(value, bool) == isinstance(wanted, bool))
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def named(work: Work, body: Json, kind: str, name: str | None = None) -> Json:
    """The object of `kind` that the story names."""
    name = name or kind
    if name not in body:
        raise missing_parameter(name)
    return work.find(kind, body[name], name)


def price_of(work: Work, body: Json, *, recurring: bool) -> Json:
    """The price that the story names, or the first active one of its kind."""
    if "price" in body:
        return work.find("price", body["price"], "price")
    for price in work.select("price"):
        if price["active"] and bool(price["recurring"]) == recurring:
            return price
    raise missing_parameter("price")


def customer_of(work: Work, body: Json) -> Json | None:
    """The customer that the story names by id."""
    return work.find("customer", body["customer"], "customer") if "customer" in body else None


def method_of(work: Work, body: Json, customer: Json | None = None) -> Json:
    """The payment method that the story names, the customer's own, or a Visa card."""
    own = people.default_method(work, customer) if customer else None
    if own and "payment_method" not in body:
        return own
    return people.usable_method(
        work, body.get("payment_method", "pm_card_visa"), customer, "payment_method"
    )


def who(body: Json) -> Json:
    """How a session names its buyer, if the story says who that is."""
    if not body.get("attributed", True) or "user_id" not in body:
        return {}
    return {"client_reference_id": body["user_id"], "metadata": {"user_id": body["user_id"]}}


@story(
    customer=str,
    email=str,
    user_id=str,
    price=str,
    quantity=int,
    attributed=bool,
    payment_method=str,
    **{"async": (False, "succeed", "fail", "pending")},
)
def buy_pack(work: Work, body: Json) -> Json:
    """A credit pack is bought in Checkout, by card or by a bank debit that takes days."""
    price = price_of(work, body, recurring=False)
    quantity = body.get("quantity", 1)
    if quantity < 1:
        raise invalid("Invalid quantity: must be at least 1", "quantity")
    customer = customer_of(work, body)
    later = body.get("async", False)
    if later:
        details = cards.bank_account("6789")
        method = work.add(
            shapes.payment_method(work.new_id("pm_"), work.now, "us_bank_account", details)
        )
    else:
        method = method_of(work, body, customer)
    session = checkout.open_session(
        work,
        "payment",
        [(price, quantity)],
        customer=customer["id"] if customer else None,
        customer_creation=None if customer else "if_required",
        customer_email=None if customer else body.get("email", "buyer@example.com"),
        payment_method_types=["card", "us_bank_account"] if later else ["card"],
        success_url=SUCCESS_URL,
        **who(body),
    )
    checkout.complete(work, session, method)
    if later in ("succeed", "fail"):
        checkout.settle(work, session, succeed=later == "succeed")
    return _session_ids(work, session)


def _session_ids(work: Work, session: Json) -> Json:
    intent = work.get("payment_intent", session["payment_intent"])
    return {
        "checkout_session": session["id"],
        "customer": session["customer"],
        "payment_intent": session["payment_intent"],
        "charge": intent["latest_charge"] if intent else None,
        "invoice": session["invoice"],
        "subscription": session["subscription"],
    }


@story(checkout_session=str, succeed=bool)
def settle(work: Work, body: Json) -> Json:
    """The bank answers for a pack that was bought by a bank debit."""
    session = named(work, body, "checkout.session", "checkout_session")
    intent = work.get("payment_intent", session["payment_intent"])
    if intent is None or intent["status"] != "processing":
        raise invalid("This session waits for no payment.", "checkout_session")
    checkout.settle(work, session, succeed=body.get("succeed", True))
    return _session_ids(work, session)


@story(checkout_session=str)
def expire_session(work: Work, body: Json) -> Json:
    """Nobody paid in time."""
    session = named(work, body, "checkout.session", "checkout_session")
    if session["status"] != "open":
        raise invalid("This session is not open.", "checkout_session")
    checkout.expire(work, session)
    return _session_ids(work, session)


@story(
    customer=str,
    email=str,
    user_id=str,
    price=str,
    payment_method=str,
    attributed=bool,
    trial_days=int,
)
def subscribe(work: Work, body: Json) -> Json:
    """Somebody subscribes in Checkout."""
    price = price_of(work, body, recurring=True)
    customer = customer_of(work, body)
    method = method_of(work, body, customer)
    session = checkout.open_session(
        work,
        "subscription",
        [(price, 1)],
        customer=customer["id"] if customer else None,
        customer_email=None if customer else body.get("email", "buyer@example.com"),
        success_url=SUCCESS_URL,
        **who(body),
    )
    plan: Json = {}
    if days := body.get("trial_days"):
        plan["trial_end"] = work.now + days * 86400
    checkout.complete(work, session, method, plan=plan)
    return _session_ids(work, session)


def _decline(body: Json, default: Decline | None) -> Decline | None:
    """Why the payment of the story fails: as its `decline_code` says."""
    code = body.get("decline_code")
    if code is not None and code not in cards.BY_CODE:
        raise invalid(
            f"Invalid decline_code: must be one of {', '.join(cards.BY_CODE)}", "decline_code"
        )
    return cards.BY_CODE[code] if code else default


@story(subscription=str, fail=bool, decline_code=str)
def renew(work: Work, body: Json) -> Json:
    """The current period ends; the next one is billed and paid, or not."""
    subscription = _living(work, body)
    decline = _decline(body, cards.INSUFFICIENT if body.get("fail") else None)
    invoice = subscribing.renew(work, subscription, decline=decline)
    return _subscription_ids(subscription, invoice)


def _living(work: Work, body: Json) -> Json:
    subscription = named(work, body, "subscription")
    if subscription["status"] in (*subscribing.TERMINAL, "paused", "incomplete"):
        raise invalid(f"This subscription is {subscription['status']}.", "subscription")
    return subscription


def _subscription_ids(subscription: Json, invoice: Json | None = None) -> Json:
    return {
        "subscription": subscription["id"],
        "customer": subscription["customer"],
        "invoice": invoice["id"] if invoice else subscription["latest_invoice"],
        "status": subscription["status"],
    }


@story(subscription=str, decline_code=str)
def past_due(work: Work, body: Json) -> Json:
    """A renewal whose payment fails."""
    subscription = _living(work, body)
    invoice = subscribing.renew(work, subscription, decline=_decline(body, cards.INSUFFICIENT))
    return _subscription_ids(subscription, invoice)


@story(subscription=str, decline_code=str)
def unpaid(work: Work, body: Json) -> Json:
    """A renewal whose payment fails until Stripe gives up."""
    subscription = _living(work, body)
    invoice = subscribing.renew(work, subscription, decline=_decline(body, cards.INSUFFICIENT))
    if subscription["status"] == "past_due":
        subscribing.give_up(work, subscription)
    return _subscription_ids(subscription, invoice)


@story(subscription=str, at_period_end=bool, cancel_at=int)
def cancel(work: Work, body: Json) -> Json:
    """The customer cancels in the portal: now, at the end of the period, or at a time."""
    subscription = named(work, body, "subscription")
    if subscription["status"] in subscribing.TERMINAL:
        raise invalid(f"This subscription is {subscription['status']}.", "subscription")
    if "cancel_at" in body:
        subscribing.schedule_cancellation(work, subscription, body["cancel_at"])
    elif body.get("at_period_end"):
        subscribing.cancel_at_period_end(work, subscription, wanted=True)
    else:
        subscribing.cancel(work, subscription)
    return _subscription_ids(subscription)


@story(subscription=str, collection=bool)
def pause(work: Work, body: Json) -> Json:
    """A trial ends without a payment method; with `collection`, only its collection is paused."""
    subscription = _living(work, body)
    if body.get("collection"):
        work.change(
            subscription,
            subscribing.UPDATED,
            pause_collection={"behavior": "void", "resumes_at": None},
        )
    else:
        subscribing.pause(work, subscription)
    return _subscription_ids(subscription)


@story(subscription=str)
def expire_incomplete(work: Work, body: Json) -> Json:
    """The first invoice of a subscription was not paid within 23 hours."""
    subscription = named(work, body, "subscription")
    if subscription["status"] != "incomplete":
        raise invalid(f"This subscription is {subscription['status']}.", "subscription")
    subscribing.expire(work, subscription)
    return _subscription_ids(subscription)


@story(charge=str, payment_intent=str, amount=int, reason=str)
def refund(work: Work, body: Json) -> Json:
    """Money goes back, all of it or `amount` in minor units."""
    charge = charge_of(work, body)
    made = refunds.refund(work, charge, body.get("amount"), reason=body.get("reason"))
    return {"refund": made["id"], "charge": charge["id"], "amount": made["amount"]}


@story(refund=str, reason=str)
def fail_refund(work: Work, body: Json) -> Json:
    """The bank sends a refund back."""
    made = named(work, body, "refund")
    if made["status"] not in ("succeeded", "pending"):
        raise invalid(f"This refund is {made['status']}.", "refund")
    refunds.fail(work, made, body.get("reason", "expired_or_canceled_card"))
    return {"refund": made["id"], "charge": made["charge"]}


@story(charge=str, payment_intent=str, inquiry=bool, reason=str)
def dispute(work: Work, body: Json) -> Json:
    """The cardholder's bank disputes a charge, or only asks."""
    charge = charge_of(work, body)
    if charge["disputed"] or charge["status"] != "succeeded":
        raise invalid("This charge cannot be disputed.", "charge")
    made = disputes.open_dispute(
        work,
        charge,
        reason=body.get("reason", "fraudulent"),
        inquiry=body.get("inquiry", False),
    )
    return {"dispute": made["id"], "charge": charge["id"], "status": made["status"]}


@story(dispute=str, won=bool)
def close_dispute(work: Work, body: Json) -> Json:
    """The bank decides."""
    made = named(work, body, "dispute")
    if made["status"] in ("won", "lost", "warning_closed"):
        raise invalid(f"This dispute is {made['status']}.", "dispute")
    disputes.close(work, made, won=body.get("won", False))
    return {"dispute": made["id"], "charge": made["charge"], "status": made["status"]}


@story(invoice=str, fail=bool, decline_code=str)
def pay_invoice(work: Work, body: Json) -> Json:
    """A customer pays an open invoice on its hosted page, or tries to."""
    invoice = named(work, body, "invoice")
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"This invoice is {invoice['status']}.", "invoice")
    decline = _decline(body, cards.GENERIC if body.get("fail") else None)
    invoicing.pay(work, invoice, decline=decline)
    return {"invoice": invoice["id"], "status": invoice["status"]}


@story(payment_method=str, customer=str, decline_code=str)
def decline_card(work: Work, body: Json) -> Json:
    """From now on the bank refuses a stored card, or a customer's; without a code, no more."""
    customer = customer_of(work, body)
    method = people.default_method(work, customer) if customer else None
    if method is None or "payment_method" in body:
        method = named(work, body, "payment_method")
    decline = _decline(body, None)
    cards.let_fail(work, method, body["decline_code"] if decline else None)
    return {"payment_method": method["id"], "customer": method["customer"]}


@story(payout=str, reason=str)
def fail_payout(work: Work, body: Json) -> Json:
    """The bank sends a payout back."""
    made = named(work, body, "payout")
    payouts.fail(work, made, body.get("reason", "account_closed"))
    return {"payout": made["id"], "status": made["status"]}
