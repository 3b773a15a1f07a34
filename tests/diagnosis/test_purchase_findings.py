"""What was paid and brought no credits, or was paid by nobody we know."""

from typing import Any

import pytest

from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import CreditPrice, InboxEvent
from billing.operations.sync import SyncFromStripe
from tests.diagnosis.planting import fix, found, kinds
from tests.diagnosis.test_subscription_findings import deliver_all_but, said
from tests.operations.shop import BOB, Shop, balance
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
COMPLETED = "checkout.session.completed"


def known(shop: Shop) -> str:
    """Ada's customer, who subscribed before."""
    customer = str(shop.subscribe()["customer"])
    shop.deliver()
    return customer


def nothing_comes_twice(shop: Shop, credits_: int) -> None:
    """Whatever is delivered or synced again, the balance stays."""
    shop.deliver()
    SyncFromStripe(kind="everything", **BOB).apply()
    assert balance("u_ada") == (credits_, 0)


def test_a_pack_whose_event_never_came_is_replayed(shop: Shop) -> None:
    """W2, C1, P2: support finds the payment at Stripe, and nothing here."""
    customer = known(shop)
    bought = shop.buy(customer=customer)
    deliver_all_but(shop, COMPLETED)
    lost = shop.event_of(COMPLETED)
    finding = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert (finding.subject, finding.severity) == (bought["checkout_session"], Severity.MONEY)
    assert (finding.amount, finding.currency, finding.credits) == (4500, "usd", 50)
    assert "They paid 45.00 USD for 50 credits, which were never granted." in finding.verdict
    assert "checkout.session.completed never arrived." in finding.verdict
    for part in (bought["payment_intent"], "Expected: 50 credits", lost):
        assert part in said(finding)
    assert finding.fix == Fix("replay_events", {"event_ids": [lost]})
    assert "cs_" not in finding.for_customer
    fix(finding)
    assert kinds("u_ada") == []
    nothing_comes_twice(shop, 70)


def test_a_guest_s_pack_is_found_by_the_address_that_names_the_user(shop: Shop) -> None:
    """P2: no customer stands for the session, and it names Ada."""
    known(shop)
    bought = shop.buy()
    finding = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert finding.subject == bought["checkout_session"]
    fix(finding)
    assert balance("u_ada") == (70, 0)
    assert kinds("u_ada") == []


def test_a_pack_whose_event_is_older_than_stripe_keeps_is_granted(shop: Shop) -> None:
    """C1: no event is left to replay."""
    bought = shop.buy(customer=known(shop))
    shop.sandbox.advance(days=31)
    finding = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert finding.fix == Fix("grant_purchase", {"purchase_id": bought["checkout_session"]})
    fix(finding)
    assert Kind.PACK_NOT_GRANTED not in kinds("u_ada")
    assert balance("u_ada") == (70, 0)


def test_a_pack_whose_event_failed_names_the_error(shop: Shop) -> None:
    """W4, P2: it was received, and Stripe did not give its line items."""
    shop.buy(customer=known(shop))
    shop.sandbox.control("faults", path="/v1/checkout/sessions/*", status=400)
    shop.deliver()
    shop.sandbox.control("faults", "DELETE")
    event = InboxEvent.objects.get(stripe_event_id=shop.event_of(COMPLETED))
    assert event.status == "dead"
    finding = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert "was received and failed until it was given up" in finding.verdict
    assert event.stripe_event_id in finding.events
    assert Kind.EVENT_FAILED not in kinds("u_ada")
    fix(finding)
    assert balance("u_ada") == (70, 0)
    assert kinds("u_ada") == []


