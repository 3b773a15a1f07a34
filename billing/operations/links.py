"""Links with which people help themselves: to the billing portal, and to checkout."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.conf import settings

from billing.formatting import format_money, format_time, iso_time
from billing.gateway.client import gateway
from billing.gateway.observation import Observation, StripeDict, from_timestamp
from billing.gateway.shapes import dig, metadata_user_id
from billing.models import BillingCustomer, OperationRecord
from billing.operations import inputs
from billing.operations.acting import stripe_key
from billing.operations.base import (
    CannotUndoError,
    InvalidInputError,
    Operation,
    Plan,
    Result,
)
from billing.operations.subscriptions import FINAL
from billing.permissions import CHECKOUT_LINK, PORTAL_LINK
from billing.projection.intake import fetch
from billing.projection.prices import credits_by_price


class CustomerLink(Operation):
    """A link for one customer, who is named by Stripe's id or by our own id of the user."""

    target = "customer"
    again = "Make a new link"

    def __init__(self, *, customer: str, **common: Any) -> None:
        super().__init__(**common)
        named = customer.strip()
        is_ours = not named.startswith("cus_")
        self.named = inputs.user_id(named) if is_ours else inputs.stripe_id(named, "cus_")

    @property
    def subject(self) -> str:
        return self.named

    def parameters(self) -> dict[str, Any]:
        return {"customer": self.named}

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def look(self) -> Observation | None:
        """Their customer as Stripe has it; None for a user without one.

        Raises InvalidInputError where there are several, and GatewayErrors.
        """
        customers = [self.named] if self.named.startswith("cus_") else customers_of(self.named)
        if len(customers) > 1:
            raise InvalidInputError(
                f"User {self.named} has several customers: name one of {', '.join(customers)}."
            )
        return fetch("customer", customers[0]) if customers else None


class CreatePortalLink(CustomerLink):
    """Makes a link to the billing portal, where a customer manages cards and subscriptions.

    Whoever has it acts as the customer: it is shown once, and never stored.
    """

    name = "create_portal_link"
    title = "Portal link"
    permission = PORTAL_LINK
    audit_type = "manual.portal_link"

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A link to the portal cannot be called back: it expires by itself.")

    def plan(self) -> Plan:
        self.customer = customer = self.look()
        if customer is None:
            raise InvalidInputError(
                f"No customer of user {self.named} is known here, and the portal is for customers:"
                " make a checkout link, or find them at Stripe and sync them."
            )
        if customer.deleted:
            return Plan(
                f"A portal link for {customer.id}.",
                blocked=f"{customer.id} was deleted at Stripe: only a checkout link can follow.",
            )
        return Plan(
            f"Make a link to the billing portal for {in_words(customer.data)}.",
            calls=[f"Open a session of the billing portal for {customer.id}."],
            warnings=[
                "Whoever has the link acts as the customer: give it to nobody else.",
                "It expires within minutes if it is not opened, and is shown only once.",
            ],
        )

    def run(self, record: OperationRecord) -> Result:
        assert self.customer  # noqa: S101  (planned just before)
        session = gateway().post(
            "/v1/billing_portal/sessions",
            {"customer": self.customer.id, "return_url": settings.BILLING_PAGE_URL},
            idempotency_key=stripe_key(self, record, "portal"),
        )
        with self.committing(record) as commit:
            commit.result = result = Result(
                f"A link to the billing portal was made for {in_words(self.customer.data)}."
                " It is not kept here: make a new one if it is lost.",
                details={
                    "customer": self.customer.id,
                    "user_id": user_of(self.customer),
                    "portal_session": session["id"],
                },
                once=str(session["url"]),
            )
        return result


