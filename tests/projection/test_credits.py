"""What a purchase, its refund and its dispute do to a user's credits."""

import json
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from billing.ingress import worker
from billing.models import (
    CreditEntry,
    CreditPrice,
    InboxEvent,
    LeadCredits,
    Purchase,
    acting_as,
)
from billing.models.context import set_setting
from billing.projection import ledger, named
from billing.projection.ledger import Entry
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db


def balance(user_id: str) -> tuple[int, int]:
    """Balance and what is owed; no row means 0."""
    row = LeadCredits.objects.filter(user_id=user_id).first()
    return (row.balance, row.owed) if row else (0, 0)


def make_price(
    sandbox: SandboxProcess, amount: int, *, credits_: int | None = None, **params: Any
) -> str:
    """A price of `amount` cents whose metadata says what it is worth, if anything."""
    product = sandbox.stripe.v1.products.create({"name": "Credits"})
    metadata = {} if credits_ is None else {"lead_credits": str(credits_)}
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": amount,
            "metadata": metadata,
            **params,
        }
    )
    return price.id


@pytest.fixture
def pack(sandbox: SandboxProcess) -> str:
    """A price of 50 credits for 45.00 USD."""
    return make_price(sandbox, 4500, credits_=50)


def buy(sandbox: SandboxProcess, price: str, **params: Any) -> Any:
    return sandbox.story(
        "buy_pack", **{"email": "ada@example.com", "user_id": "u_ada", "price": price, **params}
    )


def test_a_paid_pack_is_granted_once_however_often_it_is_told(
    sandbox: SandboxProcess, pack: str
) -> None:
    buy(sandbox, pack, quantity=2)
    assert not deliver_and_drain(events_of(sandbox)).needs_attention
    assert balance("u_ada") == (100, 0)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (100, 0)
    entry = CreditEntry.objects.get()
    assert entry.actor == "stripe"


def test_a_refund_takes_its_share_and_a_failed_one_gives_it_back(
    sandbox: SandboxProcess, pack: str
) -> None:
    bought = buy(sandbox, pack)
    refund = sandbox.story("refund", payment_intent=bought["payment_intent"], amount=1000)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (39, 0)
    sandbox.story("fail_refund", refund=refund["refund"])
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (50, 0)


def test_credits_spent_before_a_refund_are_owed_and_paid_by_the_next_grant(
    sandbox: SandboxProcess, pack: str
) -> None:
    bought = buy(sandbox, pack)
    deliver_and_drain(events_of(sandbox))
    with transaction.atomic(), acting_as("test"):
        ledger.post([Entry("u_ada", -40, CreditEntry.Kind.CLAIM, "claim:1")])
    sandbox.story("refund", payment_intent=bought["payment_intent"])
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (0, 40)
    buy(sandbox, pack)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (10, 0)


def test_refunds_in_parts_add_up_to_the_whole(sandbox: SandboxProcess, pack: str) -> None:
    bought = buy(sandbox, pack)
    for amount in (1499, 1501, 1500):
        sandbox.story("refund", payment_intent=bought["payment_intent"], amount=amount)
        deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (0, 0)


def test_a_lost_dispute_takes_the_credits_a_won_one_gives_them_back(
    sandbox: SandboxProcess, pack: str
) -> None:
    bought = buy(sandbox, pack)
    dispute = sandbox.story("dispute", charge=bought["charge"])
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (0, 0)
    sandbox.story("close_dispute", dispute=dispute["dispute"], won=True)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (50, 0)


def test_an_inquiry_moves_nothing(sandbox: SandboxProcess, pack: str) -> None:
    bought = buy(sandbox, pack)
    sandbox.story("dispute", charge=bought["charge"], inquiry=True)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (50, 0)


@pytest.mark.parametrize(
    ("outcome", "credits_"), [("succeed", 50), ("fail", 0), ("pending", 0)], ids=str
)
def test_a_delayed_payment_grants_when_it_has_come(
    sandbox: SandboxProcess, pack: str, outcome: str, credits_: int
) -> None:
    buy(sandbox, pack, async_=outcome)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (credits_, 0)


def test_a_subscription_grants_each_period_once(sandbox: SandboxProcess) -> None:
    plan = make_price(sandbox, 9900, credits_=120, recurring={"interval": "month"})
    made = sandbox.story("subscribe", email="bo@example.com", user_id="u_bo", price=plan)
    deliver_and_drain(events_of(sandbox))
    assert balance("u_bo") == (120, 0)
    sandbox.story("renew", subscription=made["subscription"])
    deliver_and_drain(events_of(sandbox))
    deliver_and_drain(events_of(sandbox))
    assert balance("u_bo") == (240, 0)


def test_who_nobody_knows_is_listed_and_granted_once_they_are_known(
    sandbox: SandboxProcess, pack: str
) -> None:
    bought = buy(sandbox, pack, user_id=None, attributed=False)
    deliver_and_drain(events_of(sandbox))
    assert Purchase.objects.get().status == Purchase.Status.UNATTRIBUTED
    if bought.get("customer"):
        sandbox.stripe.v1.customers.update(bought["customer"], {"metadata": {"user_id": "u_late"}})
        deliver_and_drain(events_of(sandbox))
        assert Purchase.objects.get().status == Purchase.Status.GRANTED
        assert balance("u_late") == (50, 0)


def test_a_price_that_is_mapped_later_is_granted_by_a_replay(sandbox: SandboxProcess) -> None:
    price = make_price(sandbox, 4500)
    buy(sandbox, price)
    deliver_and_drain(events_of(sandbox))
    assert Purchase.objects.get().status == Purchase.Status.UNPRICED
    with transaction.atomic(), acting_as("test"):
        CreditPrice.objects.create(price_id=price, credits=7)
    event = InboxEvent.objects.get(type="checkout.session.completed").stripe_event_id
    worker.process([event], actor="test")
    assert balance("u_ada") == (7, 0)


def test_a_purchase_granted_by_hand_is_not_granted_again_by_its_webhook(
    sandbox: SandboxProcess, pack: str
) -> None:
    deliver_and_drain(events_of(sandbox))  # the price, and with it what it is worth
    bought = buy(sandbox, pack)
    named_purchase = named.look_up(bought["payment_intent"])
    assert named_purchase.worth == 50
    with transaction.atomic(), acting_as("support"):
        named.grant_by_hand(named_purchase.purchase, "u_ada", 50, "the webhook was lost")
    deliver_and_drain(events_of(sandbox))
    assert balance("u_ada") == (50, 0)
    again = named.look_up(bought["checkout_session"])
    assert again.granted_by
    with (
        pytest.raises(named.AlreadyGrantedError),
        transaction.atomic(),
        acting_as("support"),
    ):
        named.grant_by_hand(again.purchase, "u_ada", 50, "once more")


def test_a_price_whose_own_event_was_missed_is_asked_for(
    sandbox: SandboxProcess, pack: str
) -> None:
    buy(sandbox, pack)
    deliver_and_drain(
        event for event in events_of(sandbox) if event["type"] == "checkout.session.completed"
    )
    assert balance("u_ada") == (50, 0)


def test_the_ledger_refuses_entries_that_do_not_add_up() -> None:
    announced = [{"user_id": "u", "delta": 5, "owed_delta": 0, "balance_after": 5}]
    with transaction.atomic(), acting_as("test"):
        LeadCredits.objects.create(user_id="u")
        set_setting("billing.entries", json.dumps(announced))
        with pytest.raises(IntegrityError, match="do not add up"), transaction.atomic():
            LeadCredits.objects.filter(user_id="u").update(balance=6)
