"""Checkout: what happens when a buyer pays, pays later, or does not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.lifecycle import cards, payments, people, setups, subscribing, taxes
from backoffice.sandbox.lifecycle.cards import Decline
from backoffice.sandbox.lifecycle.subscribing import Ordered
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


@dataclass(frozen=True, slots=True)
class Purchase:
    """A session whose form was submitted.

    `plan` holds what the session was told for the payment intent (`payment_intent_data`) or the
    subscription (`subscription_data`); `decline` makes a good card fail.
    """

    session: Json
    customer: Json | None
    method: Json
    plan: Json
    decline: Decline | None


def open_session(
    work: Work,
    mode: str,
    lines: Iterable[tuple[Json, int]] = (),
    *,
    rates: Sequence[Json] = (),
    **given: Any,
) -> Json:
    """An open checkout session for `lines` of (price, quantity); no event, as at Stripe.

    `rates` are the tax rates of what it sells.
    """
    id_ = work.new_id("cs_test_a1")
    session = shapes.checkout_session(id_, work.now, mode=mode, **given)
    session["url"] = f"{work.base_url}/c/pay/{id_}"
    if mode == "subscription":
        session["payment_method_collection"] = given.get("payment_method_collection", "always")
    items = [_item(work, price, quantity, rates) for price, quantity in lines]
    total = sum(item["amount_total"] for item in items)
    if items:
        session |= {
            "amount_subtotal": sum(item["amount_subtotal"] for item in items),
            "amount_total": total,
            "currency": items[0]["currency"],
        }
        tax = sum(item["amount_tax"] for item in items)
        session["total_details"] = session["total_details"] | {"amount_tax": tax}
    if mode == "setup" or total == 0:
        session["payment_status"] = "no_payment_required"
    work.add(session)
    for item in items:
        work.add(item, parent=id_)
    return session


def _item(work: Work, price: Json, quantity: int, rates: Sequence[Json]) -> Json:
    product = work.get("product", price["product"])
    name = product["name"] if product else price["nickname"] or ""
    amount = (price["unit_amount"] or 0) * quantity
    tax = taxes.sums(taxes.on(amount, rates))
    return shapes.checkout_item(work.new_id("li_"), dict(price), quantity, name, tax)


def lines_of(work: Work, session: Json) -> list[Json]:
    """The line items of a session."""
    return work.select("item", parent=session["id"])


def complete(
    work: Work,
    session: Json,
    method: Json,
    *,
    buyer: Json | None = None,
    plan: Json | None = None,
    decline: Decline | None = None,
) -> bool:
    """The buyer submits the form; whether the session is complete now.

    A declined card leaves the session open.
    """
    details = buyer or method["billing_details"]
    pay = {"payment": _pay, "subscription": _subscribe, "setup": _set_up}[session["mode"]]
    customer = work.get("customer", session["customer"])
    email = session["customer_email"] or (customer or {}).get("email") or details.get("email")
    name = details.get("name") or (customer or {}).get("name")
    if customer is None and wants_customer(session):
        customer = people.create_customer(work, email=email, name=name)
        work.change(session, customer=customer["id"])
    if not pay(work, Purchase(session, customer, method, plan or {}, decline)):
        return False
    work.change(
        session,
        customer_details={
            "address": method["billing_details"]["address"],
            "business_name": None,
            "email": email,
            "individual_name": None,
            "name": name,
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        status="complete",
        url=None,
    )
    work.emit("checkout.session.completed", session)
    if intent := work.get("payment_intent", session["payment_intent"]):
        payments.finish_capture(work, intent)
    return True


def wants_customer(session: Json) -> bool:
    """Whether paying makes a customer where the session names none."""
    return bool(session["mode"] == "subscription" or session["customer_creation"] == "always")


def _pay(work: Work, purchase: Purchase) -> bool:
    session, customer = purchase.session, purchase.customer
    method, plan = purchase.method, purchase.plan
    if not session["amount_total"]:
        return True
    intent = payments.create_intent(
        work,
        session["amount_total"],
        session["currency"],
        customer=customer["id"] if customer else None,
        payment_method_types=session["payment_method_types"],
        **plan,
    )
    if plan.get("setup_future_usage") and customer:
        people.attach(work, method, customer)
    worked = payments.confirm(work, intent, method, purchase.decline)
    paid = intent["status"] in ("succeeded", "requires_capture")
    status = "paid" if paid else "unpaid"
    if worked:
        work.change(session, payment_intent=intent["id"], payment_status=status)
    return worked


def _subscribe(work: Work, purchase: Purchase) -> bool:
    session, customer = purchase.session, purchase.customer
    method, plan = purchase.method, purchase.plan
    if customer is None:
        raise LookupError("a subscription needs a customer")
    decline = purchase.decline or cards.decline_of(work, method)
    if decline and session["amount_total"]:
        intent = payments.create_intent(
            work, session["amount_total"], session["currency"], customer=customer["id"]
        )
        return payments.confirm(work, intent, method, decline)
    people.attach(work, method, customer)
    subscription = subscribing.subscribe(
        work,
        customer,
        [Ordered(line["price"], line["quantity"]) for line in lines_of(work, session)],
        method=method,
        default_payment_method=method["id"],
        **plan,
    )
    invoice = work.find("invoice", subscription["latest_invoice"])
    status = "paid" if invoice["status"] == "paid" else "unpaid"
    work.change(
        session,
        invoice=invoice["id"],
        payment_status="no_payment_required" if invoice["amount_due"] == 0 else status,
        subscription=subscription["id"],
    )
    return True


def _set_up(work: Work, purchase: Purchase) -> bool:
    session, customer, method = purchase.session, purchase.customer, purchase.method
    intent = setups.create_intent(work, customer=customer["id"] if customer else None)
    if not setups.confirm(work, intent, method):
        return False
    work.change(session, setup_intent=intent["id"])
    return True


def settle(work: Work, session: Json, *, succeed: bool) -> None:
    """The outcome of a payment that was still on its way when the session was completed."""
    intent = work.find("payment_intent", session["payment_intent"])
    payments.settle(work, intent, succeed=succeed)
    answer(work, session, succeed=succeed)


def answer(work: Work, session: Json, *, succeed: bool) -> None:
    """Tells of the outcome of a payment that was on its way."""
    if succeed:
        work.change(session, payment_status="paid")
        work.emit("checkout.session.async_payment_succeeded", session)
    else:
        work.emit("checkout.session.async_payment_failed", session)


def expire(work: Work, session: Json) -> None:
    """Ends an open session; emits `checkout.session.expired`."""
    work.change(session, expires_at=work.now, status="expired", url=None)
    work.emit("checkout.session.expired", session)
