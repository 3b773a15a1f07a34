"""Objects that are fetched because an event leaves a doubt: all that is in them is stored."""

import pytest
from djstripe.models import LineItem, SubscriptionItem

from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db


def test_the_items_and_lines_of_what_is_fetched_are_stored(sandbox: SandboxProcess) -> None:
    product = sandbox.stripe.v1.products.create({"name": "Monthly"})
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
        }
    )
    told = sandbox.story("subscribe", user_id="ada", email="ada@example.com", price=price.id)
    subscription = sandbox.story("renew", subscription=told["subscription"])["subscription"]
    # Two events of one second differ, and nothing says which is newer.
    updates = [
        event for event in events_of(sandbox) if event["type"] == "customer.subscription.updated"
    ]
    sandbox.control("counters/reset")
    deliver_and_drain([*updates, *events_of(sandbox)])
    asked = sandbox.control("counters", http="GET")["routes"]
    assert any("/v1/subscriptions/" in route for route in asked), asked

    at_stripe = sandbox.get(f"/v1/subscriptions/{subscription}").json()
    [item] = at_stripe["items"]["data"]
    assert SubscriptionItem.objects.get().stripe_data == item
    lines = {
        line["id"]
        for invoice in sandbox.get("/v1/invoices", subscription=subscription).json()["data"]
        for line in invoice["lines"]["data"]
    }
    assert set(LineItem.objects.values_list("id", flat=True)) == lines
