"""What is asked of Stripe, and how often."""

import pytest

from billing.models import Purchase
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db


def test_the_lines_of_several_sessions_take_one_request(sandbox: SandboxProcess) -> None:
    product = sandbox.stripe.v1.products.create({"name": "Credits"}).id
    prices = [
        sandbox.stripe.v1.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": 100 * worth,
                "metadata": {"lead_credits": str(worth)},
            }
        ).id
        for worth in (10, 20, 30)
    ]
    for number, price in enumerate(prices):
        sandbox.story("buy_pack", email=f"{number}@example.com", user_id="u_1", price=price)
    events = events_of(sandbox)
    sandbox.control("counters/reset")

    tally = deliver_and_drain(events)

    assert not tally.needs_attention
    routes = sandbox.control("counters", http="GET")["routes"]
    assert routes == {"GET /v1/account": 1, "GET /v1/checkout/sessions": 1}
    assert sorted(purchase.credits or 0 for purchase in Purchase.objects.all()) == [10, 20, 30]
