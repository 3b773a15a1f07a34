"""Customers and their payment methods."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import ApiError, CardError, invalid
from backoffice.sandbox.lifecycle import cards
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


def create_customer(work: Work, **given: Any) -> Json:
    """A new customer; emits `customer.created`."""
    customer = work.add(shapes.customer(work.new_id("cus_"), work.now, **given))
    work.emit("customer.created", customer)
    return customer


def payment_method(work: Work, id: str, param: str = "payment_method") -> Json:  # noqa: A002
    """The payment method `id`, or a new one for a test token."""
    if cards.is_token(id):
        return cards.from_token(work, id, param)
    return work.find("payment_method", id, param)


def attach(work: Work, method: Json, customer: Json) -> Json:
    """Attaches a payment method; emits `payment_method.attached`."""
    if method["customer"] == customer["id"]:
        return method
    if method["customer"]:
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
        )
    if cards.behavior(method) in cards.REFUSED_ON_ATTACH:
        decline = cards.DECLINES[cards.behavior(method)]
        shown = {"decline_code": decline.decline_code} if decline.decline_code else {}
        refused = CardError(decline.message, decline.code, **shown)
        refused.keeps_changes = False
        raise refused
    billing = method["billing_details"]
    if billing["email"] is None and customer["email"]:
        billing = billing | {"email": customer["email"], "name": customer["name"]}
    work.change(method, customer=customer["id"], billing_details=billing)
    work.emit("payment_method.attached", method)
    return method


def detach(work: Work, method: Json) -> Json:
    """Detaches a payment method for good; emits `payment_method.detached`."""
    owner = method["customer"]
    if owner is None:
        raise ApiError(
            400,
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible.",
            code="payment_method_unexpected_state",
        )
    work.change(method, customer=None)
    work.emit("payment_method.detached", method, {"customer": owner})
    return method


def default_method(work: Work, customer: Json) -> Json | None:
    """The payment method that pays the customer's invoices."""
    return work.get("payment_method", customer["invoice_settings"]["default_payment_method"])


def usable_method(work: Work, id: str, customer: Json | None, param: str) -> Json:  # noqa: A002
    """The payment method `id` for a payment by `customer`, checked to belong to it."""
    method = payment_method(work, id, param)
    if method["customer"] and (customer is None or method["customer"] != customer["id"]):
        raise invalid(
            f"The provided PaymentMethod cannot be used here: {id} belongs to another Customer.",
            param,
            "payment_method_unexpected_state",
        )
    return method


def mark_delinquent(work: Work, customer: Json, *, delinquent: bool) -> None:
    """Notes whether the last automatic payment failed; `customer.updated` if that is new."""
    work.change(customer, "customer.updated", delinquent=delinquent)