def test_a_period_whose_invoice_never_came(shop: Shop) -> None:
    """S2: the renewal is paid and running, and brought no credits."""
    bought = shop.subscribe()
    shop.deliver()
    renewed = shop.sandbox.story("renew", subscription=bought["subscription"])
    lost = {"invoice.paid", "invoice.payment_succeeded", "invoice.updated", "invoice.finalized",
            "invoice.created", "invoice_payment.paid"}  # fmt: skip
    deliver_all_but(shop, *lost)
    finding = found("u_ada", Kind.NO_CREDITS_THIS_PERIOD)
    assert (finding.subject, finding.credits) == (renewed["invoice"], 20)
    assert (finding.severity, finding.amount) == (Severity.MONEY, 2900)
    assert "its 20 credits were not granted" in finding.verdict
    assert finding.fix is not None
    assert shop.event_of("invoice.paid") in finding.fix.params["event_ids"]
    assert set(finding.fix.params["event_ids"]) == finding.events
    fix(finding)
    assert Kind.NO_CREDITS_THIS_PERIOD not in kinds("u_ada")
    nothing_comes_twice(shop, 40)


def without_credits(shop: Shop) -> str:
    """A price that nobody has mapped."""
    price = shop.sandbox.post("/v1/prices/" + shop.pack, {"metadata[lead_credits]": ""})
    assert price.is_success
    return shop.pack


def test_a_price_that_is_mapped_to_nothing_and_then_is(shop: Shop) -> None:
    """Paid for, and worth nothing until somebody says how much."""
    customer, price = known(shop), without_credits(shop)
    CreditPrice.objects.filter(price_id=price).delete()
    bought = shop.buy(customer=customer)
    shop.deliver()
    CreditPrice.objects.filter(price_id=price).delete()
    finding = found("u_ada", Kind.PRICE_UNMAPPED)
    assert (finding.subject, finding.fix) == (bought["checkout_session"], None)
    assert price in finding.verdict
    assert "“Prices to credits”" in finding.verdict
    CreditPrice.objects.create(price_id=price, credits=50)
    finding = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert finding.fix == Fix("grant_purchase", {"purchase_id": bought["checkout_session"]})
    fix(finding)
    assert kinds("u_ada") == []
    nothing_comes_twice(shop, 70)


@pytest.mark.parametrize("delivered", [True, False])
def test_a_guest_of_whom_only_the_address_is_known(shop: Shop, delivered: bool) -> None:
    """P2: the address is a hint to a person, never a key."""
    known(shop)
    bought = shop.buy(attributed=False)
    if delivered:
        shop.deliver()
    assert balance("u_ada") == (20, 0)
    finding = found("u_ada", Kind.PAYMENT_UNATTRIBUTED)
    assert (finding.subject, finding.severity) == (bought["checkout_session"], Severity.MONEY)
    assert "a hint and no proof, so make sure first" in finding.verdict
    assert "ada@example.com, a hint" in said(finding)
    assert finding.fix == Fix(
        "attribute_payment", {"purchase_id": bought["checkout_session"], "user_id": "u_ada"}
    )
    fix(finding)
    assert kinds("u_ada") == []
    nothing_comes_twice(shop, 70)


def test_another_s_address_is_nobody_s_hint(shop: Shop) -> None:
    known(shop)
    shop.buy(attributed=False, email="eve@example.com")
    shop.deliver()
    assert kinds("u_ada") == []


def test_a_customer_without_a_user_and_the_one_user_with_the_address(shop: Shop) -> None:
    known(shop)
    other: dict[str, Any] = shop.subscribe(attributed=False, user_id="")
    bought = shop.buy(customer=other["customer"], attributed=False)
    deliver_and_drain(events_of(shop.sandbox))
    assert Kind.PAYMENT_UNATTRIBUTED in kinds(other["customer"], ask_stripe=False)
    finding = found(other["customer"], Kind.SUBSCRIPTION_UNATTRIBUTED)
    assert finding.fix is not None
    assert finding.fix.params["user_id"] == "u_ada"
    fix(finding)
    assert Kind.PAYMENT_UNATTRIBUTED not in kinds(bought["customer"])
    assert balance("u_ada") == (90, 0)
