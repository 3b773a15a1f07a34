"""Months that pass on a test clock within one second, as the back office sees them."""

from random import Random

from billing.models import BillingInvoice, BillingSubscription, LeadCredits
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database
from tests.support.events import deliver_and_drain, events_of
from tests.support.waiting import wait_until

START = 1_800_000_000
DAY = 86400


def pays_with(sandbox: SandboxProcess, customer: str, card: str) -> None:
    """A card that from now on pays the customer's invoices."""
    stripe = sandbox.stripe.v1
    attached = stripe.payment_methods.attach(card, {"customer": customer}).id
    stripe.customers.update(customer, {"invoice_settings": {"default_payment_method": attached}})


def test_a_renewal_that_fails_and_is_retried_on_a_test_clock(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    """Its events are hard to order: they are made at the real time, many in one second."""
    shop = Shop(sandbox)
    stripe = sandbox.stripe.v1
    clock = stripe.test_helpers.test_clocks.create({"frozen_time": START}).id
    customer = stripe.customers.create({"test_clock": clock, "metadata": {"user_id": "u_ada"}}).id
    pays_with(sandbox, customer, "pm_card_visa")
    made = stripe.subscriptions.create({"customer": customer, "items": [{"price": shop.plan}]})
    pays_with(sandbox, customer, "pm_card_chargeCustomerFail")
    for days in (50, 100):
        stripe.test_helpers.test_clocks.advance(clock, {"frozen_time": START + days * DAY})
        wait_until(
            lambda: stripe.test_helpers.test_clocks.retrieve(clock).status == "ready", seconds=60
        )

    events = events_of(sandbox)
    Random(5).shuffle(events)
    deliver_and_drain(events)

    theirs = shop.at_stripe(made.id)
    ours = BillingSubscription.objects.get(stripe_subscription_id=made.id)
    assert (ours.status, ours.user_id) == (theirs["status"], "u_ada") == ("canceled", "u_ada")
    assert ours.ended_at is not None
    assert ours.ended_at.timestamp() == theirs["ended_at"]
    invoices = sandbox.get("/v1/invoices", customer=customer).json()["data"]
    assert dict(BillingInvoice.objects.values_list("stripe_invoice_id", "status")) == {
        invoice["id"]: invoice["status"] for invoice in invoices
    }
    assert sorted(invoice["status"] for invoice in invoices) == ["open", "paid"]
    assert LeadCredits.objects.get(user_id="u_ada").balance == 20
