"""Stripe's balance and its payouts, as our rows have them."""

from datetime import timedelta
from typing import Any

import pytest
from djstripe.models import Payout as MirroredPayout

from backoffice.drill.books import Stripe
from billing.gateway.client import LONG_AGO, gateway
from billing.models import BalanceReading, BalanceTransaction, Payout
from billing.projection import balance_sync
from billing.projection.balance import transaction_row
from billing.projection.balance_sync import read_up_to, sync
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


def booked(category: str, source: Any, **more: Any) -> dict[str, Any]:
    """The row of a movement of 108 US cents, or as `more` says."""
    return transaction_row(
        {"id": "txn_1", "created": 1, "currency": "usd", "amount": 108, "fee": 8, "net": 100,
         "reporting_category": category, "source": source, **more}
    )  # fmt: skip


def test_a_movement_says_what_the_customer_paid() -> None:
    charge = {
        "id": "ch_1", "object": "charge", "currency": "eur", "amount": 100, "amount_captured": 70,
        "billing_details": {"address": {"country": None}},
        "payment_method_details": {"type": "card", "card": {"country": "de"}},
    }  # fmt: skip
    refund = {"id": "re_1", "object": "refund", "currency": "eur", "amount": 40, "charge": "ch_1"}
    dispute = refund | {"id": "dp_1", "object": "dispute"}
    said = {
        category: (row["charged_currency"], row["charged_amount"], row["charge_id"], row["country"])
        for category, source in {
            "charge": charge, "charge_failure": charge, "partial_capture_reversal": charge,
            "refund": refund, "refund_failure": refund,
            "dispute": dispute, "dispute_reversal": dispute,
        }.items()
        for row in [booked(category, source)]
    }  # fmt: skip
    assert said == {
        "charge": ("eur", 100, "ch_1", "DE"),
        "charge_failure": ("eur", -100, "ch_1", "DE"),
        "partial_capture_reversal": ("eur", -30, "ch_1", "DE"),
        "refund": ("eur", -40, "ch_1", ""),
        "refund_failure": ("eur", 40, "ch_1", ""),
        "dispute": ("eur", -40, "ch_1", ""),
        "dispute_reversal": ("eur", 40, "ch_1", ""),
    }
    billed = charge | {"billing_details": {"address": {"country": "fr"}}, "currency": "usd"}
    same = booked("charge", billed)
    assert (same["charged_amount"], same["country"]) == (108, "FR")
    for source in (None, "ch_1", {"id": "tr_1", "object": "transfer"}):
        other = booked("fee", source)
        assert (other["charged_currency"], other["charged_amount"]) == ("usd", 108)


def test_payouts_come_with_their_events_and_name_what_they_paid_out(
    sandbox: SandboxProcess,
) -> None:
    sandbox.control("settings", payouts="daily")
    shop = Shop(sandbox)
    shop.buy()
    sandbox.advance(days=4)
    shop.buy()
    sandbox.advance(days=1)
    shop.deliver()
    first = Payout.objects.get()
    assert (first.status, first.amount, first.automatic) == ("paid", 4500 - 160, True)
    assert MirroredPayout.objects.get(id=first.stripe_id).amount
    assert (first.reconciliation_status, first.resolved_at) == ("completed", None)

    read = sync(actor="test")
    assert (read.transactions, read.payouts, read.resolved) == (3, 1, 1)
    sandbox.advance(days=4)  # no event of these days arrives
    sandbox.story("fail_payout", payout=first.stripe_id)
    sandbox.advance(days=4)
    sync(actor="test")
    payouts = {payout.stripe_id: payout for payout in Payout.objects.all()}
    assert payouts[first.stripe_id].status == "failed"
    assert payouts[first.stripe_id].failure_code == "account_closed"
    assert len(payouts) == 3
    for payout in payouts.values():
        paid_out = BalanceTransaction.objects.filter(payout_id=payout.stripe_id)
        assert sum(booked.net for booked in paid_out) == payout.amount
        assert payout.resolved_at is not None
    assert BalanceTransaction.objects.filter(payout_id="").count() == len(payouts)
    stripe_s = {one["id"]: one["net"] for one in Stripe(sandbox).all("balance_transactions")}
    assert dict(BalanceTransaction.objects.values_list("stripe_id", "net")) == stripe_s
    again = sync(actor="test")
    assert (again.changed, again.resolved) == (0, 0)


def test_a_reading_goes_on_from_where_the_last_one_was(sandbox: SandboxProcess) -> None:
    """Or from where it is told; the first one finds out where the balance began."""
    shop = Shop(sandbox)
    for _ in range(4):
        shop.buy()
        sandbox.advance(days=31)
    now = gateway().page("/v1/charges").not_before
    BalanceReading.objects.create(
        what=balance_sync.TRANSACTIONS, read_up_to=now - timedelta(days=70)
    )
    assert sync(actor="test").transactions == 2
    assert sync(actor="test").transactions == 0
    assert sync(actor="test", since=now - timedelta(days=100)).transactions == 3
    assert (read_up_to() or LONG_AGO) >= now
    BalanceReading.objects.all().delete()
    whole = sync(actor="test")
    assert (whole.transactions, whole.changed) == (4, 1)
    assert whole.api_calls < 30