class CreateCheckoutLink(CustomerLink):
    """Makes a link to Stripe's checkout, where a customer buys one price: a plan or a pack.

    What is bought there is theirs, whatever they type: the session names their user and
    customer.
    """

    name = "create_checkout_link"
    title = "Checkout link"
    permission = CHECKOUT_LINK
    audit_type = "manual.checkout_link"

    def __init__(self, *, customer: str, price: str, **common: Any) -> None:
        super().__init__(customer=customer, **common)
        self.price_id = inputs.stripe_id(price, "price_", "plan_")

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(
            "It expires by itself within 24 hours; expire the session at Stripe to be faster."
        )

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "price": self.price_id}

    def plan(self) -> Plan:
        self.customer = customer = self.look()
        self.price = price = fetch("price", self.price_id).data
        self.user_id = user_of(customer) if customer else self.named
        who = in_words(customer.data) if customer else f"user {self.named}"
        plan = Plan(f"Make a link to checkout for {who}: {price_in_words(price)}.")
        if customer and customer.deleted:
            plan.blocked = (
                f"{customer.id} was deleted at Stripe: name the user instead, and checkout makes a"
                " new customer."
            )
        elif not price.get("active"):
            plan.blocked = f"{self.price_id} is not on sale any more: choose another price."
        else:
            plan.calls = [f"Open a checkout session for {who}: {price_in_words(price)}."]
            plan.warnings = [*self._warnings()]
        return plan

    def run(self, record: OperationRecord) -> Result:
        session = gateway().post(
            "/v1/checkout/sessions",
            self._params(),
            idempotency_key=stripe_key(self, record, "checkout"),
        )
        expires = from_timestamp(session.get("expires_at"))
        with self.committing(record) as commit:
            commit.result = result = Result(
                f"A link to checkout was made for {self.named}: {price_in_words(self.price)}."
                f"{until(expires)}",
                details={
                    "customer": self.customer.id if self.customer else None,
                    "user_id": self.user_id,
                    "price": self.price_id,
                    "checkout_session": session["id"],
                    "expires_at": iso_time(expires) if expires else None,
                    "link": str(session["url"]),
                },
            )
        return result

    @property
    def mode(self) -> str:
        return "subscription" if self.price.get("recurring") else "payment"

    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = {
            "mode": self.mode,
            "line_items": [{"price": self.price_id, "quantity": 1}],
            "success_url": settings.BILLING_PAGE_URL,
            "cancel_url": settings.BILLING_PAGE_URL,
        }
        if self.customer:
            params["customer"] = self.customer.id
        elif self.mode == "payment":
            params["customer_creation"] = "always"
        if self.user_id:
            metadata = {"user_id": self.user_id}
            made = "subscription_data" if self.mode == "subscription" else "payment_intent_data"
            params["client_reference_id"] = self.user_id
            params |= {"metadata": metadata, made: {"metadata": metadata}}
        return params

    def _warnings(self) -> Iterator[str]:
        """What to know before it is sent to the customer."""
        if not self.user_id:
            yield (
                f"Nobody knows which user {self.named} is: what is bought waits until somebody"
                " says whose it is."
            )
        if not credits_by_price([self.price_id]):
            yield f"{self.price_id} is mapped to no credits: what is bought grants none."
        if self.mode == "subscription" and self.customer:
            for one in living(self.customer.id):
                yield (
                    f"They have {one['id']}, which is {one['status']}: reactivate that rather than"
                    " let them pay for a second one."
                )


def customers_of(user_id: str) -> list[str]:
    """The user's customers that were not deleted, as far as we know them."""
    found = BillingCustomer.objects.filter(user_id=user_id, deleted=False)
    return list(found.order_by("id").values_list("stripe_customer_id", flat=True))


def user_of(customer: Observation) -> str | None:
    """The user that a customer stands for: as we know it, else as Stripe's metadata says."""
    ours = BillingCustomer.objects.filter(stripe_customer_id=customer.id)
    known = ours.values_list("user_id", flat=True).first()
    return known or metadata_user_id(customer.data) or None


def living(customer_id: str) -> list[StripeDict]:
    """The customer's subscriptions at Stripe that have not ended."""
    pages = gateway().pages("/v1/subscriptions", {"customer": customer_id, "status": "all"})
    return [one for page in pages for one in page.data if one.get("status") not in FINAL]


def in_words(customer: StripeDict) -> str:
    """The customer's id, with the address that Stripe knows."""
    email = customer.get("email")
    return f"{customer['id']} ({email})" if email else str(customer["id"])


def price_in_words(price: StripeDict) -> str:
    """What a price asks for: `29.00 USD a month (price_1)`."""
    amount = price.get("unit_amount")
    currency = str(price.get("currency") or "")
    money = format_money(amount, currency) if isinstance(amount, int) else "an amount by usage"
    every, count = dig(price, "recurring", "interval"), dig(price, "recurring", "interval_count")
    span = f" every {count} {every}s" if every and count not in (None, 1) else f" a {every}"
    return f"{money}{span if every else ''} ({price['id']})"


def until(expires: datetime | None) -> str:
    return f" It can be used until {format_time(expires)}." if expires else ""
