"""The account's balance and its payouts, in a sandbox in which days pass."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.sandbox.typing_of import resource_problems

DAY = 86400
CHARGED = 10_000
NET = CHARGED - 320
"""What is left of it: the fee is 2.9 % and 30 cents."""


class Bank:
    """What the tests ask of a sandbox about its money."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.client = sandbox.stripe.v1

    def charge(self, amount: int = CHARGED, **fields: Any) -> str:
        """The id of a charge that succeeded."""
        made: Any = {"amount": amount, "currency": "usd", "payment_method": "pm_card_visa"}
        intent = self.client.payment_intents.create(made | {"confirm": True} | fields)
        return str(intent.latest_charge)

    def payouts(self, **filters: Any) -> list[Any]:
        """The payouts, newest first."""
        return [one.to_dict() for one in self.client.payouts.list({"limit": 100, **filters}).data]

    def contents(self, payout: str) -> list[Any]:
        """What an automatic payout contains, newest first."""
        listed = self.client.balance_transactions.list({"limit": 100, "payout": payout})
        return [one.to_dict() for one in listed.data]

    def balance(self) -> tuple[int, int]:
        """(available, pending) in dollars' cents."""
        found = self.sandbox.get("/v1/balance").json()
        assert resource_problems(found) == []
        by_status = []
        for status in ("available", "pending"):
            (own,) = found[status]
            assert own["currency"] == "usd"
            by_status.append(own["amount"])
        return by_status[0], by_status[1]

    def types(self, payout: str) -> list[str]:
        """The types of the events about a payout, oldest first."""
        listed = self.client.events.list({"limit": 100, "type": "payout.*"})
        return [e.type for e in reversed(listed.data) if e.data.object["id"] == payout]


@pytest.fixture
def daily(tmp_path: Path) -> Iterator[Bank]:
    """An account that is paid out every day."""
    with run_sandbox(tmp_path / "stripe.db", extra_args=["--payouts", "daily"]) as running:
        yield Bank(running)


@pytest.fixture
def manual(sandbox: SandboxProcess) -> Bank:
    """An account that pays out by hand, as every one does at first."""
    return Bank(sandbox)


def test_what_has_become_available_is_paid_out_the_same_day(daily: Bank) -> None:
    charge = daily.charge()
    refund = daily.client.refunds.create({"charge": charge, "amount": 1000})
    assert daily.balance() == (0, NET - 1000)
    daily.sandbox.advance(days=3)
    (payout,) = daily.payouts()
    assert (payout["amount"], payout["currency"], payout["automatic"]) == (NET - 1000, "usd", True)
    assert resource_problems(payout) == []
    assert payout["created"] % DAY == 0
    contents = daily.contents(payout["id"])
    assert {one["source"] for one in contents} == {charge, refund.id, payout["id"]}
    assert all(one["status"] == "available" for one in contents)
    assert all(one["available_on"] <= payout["created"] for one in contents)
    assert sum(one["net"] for one in contents) == 0
    own = next(one for one in contents if one["source"] == payout["id"])
    assert own["id"] == payout["balance_transaction"]
    assert (own["type"], own["reporting_category"], own["fee"]) == ("payout", "payout", 0)
    assert own["amount"] == -payout["amount"]
    assert daily.balance() == (0, 0)
    daily.sandbox.advance(days=3)
    assert [one["id"] for one in daily.payouts()] == [payout["id"]]


def test_a_payout_takes_its_time(daily: Bank, receiver: Receiver) -> None:
    daily.client.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["payout.paid"]})
    daily.charge()
    while not (found := daily.payouts()):
        daily.sandbox.advance(hours=5)
    payout = found[0]
    assert (payout["status"], payout["reconciliation_status"]) == ("pending", "in_progress")
    assert payout["arrival_date"] == payout["created"] + 2 * DAY
    daily.sandbox.advance(hours=6)
    (payout,) = daily.payouts(status="in_transit", arrival_date=payout["arrival_date"])
    assert payout["reconciliation_status"] == "completed"
    daily.sandbox.advance(days=2)
    (paid,) = daily.payouts(arrival_date={"lte": payout["arrival_date"]}, status="paid")
    assert daily.types(paid["id"]) == [
        "payout.created",
        "payout.updated",
        "payout.reconciliation_completed",
        "payout.updated",
        "payout.paid",
    ]
    assert receiver.wait_for(1)[0].event["data"]["object"] == paid


