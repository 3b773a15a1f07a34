"""The critical payment flows, through Stripe's public API as a customer would go through them.

A pack is paid on Stripe's own payment page, confirmed the way Stripe's official CLI does it
(`stripe trigger checkout.session.completed`). The subscription lives on a test clock, so that
months pass in seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from billing.gateway.observation import StripeDict
from billing.gateway.shapes import id_of, subscription_period
from billing.projection.prices import HINT
from billing.smoke.signs import (
    came,
    invoice_is,
    ledger_is,
    processed,
    refused_so_far,
    subscription_is,
)
from billing.smoke.steps import Sign, StuckError, Tell, wait_for
from billing.smoke.till import Till

MARK = "smoke_test"  # the metadata that our objects bear, with the user's id
CLOCKS = "/v1/test_helpers/test_clocks"
PACK_CREDITS, PACK_AMOUNT = 5, 500  # minor units
PLAN_CREDITS, PLAN_AMOUNT = 7, 900
CURRENCY = "usd"
FAILS = "pm_card_chargeCustomerFail"  # can be kept, and is declined when it is charged
FINALIZED = 2 * 60 * 60  # seconds after a period's end: a renewal stays a draft for one hour
NOWHERE = "https://example.com/"  # where the payment page would lead the customer


@dataclass(slots=True)
class Visit:
    """One customer's way through all flows. `user` is our id for them, `timeout` in seconds."""

    till: Till
    user: str
    timeout: float
    tell: Tell
    refused: int = field(default_factory=refused_so_far)
    product: str = ""
    payment: str = ""  # the payment intent that paid the pack
    clock: str = ""
    customer: str = ""
    subscription: str = ""
    invoices: set[str] = field(default_factory=set)  # those that were seen before
    entries: dict[str, int] = field(default_factory=dict)  # what the ledger must hold by now

    def buy(self) -> str:
        """A pack of credits: paid once, granted once."""
        price = self._price(PACK_AMOUNT, PACK_CREDITS)
        session = self.till.post(
            "/v1/checkout/sessions",
            {
                "mode": "payment",
                "client_reference_id": self.user,
                "line_items": [{"price": price, "quantity": 1}],
                "success_url": NOWHERE,
                "metadata": {MARK: self.user},
            },
        )
        self.payment = id_of(self._pay(session).get("payment_intent"))
        self.entries[f"checkout:{session['id']}"] = PACK_CREDITS
        self._wait(
            *self._event("checkout.session.completed", session["id"]),
            ledger_is(self.user, self.entries),
        )
        return f"{PACK_CREDITS} credits were granted once for {session['id']}."

    def _price(self, amount: int, credits_: int, **more: object) -> str:
        """A price of our own that is worth credits."""
        if not self.product:
            self.product = self.till.post(
                "/v1/products", {"name": f"Smoke test {self.user}", "metadata": {MARK: self.user}}
            )["id"]
        params = {
            "product": self.product,
            "currency": CURRENCY,
            "unit_amount": amount,
            "metadata": {HINT: str(credits_), MARK: self.user},
        }
        return str(self.till.post("/v1/prices", {**params, **more})["id"])

    def _pay(self, session: StripeDict) -> StripeDict:
        """The payment page is read, and submitted with Stripe's test card."""
        path = f"/v1/payment_pages/{session['id']}"
        self.till.get(path)
        card = self.till.post(
            "/v1/payment_methods",
            {
                "type": "card",
                "card": {"token": "tok_visa"},
                "billing_details": {"name": self.user, "email": f"{self.user}@example.com"},
            },
        )
        params = {"payment_method": card["id"], "expected_amount": PACK_AMOUNT}
        self.till.post(f"{path}/confirm", params)
        return self.till.get(f"/v1/checkout/sessions/{session['id']}")

    def subscribe(self) -> str:
        """A monthly subscription: active, and its first period's credits granted once."""
        price = self._price(PLAN_AMOUNT, PLAN_CREDITS, recurring={"interval": "month"})
        self.clock = self.till.post(CLOCKS, {"frozen_time": int(time.time()), "name": self.user})[
            "id"
        ]
        self.customer = self.till.post(
            "/v1/customers",
            {
                "test_clock": self.clock,
                "name": self.user,
                "email": f"{self.user}@example.com",
                "payment_method": "pm_card_visa",
                "invoice_settings": {"default_payment_method": "pm_card_visa"},
                "metadata": {"user_id": self.user, MARK: self.user},
            },
        )["id"]
        made = self.till.post(
            "/v1/subscriptions",
            {
                "customer": self.customer,
                "items": [{"price": price}],
                "metadata": {"user_id": self.user, MARK: self.user},
            },
        )
        self.subscription = made["id"]
        invoice = id_of(made.get("latest_invoice"))
        self.invoices.add(invoice)
        self.entries[f"invoice:{invoice}"] = PLAN_CREDITS
        self._wait(
            *self._event("customer.subscription.created", self.subscription),
            *self._event("invoice.paid", invoice),
            subscription_is("active", self.subscription),
            ledger_is(self.user, self.entries),
        )
        return f"{self.subscription} is active, its {PLAN_CREDITS} credits were granted once."

    def renew(self) -> str:
        """A month passes: paid, still active, the next period's credits granted once."""
        invoice = self._next_period()
        self.entries[f"invoice:{invoice}"] = PLAN_CREDITS
        self._wait(
            *self._event("invoice.paid", invoice),
            invoice_is("paid", invoice),
            subscription_is("active", self.subscription),
            ledger_is(self.user, self.entries),
        )
        return f"{invoice} was paid, its {PLAN_CREDITS} credits were granted once."

    def fail(self) -> str:
        """The next month's payment is declined: past due, and no credits."""
        path = f"/v1/payment_methods/{FAILS}/attach"
        card = self.till.post(path, {"customer": self.customer})["id"]
        chosen = {"invoice_settings": {"default_payment_method": card}}
        self.till.post(f"/v1/customers/{self.customer}", chosen)
        invoice = self._next_period()
        self._wait(
            *self._event("invoice.payment_failed", invoice),
            invoice_is("open", invoice),
            subscription_is("past_due", self.subscription),
            ledger_is(self.user, self.entries),
        )
        return f"{invoice} was declined: the subscription is past due, and nothing was granted."

    def refund(self) -> str:
        """The pack's money is given back: its credits are taken back once."""
        refund = self.till.post(
            "/v1/refunds", {"payment_intent": self.payment, "metadata": {MARK: self.user}}
        )
        self.entries[f"refund:{refund['id']}"] = -PACK_CREDITS
        self._wait(*self._event("refund.created", refund["id"]), ledger_is(self.user, self.entries))
        return f"{PACK_CREDITS} credits were taken back once for {refund['id']}."

    def _next_period(self) -> str:
        """Lets the clock run past the period's end; the invoice that this makes."""
        _, end = subscription_period(self.till.get(f"/v1/subscriptions/{self.subscription}"))
        self.till.post(f"{CLOCKS}/{self.clock}/advance", {"frozen_time": int(end or 0) + FINALIZED})
        self._wait(Sign("Stripe's test clock to advance", self._is_ready, self._clock_is_slow))
        listed = self.till.all("/v1/invoices", {"subscription": self.subscription})
        new = [each["id"] for each in listed if each["id"] not in self.invoices]
        if not new:
            raise StuckError(
                f"A month passed at Stripe, and {self.subscription} got no invoice.",
                f"Look at the test clock {self.user} in Stripe's dashboard.",
            )
        self.invoices.update(new)
        return str(new[0])

    def _is_ready(self) -> bool:
        return bool(self.till.get(f"{CLOCKS}/{self.clock}")["status"] == "ready")

    def _clock_is_slow(self, waited: float) -> StuckError:
        return StuckError(
            f"Stripe's test clock has not advanced a month within {waited:.0f} s.",
            "Stripe is slow at times: try it again with a longer --timeout.",
        )

    def _event(self, type_: str, object_id: str) -> tuple[Sign, Sign]:
        """An event comes as a webhook, and is processed."""
        return came(type_, object_id, refused=self.refused), processed(type_, object_id)

    def _wait(self, *signs: Sign) -> None:
        wait_for(signs, timeout=self.timeout, tell=self.tell)

    @property
    def flows(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        """All of them in their order, by the names of the steps."""
        return (
            ("buy a pack", self.buy),
            ("start a subscription", self.subscribe),
            ("renew it", self.renew),
            ("fail to renew it", self.fail),
            ("refund the pack", self.refund),
        )
