"""Attempts to charge somebody: a row for each charge, whichever way it came in."""

from importlib import import_module

import pytest
from django.db import connection

from billing.models import BillingPayment
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB, Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db

KEPT = [
    field.name for field in BillingPayment._meta.fields if field.name not in ("id", "updated_at")
]


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    return Shop(sandbox)


def rows() -> list[dict[str, object]]:
    return list(BillingPayment.objects.order_by("stripe_charge_id").values(*KEPT))


def test_a_pack_that_was_paid_by_card(shop: Shop) -> None:
    """F4: what was paid, and with which card."""
    bought = shop.buy()
    shop.deliver()
    [payment] = BillingPayment.objects.all()
    assert payment.payment_intent_id == bought["payment_intent"]
    assert (payment.status, payment.amount, payment.currency) == ("succeeded", 4500, "usd")
    assert (payment.brand, payment.last4) == ("visa", "4242")
    assert payment.failure_message == ""


def test_a_renewal_that_the_bank_declined(shop: Shop) -> None:
    """F4: why a payment failed, in the bank's words."""
    subscribed = shop.subscribe()
    shop.sandbox.story("past_due", subscription=subscribed["subscription"])
    shop.deliver()
    failed = BillingPayment.objects.filter(status="failed").first()
    assert failed is not None
    assert failed.failure_code == "card_declined"
    assert failed.failure_message
    assert failed.stripe_customer_id == subscribed["customer"]


def test_what_was_refunded_and_disputed_is_said_of_the_payment(shop: Shop) -> None:
    first, second = shop.buy(), shop.buy()
    shop.sandbox.story("refund", payment_intent=first["payment_intent"], amount=1500)
    shop.sandbox.story("dispute", payment_intent=second["payment_intent"])
    shop.deliver()
    refunded = BillingPayment.objects.get(payment_intent_id=first["payment_intent"])
    disputed = BillingPayment.objects.get(payment_intent_id=second["payment_intent"])
    assert (refunded.amount_refunded, refunded.disputed) == (1500, False)
    assert (disputed.amount_refunded, disputed.disputed) == (0, True)


def test_events_a_sync_and_the_migration_agree(shop: Shop) -> None:
    """The migration fills the table from the mirror, where charges were before it."""
    bought = shop.buy()
    subscribed = shop.subscribe()
    shop.sandbox.story("past_due", subscription=subscribed["subscription"])
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"])
    shop.deliver()
    by_events = rows()
    assert len(by_events) >= 3

    fill = import_module("billing.migrations.0005_payments_and_search").FROM_MIRROR
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_payments")
        cursor.execute(fill)
    assert rows() == by_events

    BillingPayment.objects.all().delete()
    SyncFromStripe(kind="everything", **BOB).apply()
    assert rows() == by_events
