"""Webhooks of an endpoint with an old API version are understood like those of our own."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from billing.gateway import shapes
from billing.models import BillingInvoice, BillingSubscription
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain

pytestmark = pytest.mark.django_db
ACACIA = "2025-02-24.acacia"


@pytest.fixture
def old_endpoint(sandbox: SandboxProcess) -> Iterator[Receiver]:
    """Takes what the sandbox sends to an endpoint of an old version."""
    with Receiver() as receiver:
        sandbox.stripe.v1.webhook_endpoints.create(
            {"url": receiver.url, "enabled_events": ["*"], "api_version": ACACIA}
        )
        yield receiver


def renewed(sandbox: SandboxProcess) -> str:
    """A subscription that was renewed once."""
    price = sandbox.stripe.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Plan"},
        }
    ).id
    made = sandbox.story("subscribe", price=price, email="a@example.com", user_id="u_1")
    sandbox.story("renew", subscription=made["subscription"])
    sandbox.control("deliver")
    return str(made["subscription"])


def test_the_rows_are_those_of_stripe(sandbox: SandboxProcess, old_endpoint: Receiver) -> None:
    id_ = renewed(sandbox)
    assert {got.event["api_version"] for got in old_endpoint.received} == {ACACIA}
    tally = deliver_and_drain(json.loads(got.body) for got in old_endpoint.received)
    assert not tally.needs_attention
    item = sandbox.get(f"/v1/subscriptions/{id_}").json()["items"]["data"][0]
    row = BillingSubscription.objects.get()
    assert row.status == "active"
    assert row.current_period_end == datetime.fromtimestamp(item["current_period_end"], UTC)
    invoices = BillingInvoice.objects.all()
    assert [invoice.status for invoice in invoices] == ["paid", "paid"]
    assert {invoice.stripe_subscription_id for invoice in invoices} == {id_}


def test_the_readers_read_old_shapes_as_they_read_new_ones(
    sandbox: SandboxProcess, old_endpoint: Receiver
) -> None:
    id_ = renewed(sandbox)
    old = {got.event["id"]: got.event["data"]["object"] for got in old_endpoint.received}
    read = set()
    for event_id, before in old.items():
        since = sandbox.get(f"/v1/events/{event_id}").json()["data"]["object"]
        read.add(since["object"])
        if since["object"] == "subscription":
            period = shapes.subscription_period(before)
            assert period == shapes.subscription_period(since) != (None, None)
        elif since["object"] == "invoice":
            assert shapes.invoice_subscription_id(before) == id_
            assert shapes.invoice_subscription_id(since) == id_
            assert shapes.invoice_is_paid(before) == shapes.invoice_is_paid(since)
            assert (before["status"] == "draft") == (not shapes.invoice_payment_intent_ids(before))
            for line, same in zip(before["lines"]["data"], since["lines"]["data"], strict=True):
                assert shapes.line_price_id(line) == shapes.line_price_id(same) != ""
                assert shapes.line_is_proration(line) == shapes.line_is_proration(same)
    assert {"invoice", "subscription"} <= read
