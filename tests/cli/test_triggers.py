"""`stripe trigger`: each makes the events that the life cycles of its objects imply, in order."""

import pytest

from tests.cli.hooked import Hooked
from tests.cli.stripe_cli import StripeCli

pytestmark = pytest.mark.stripe_cli

PRODUCT_AND_PRICE = ["product.created", "price.created"]
PRODUCT_AND_PLAN = ["product.created", "plan.created", "price.created"]
CUSTOMER = ["customer.created"]
CUSTOMER_WITH_CARD = [*CUSTOMER, "payment_method.attached"]
CHARGED = ["charge.succeeded", "payment_intent.succeeded"]
# A card that is charged by itself is booked a little later, and the charge then says so.
PAYMENT = ["payment_intent.created", *CHARGED, "charge.updated"]
FAILED_PAYMENT = ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
BANK_DEBIT = ["payment_intent.created", "charge.pending", "payment_intent.processing"]
FINALIZED = ["payment_intent.created", "invoice.finalized", "invoice.updated"]
PAID = [
    *CHARGED,
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
]
# `customer.updated`: the first subscription decides the customer's currency.
NEW_SUBSCRIPTION = ["customer.updated", "invoice.created", "customer.subscription.created"]
SUBSCRIBED = [
    *CUSTOMER_WITH_CARD,
    *PRODUCT_AND_PLAN,
    *NEW_SUBSCRIPTION,
    *FINALIZED,
    *PAID,
    "customer.subscription.updated",
]
NOTHING_TO_PAY = [
    "invoice.finalized",
    "invoice.updated",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
]
DRAFTED = ["invoiceitem.created", "invoice.created"]

TRIGGERS = {
    "checkout.session.completed": [
        *PRODUCT_AND_PRICE,
        "payment_intent.created",
        *CHARGED,
        "checkout.session.completed",
        "charge.updated",
    ],
    "checkout.session.async_payment_succeeded": [
        *PRODUCT_AND_PRICE,
        *BANK_DEBIT,
        "checkout.session.completed",
        *CHARGED,
        "checkout.session.async_payment_succeeded",
    ],
    "checkout.session.async_payment_failed": [
        *PRODUCT_AND_PRICE,
        *BANK_DEBIT,
        "checkout.session.completed",
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ],
    "checkout.session.expired": [*PRODUCT_AND_PRICE, "checkout.session.expired"],
    "customer.created": CUSTOMER,
    "customer.updated": [*CUSTOMER, "customer.updated"],
    "customer.deleted": [*CUSTOMER, "customer.deleted"],
    "customer.subscription.created": SUBSCRIBED,
    "customer.subscription.updated": [*SUBSCRIBED, "customer.subscription.updated"],
    "customer.subscription.deleted": [*SUBSCRIBED, "customer.subscription.deleted"],
    "customer.subscription.paused": [
        *CUSTOMER,
        *PRODUCT_AND_PLAN,
        *NEW_SUBSCRIPTION,
        *NOTHING_TO_PAY,
        "customer.subscription.updated",
        "customer.subscription.paused",
    ],
    "customer.subscription.trial_will_end": [
        *CUSTOMER,
        *PRODUCT_AND_PLAN,
        *NEW_SUBSCRIPTION,
        "customer.subscription.trial_will_end",
        *NOTHING_TO_PAY,
    ],
    "invoice.created": [*CUSTOMER, *DRAFTED],
    "invoice.finalized": [*CUSTOMER, *DRAFTED, *FINALIZED],
    "invoice.paid": [*CUSTOMER_WITH_CARD, *DRAFTED, *FINALIZED, *PAID],
    "invoice.payment_failed": [
        *CUSTOMER_WITH_CARD,
        *DRAFTED,
        *FINALIZED,
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.updated",
        "invoice.payment_failed",
    ],
    "invoice.voided": [
        *CUSTOMER,
        *DRAFTED,
        *FINALIZED,
        "payment_intent.canceled",
        "invoice.updated",
        "invoice.voided",
    ],
    "invoice.marked_uncollectible": [
        *CUSTOMER,
        *DRAFTED,
        *FINALIZED,
        "invoice.updated",
        "invoice.marked_uncollectible",
    ],
    "invoice.sent": [*CUSTOMER, *DRAFTED, *FINALIZED, "invoice.sent"],
    "payment_intent.succeeded": PAYMENT,
    "payment_intent.payment_failed": FAILED_PAYMENT,
    "charge.succeeded": PAYMENT,
    "charge.failed": FAILED_PAYMENT,
    "charge.refunded": [
        *PAYMENT,
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
    ],
    "charge.dispute.created": [
        "payment_intent.created",
        *CHARGED,
        "charge.dispute.created",
        "charge.updated",
    ],
    "price.created": PRODUCT_AND_PLAN,
    "product.created": ["product.created"],
    "setup_intent.created": ["setup_intent.created"],
}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_trigger_makes_its_events_in_order_and_each_is_delivered_once_and_signed(
    cli: StripeCli, hooked: Hooked, trigger: str
) -> None:
    hooked.news()
    done = cli.run("trigger", trigger)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Trigger succeeded!" in done.stdout
    events = hooked.news()
    assert [event["type"] for event in events] == TRIGGERS[trigger]
    hooked.wait_for_delivery()
    assert [hooked.deliveries(event["id"]) for event in events] == [1] * len(events)


def test_a_trigger_can_name_the_buyer(cli: StripeCli, hooked: Hooked) -> None:
    hooked.news()
    buyer = "checkout_session:client_reference_id=42"
    assert cli.run("trigger", "checkout.session.completed", "--add", buyer).returncode == 0
    (session,) = (
        event["data"]["object"]
        for event in hooked.news()
        if event["type"] == "checkout.session.completed"
    )
    assert (session["client_reference_id"], session["payment_status"]) == ("42", "paid")
