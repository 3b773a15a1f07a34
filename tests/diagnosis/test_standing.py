"""How a person stands: what follows from their rows, in plain figures."""

from datetime import UTC, datetime

import pytest

from billing.diagnosis.facts import Person, gather
from billing.diagnosis.standing import Standing, money_of, standing_of
from billing.models import BillingPayment, acting_as
from tests.admin import rows

pytestmark = pytest.mark.django_db


def standing() -> Standing:
    facts = gather(Person.of_user(rows.USER))
    return standing_of(facts, money_of(facts))


def payment(id_: str, **more: object) -> None:
    with acting_as("test"):
        fields = {"amount": 2900, "currency": "usd", "status": "succeeded", **more}
        BillingPayment.objects.create(
            stripe_charge_id=id_, stripe_customer_id=rows.CUSTOMER, **fields
        )


def test_somebody_without_anything_has_nothing() -> None:
    rows.customer()
    found = standing()
    assert not found.has_access
    assert found.why == "They have no subscription."
    assert (found.plan, found.credits, found.paid, found.owed) == ("", 0, (), ())


def test_an_active_subscription_gives_access() -> None:
    rows.customer()
    rows.subscription("sub_old", status="canceled")
    rows.subscription()
    found = standing()
    assert found.has_access
    assert found.why == "The subscription sub_1 is active."
    assert found.plan == "price_1, 29.00 USD"


def test_a_scheduled_cancellation_says_when() -> None:
    rows.customer()
    end = datetime(2026, 5, 1, tzinfo=UTC)
    rows.subscription(cancel_at_period_end=True, current_period_end=end)
    assert standing().cancellation == "Ends at 2026-05-01 00:00:00 UTC"


def test_dunning_says_how_often_when_next_and_why() -> None:
    """F3: past due, with the decline reason."""
    rows.customer()
    rows.subscription(status="past_due")
    following = datetime(2026, 5, 1, tzinfo=UTC)
    invoice = rows.invoice(
        status="open", attempt_count=2, amount_due=2900, next_payment_attempt=following
    )
    payment(
        "ch_1",
        status="failed",
        payment_intent_id="pi_1",
        decline_reason="insufficient_funds",
        created_at=invoice.created_at,
    )
    found = standing()
    assert not found.has_access
    assert found.dunning == (
        "2 attempts on in_1, next at 2026-05-01 00:00:00 UTC, declined: insufficient funds"
    )


def test_money_is_summed_by_currency_and_refunds_are_deducted() -> None:
    rows.customer()
    payment("ch_1", amount_refunded=900)
    payment("ch_2")
    payment("ch_3", currency="jpy", amount=500)
    payment("ch_4", status="failed")
    rows.invoice("in_open", status="open", amount_remaining=2900)
    rows.invoice("in_paid", amount_remaining=0)
    found = standing()
    assert found.paid == ("500 JPY", "49.00 USD")
    assert found.owed == ("29.00 USD",)
