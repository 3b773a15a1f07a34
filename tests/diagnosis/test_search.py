"""Search by anything: whatever a customer gave leads to them (runbook: F1, S2, P1, P2)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.diagnosis.search import MOST, MOST_AT_PRICE, Found, look_up, search
from billing.diagnosis.terms import Card, cards, kind_of
from billing.models import BillingPayment, InboxEvent, Purchase
from tests.admin import rows
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 24)


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A shop in which nobody has bought yet."""
    return Shop(sandbox)


def payment(id_: str = "ch_1", **more: Any) -> BillingPayment:
    """Ada's, of 49.00 USD by a card that ends in 4242."""
    fields = {
        "stripe_customer_id": rows.CUSTOMER,
        "payment_intent_id": f"pi_of_{id_}",
        "status": "succeeded",
        "amount": 4900,
        "currency": "usd",
        "last4": "4242",
        "created_at": datetime(2026, 11, 20, 9, tzinfo=UTC),
        **more,
    }
    with rows.writing():
        return BillingPayment.objects.create(stripe_charge_id=id_, **fields)


def emails(found: Found) -> list[str]:
    return sorted(hit.title for hit in found.hits)


def test_everything_of_hers_leads_to_ada(shop: Shop) -> None:
    """What Stripe's own objects are called by, and what she may say herself."""
    subscribed = shop.subscribe()
    bought = shop.buy()
    shop.deliver()
    refund = shop.sandbox.stripe.v1.refunds.create({"charge": bought["charge"], "amount": 450})
    shop.deliver()
    subscription = shop.at_stripe(subscribed["subscription"])
    invoice = shop.sandbox.get(f"/v1/invoices/{subscription['latest_invoice']}").json()
    given = {
        "ada@example.com": "Email",
        "ADA@Example.COM": "Email",
        "ada@ex": "Email",
        "@example.c": "Email",
        "u_ada": "User",
        subscription["customer"]: "Customer",
        subscription["id"]: "Subscription",
        subscription["items"]["data"][0]["price"]["id"]: "Subscription",
        invoice["id"]: "Invoice",
        invoice["number"].lower(): f"Invoice {invoice['number']}",
        bought["checkout_session"]: "Purchase",
        bought["payment_intent"]: "Payment",
        bought["charge"]: "Payment",
        refund.id: "Refund",
        shop.event_of("checkout.session.completed"): "Event",
        shop.event_of("refund.created"): "Event",
        "4242 45.00": "Card ending in 4242: 45.00 USD",
        f"checkout:{bought['checkout_session']}": "Ledger entry",
    }
    for term, words in given.items():
        found = search(term)
        if found.kind == "price":  # is something of its own, too
            assert [thing.words[-17:] for thing in found.things] == ["20 credits a unit"]
        else:
            assert found.things == [], term
        assert [hit.person.user_id for hit in found.hits] == ["u_ada"], term
        assert found.hits[0].matched.startswith(words), (term, found.hits[0].matched)
        assert found.hits[0].customer is not None, term
        assert found.hits[0].status == "active", term
        assert found.hits[0].balance == 65, term
        assert found.hits[0].payment is not None, term