def test_a_negative_balance_is_netted_with_what_comes_later(daily: Bank) -> None:
    charge = daily.charge()
    daily.sandbox.advance(days=3)
    assert len(daily.payouts()) == 1
    daily.client.refunds.create({"charge": charge})
    daily.sandbox.advance(days=3)
    assert len(daily.payouts()) == 1
    assert daily.balance() == (-CHARGED, 0)
    daily.charge(3 * CHARGED)
    daily.sandbox.advance(days=3)
    last = daily.payouts()[0]
    assert last["amount"] == 3 * CHARGED - 900 - CHARGED
    assert sorted(one["type"] for one in daily.contents(last["id"])) == [
        "charge",
        "payout",
        "refund",
    ]


def test_a_failed_payout_brings_its_money_back(daily: Bank) -> None:
    daily.charge()
    daily.sandbox.advance(days=3)
    (first,) = daily.payouts()
    told = daily.sandbox.story("fail_payout", payout=first["id"], reason="no_account")
    assert told["status"] == "failed"
    failed = daily.client.payouts.retrieve(first["id"])
    assert (failed.status, failed.failure_code) == ("failed", "no_account")
    back = daily.client.balance_transactions.retrieve(str(failed.failure_balance_transaction))
    assert (back.type, back.reporting_category) == ("payout_failure", "payout_reversal")
    assert (back.amount, back.source) == (first["amount"], first["id"])
    assert daily.types(first["id"])[-1] == "payout.failed"
    assert daily.balance() == (NET, 0)
    daily.sandbox.advance(days=1)
    second = daily.payouts()[0]
    assert second["amount"] == first["amount"]
    assert {one["id"] for one in daily.contents(second["id"])} == {
        back.id,
        second["balance_transaction"],
    }
    with pytest.raises(AssertionError, match="This payout is failed"):
        daily.sandbox.story("fail_payout", payout=first["id"])
    with pytest.raises(AssertionError, match="Invalid reason"):
        daily.sandbox.story("fail_payout", payout=second["id"], reason="bad_mood")


def test_payouts_by_hand_take_what_is_available_and_no_more(manual: Bank) -> None:
    manual.charge()
    with pytest.raises(stripe.InvalidRequestError) as early:
        manual.client.payouts.create({"amount": 100, "currency": "usd"})
    assert early.value.code == "balance_insufficient"
    manual.sandbox.advance(days=3)
    assert manual.payouts() == []
    assert manual.balance() == (NET, 0)
    payout = manual.client.payouts.create({"amount": 4000, "currency": "usd"})
    assert (payout.status, payout.automatic) == ("pending", False)
    assert payout.reconciliation_status == "not_applicable"
    assert manual.balance() == (NET - 4000, 0)
    with pytest.raises(stripe.InvalidRequestError, match="only be filtered on automatic"):
        manual.contents(payout.id)
    canceled = manual.client.payouts.cancel(payout.id)
    assert canceled.status == "canceled"
    assert manual.balance() == (NET, 0)
    with pytest.raises(stripe.InvalidRequestError, match="this one is canceled"):
        manual.client.payouts.cancel(payout.id)
    booked = manual.client.balance_transactions.list({"source": payout.id}).data
    assert [(one.type, one.amount) for one in booked] == [
        ("payout_cancel", 4000),
        ("payout", -4000),
    ]


def test_the_schedule_can_be_changed(manual: Bank) -> None:
    def interval() -> str:
        account = manual.sandbox.get("/v1/account").json()
        return str(account["settings"]["payouts"]["schedule"]["interval"])

    manual.charge()
    manual.sandbox.advance(days=3)
    assert interval() == "manual"
    manual.sandbox.control("settings", payouts="daily")
    assert interval() == "daily"
    manual.sandbox.advance(days=1)
    (payout,) = manual.payouts()
    with pytest.raises(stripe.InvalidRequestError, match="Automatic payouts"):
        manual.client.payouts.cancel(payout["id"])
    manual.sandbox.control("settings", payouts="manual")
    manual.charge()
    manual.sandbox.advance(days=4)
    assert len(manual.payouts()) == 1
    assert manual.balance() == (NET, 0)
