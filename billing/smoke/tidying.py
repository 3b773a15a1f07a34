"""Cleaning up after a smoke test: at Stripe, and in our own books.

What a test has made is found by the mark that it bears, not by anybody's memory: so a test that
was killed at any moment is cleaned up by the next one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import Error, connection

from billing.gateway.client import GatewayError, StripeNotFoundError
from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import dig, id_of
from billing.models import BillingCustomer, BillingSubscription, LeadCredits, PaymentReversal
from billing.operations.sync import listed
from billing.projection.intake import bring_in, fetch
from billing.smoke.flows import CLOCKS, MARK
from billing.smoke.steps import LOOK_EVERY
from billing.smoke.till import Till

ACTOR = "smoke test"
DATABASE_PAUSES = (1, 2, 4)  # seconds: it may just be starting again
ENDED = ("canceled", "incomplete_expired")


@dataclass(slots=True)
class Left:
    """What a test has left at Stripe, each as Stripe shows it."""

    sessions: list[StripeDict] = field(default_factory=list)
    clocks: list[StripeDict] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)
    subscriptions: list[StripeDict] = field(default_factory=list)
    invoices: list[StripeDict] = field(default_factory=list)
    charges: list[StripeDict] = field(default_factory=list)
    prices: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tidying:
    """One cleaning up. What fails is noted in `problems` and keeps nothing else from being done."""

    till: Till
    user: str
    since: datetime  # when the test began
    patience: float  # seconds for which webhooks may take until they brought our rows along
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Ends, pays back, notes it in our books, then deletes and archives."""
        left = Left()
        for find in (self._find_packs, self._find_subscriptions, self._find_products):
            self._try(find, left)
        for act, argument in (*self._endings(left), *self._refunds(left)):
            self._try(act, argument)
        self._try(self._note, left)
        for clock in left.clocks:
            self._try(self.till.delete, f"{CLOCKS}/{clock['id']}")
        self._try(self._note_deleted, left)
        for path in (
            *(f"/v1/prices/{each}" for each in left.prices),
            *(f"/v1/products/{each}" for each in left.products),
        ):
            self._try(self.till.post, path, {"active": False})
        self._try(self._check_balance)

    def _find_packs(self, left: Left) -> None:
        since = {"created": {"gte": int(self.since.timestamp()) - 60}}
        for session in self.till.all("/v1/checkout/sessions", since):
            if session.get("client_reference_id") == self.user:
                left.sessions.append(session)
                if paid_with := id_of(session.get("payment_intent")):
                    left.charges += self.till.all("/v1/charges", {"payment_intent": paid_with})

    def _find_subscriptions(self, left: Left) -> None:
        left.clocks += [each for each in self.till.all(CLOCKS) if each.get("name") == self.user]
        for clock in left.clocks:
            theirs = self.till.all("/v1/customers", {"test_clock": clock["id"]})
            left.customers += [customer["id"] for customer in theirs]
        for customer_id in left.customers:
            of = {"customer": customer_id}
            left.subscriptions += self.till.all("/v1/subscriptions", {**of, "status": "all"})
            left.invoices += self.till.all("/v1/invoices", of)
            left.charges += self.till.all("/v1/charges", of)

    def _find_products(self, left: Left) -> None:
        since = {"active": True, "created": {"gte": int(self.since.timestamp()) - 60}}
        for product in self.till.all("/v1/products", since):
            if dig(product, "metadata", MARK) == self.user:
                left.products.append(product["id"])
                priced = {"product": product["id"], "active": True}
                left.prices += [each["id"] for each in self.till.all("/v1/prices", priced)]

    def _endings(self, left: Left) -> Iterator[tuple[Callable[..., Any], Any]]:
        """What is open is closed, so that nobody is charged once more."""
        for session in left.sessions:
            if session.get("status") == "open":
                yield self.till.post, f"/v1/checkout/sessions/{session['id']}/expire"
        for subscription in left.subscriptions:
            if subscription.get("status") not in ENDED:
                yield self.till.delete, f"/v1/subscriptions/{subscription['id']}"
        for invoice in left.invoices:
            if invoice.get("status") == "open":
                yield self.till.post, f"/v1/invoices/{invoice['id']}/void"

    def _refunds(self, left: Left) -> Iterator[tuple[Callable[..., Any], Any]]:
        for charge in left.charges:
            if charge.get("paid") and not charge.get("refunded"):
                yield self._refund, {"charge": charge["id"], "metadata": {MARK: self.user}}

    def _refund(self, params: StripeDict) -> None:
        self.till.post("/v1/refunds", params)

    def _note(self, left: Left) -> None:
        """Lets Stripe's webhooks bring our rows to where it is now; fetches it where they do not.

        They may still come later: what they tell of is then known.
        """
        if not within(self.patience, lambda: self._is_noted(left)):
            bring_in(list(self._observed(left)), actor=ACTOR)

    def _is_noted(self, left: Left) -> bool:
        """Whether nothing runs here any more, and every charge and refund is known."""
        subscriptions = [each["id"] for each in left.subscriptions]
        ended = BillingSubscription.objects.filter(
            stripe_subscription_id__in=subscriptions, status__in=ENDED
        )
        paid = [each["id"] for each in left.charges if each.get("paid")]
        refunded = PaymentReversal.objects.filter(charge_id__in=paid)
        return (
            ended.count() == len(subscriptions)
            and refunded.values("charge_id").distinct().count() == len(paid)
            and self._balance() == (0, 0)
        )

    def _observed(self, left: Left) -> Iterator[Observation]:
        stripe = self.till.stripe
        for kind, objects in (
            ("checkout.session", left.sessions),
            ("subscription", left.subscriptions),
            ("invoice", left.invoices),
            ("charge", left.charges),
        ):
            for each in objects:
                yield fetch(kind, each["id"], stripe=stripe)
        for customer in left.customers:
            yield fetch("customer", customer, stripe=stripe)
        for invoice in left.invoices:
            yield from listed("invoice_payment", {"invoice": invoice["id"]}, stripe)
        for charge in left.charges:
            yield from listed("refund", {"charge": charge["id"]}, stripe)

    def _note_deleted(self, left: Left) -> None:
        """The customers went with their clock."""
        here = BillingCustomer.objects.filter(stripe_customer_id__in=left.customers, deleted=True)
        if not within(self.patience, lambda: here.count() == len(left.customers)):
            gone = [fetch("customer", each, stripe=self.till.stripe) for each in left.customers]
            bring_in(gone, actor=ACTOR)

    def _balance(self) -> tuple[int, int]:
        """The test's credits, and what it owes."""
        row = LeadCredits.objects.filter(user_id=self.user).first()
        return (row.balance, row.owed) if row else (0, 0)

    def _check_balance(self) -> None:
        balance, owed = self._balance()
        if balance or owed:
            self.problems.append(f"{self.user} has {balance:,} credits and owes {owed:,}.")

    def _try(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Does it; where the database is away for the moment, again a little later."""
        for pause in (*DATABASE_PAUSES, None):
            try:
                act(*arguments)
            except StripeNotFoundError:
                pass  # it is gone: that was the aim
            except GatewayError as error:
                self.problems.append(str(error))
            except Error as error:
                connection.close()
                if pause is not None:
                    time.sleep(pause)
                    continue
                self.problems.append(f"The database failed: {' '.join(str(error).split())}")
            return


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether it comes to be so within so many seconds."""
    until = time.monotonic() + seconds
    while not (is_so := condition()) and time.monotonic() < until:
        time.sleep(LOOK_EVERY)
    return is_so
