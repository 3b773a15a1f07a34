"""Time passes in the sandbox, and what is due happens by itself, in order."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox, start_sandbox
from tests.sandbox.test_lifecycles import FAILED_INVOICE, PAID_INVOICE, Shop
from tests.support.waiting import wait_until

HOUR = 3600
DAY = 24 * HOUR
ACCOUNT = "000111111113"  # Stripe's test account that refuses debits
GOOD_ACCOUNT = "000123456789"


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One sandbox for all tests here; each looks at its own customers only."""
    with run_sandbox(tmp_path_factory.mktemp("moving") / "stripe.db") as running:
        yield running


@pytest.fixture
def calendar(moving: SandboxProcess) -> Iterator["Calendar"]:
    yield Calendar(moving)
    moving.control("settings", after_retries="canceled")


class Calendar(Shop):
    """A shop in which days pass."""

    def told(self, customer: str) -> list[str]:
        """The types of what happened to a customer since the last call, oldest first."""
        return [
            event["type"]
            for event in self.events_since()
            if event["data"]["object"].get("customer", event["data"]["object"]["id"]) == customer
        ]

    def events_since(self) -> list[Any]:
        """The events since the last call, as far as Stripe keeps them (30 days), oldest first."""
        events: list[Any] = []
        for event in self.client.events.list({"limit": 100}).auto_paging_iter():
            if event.id == self.seen:
                break
            events.append(event)
        if events:
            self.seen = events[0].id
        return [event.to_dict() for event in reversed(events)]

    def subscription(self, id: str) -> Any:  # noqa: A002
        return self.get(f"subscriptions/{id}")

    def latest(self, subscription: Any) -> Any:
        """The latest invoice of a subscription, as it is now."""
        return self.get(f"invoices/{self.subscription(subscription.id)['latest_invoice']}")

    def card(self, customer: str, token: str) -> str:
        """A card that from now on pays the customer's invoices."""
        card = self.client.payment_methods.attach(token, {"customer": customer}).id
        self.client.customers.update(
            customer, {"invoice_settings": {"default_payment_method": card}}
        )
        return card

    def bank_customer(self, account: str) -> str:
        """A customer whose invoices are debited from a bank account."""
        customer = self.customer(None)
        method = self.client.payment_methods.create(
            {
                "type": "us_bank_account",
                "us_bank_account": {
                    "account_holder_type": "individual",
                    "account_number": account,
                    "routing_number": "110000000",
                },
            }
        )
        self.client.payment_methods.attach(method.id, {"customer": customer})
        self.client.customers.update(
            customer, {"invoice_settings": {"default_payment_method": method.id}}
        )
        return customer

    def to_the_end_of_the_period(self, subscription: Any, **more: float) -> None:
        """Until the current period has ended, and then some."""
        end = self.subscription(subscription.id)["items"]["data"][0]["current_period_end"]
        now = self.sandbox.control("clock", http="GET")["now"]
        self.sandbox.advance(seconds=end - now)
        if more:
            self.sandbox.advance(**more)


# --- The sandbox's own clock ----------------------------------------------------------------


def test_a_day_passes_when_it_is_told_to(calendar: Calendar) -> None:
    before = calendar.sandbox.control("clock", http="GET")
    assert before["ready"]
    calendar.sandbox.advance(days=1)
    after = calendar.sandbox.control("clock", http="GET")
    assert DAY <= after["now"] - before["now"] < DAY + 60
    made = calendar.client.customers.create({"name": "A"})
    assert 0 <= made.created - after["now"] < 60
    date = calendar.sandbox.get(f"/v1/customers/{made.id}").headers["Date"]
    assert 0 <= parsedate_to_datetime(date).timestamp() - made.created < 60
    for wrong in (-1, "soon", True):
        with pytest.raises(AssertionError, match="Invalid advance_seconds"):
            calendar.sandbox.control("clock", advance_seconds=wrong)


def test_time_that_passed_stays_over_a_restart(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path / "s.db")
    first.advance(days=400)
    now = first.control("clock", http="GET")["now"]
    first.kill()
    with run_sandbox(tmp_path / "s.db") as again:
        assert 0 <= again.control("clock", http="GET")["now"] - now < 120


def test_what_a_kill_interrupts_goes_on_after_a_restart(tmp_path: Path) -> None:
    """As at a start with a file that was not used for years: it catches up, in order."""
    first = start_sandbox(tmp_path / "s.db")
    shop = Calendar(first)
    subscriptions = [shop.subscribe() for _ in range(20)]
    first.control("clock", advance_seconds=3 * 366 * DAY)
    first.kill()
    with run_sandbox(tmp_path / "s.db") as again:
        wait_until(lambda: again.control("clock", http="GET")["ready"], seconds=120)
        for made in subscriptions:
            invoices = again.stripe.v1.invoices.list({"subscription": made.id, "limit": 100}).data
            assert {invoice.status for invoice in invoices} <= {"paid", "draft"}
            starts = [invoice["lines"].data[0].period.start for invoice in invoices]
            assert len(set(starts)) == len(starts) == 37
            assert [invoice.created for invoice in invoices] == starts


def test_what_is_due_now_happens_by_itself(calendar: Calendar) -> None:
    made = calendar.subscribe()
    now = calendar.sandbox.control("clock", http="GET")["now"]
    calendar.client.subscriptions.update(made.id, {"cancel_at": now + 10})
    wait_until(lambda: calendar.subscription(made.id)["status"] == "canceled", seconds=60)
    assert calendar.subscription(made.id)["ended_at"] == now + 10


def altered(data: Path, *statements: str) -> None:
    """Changes the file of a sandbox that is stopped."""
    with closing(sqlite3.connect(data)) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()


def test_a_file_of_an_earlier_version_learns_what_is_due(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path / "s.db")
    made = Calendar(first).subscribe()
    first.stop()
    altered(
        first.data,
        "DROP INDEX object_due",
        "DROP INDEX object_clock",
        "ALTER TABLE objects DROP COLUMN due",
        "ALTER TABLE objects DROP COLUMN clock",
    )
    with run_sandbox(first.data) as again:
        again.advance(days=35)
        invoices = again.stripe.v1.invoices.list({"subscription": made.id}).data
        assert [invoice.status for invoice in invoices] == ["paid", "paid"]


def test_what_fails_does_not_stop_time(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path / "s.db")
    shop = Calendar(first)
    broken, good = shop.subscribe(), shop.subscribe()
    first.stop()
    altered(
        first.data,
        "UPDATE objects SET json = replace(json, customer, 'cus_none')"  # noqa: S608
        f" WHERE id = '{broken.id}'",
    )
    with run_sandbox(first.data) as again:
        again.advance(days=35)
        for made, count in ((broken, 1), (good, 2)):
            invoices = again.stripe.v1.invoices.list({"subscription": made.id}).data
            assert len(invoices) == count


def test_it_answers_while_time_passes(tmp_path: Path) -> None:
    with run_sandbox(tmp_path / "s.db") as running:
        shop = Calendar(running)
        for _ in range(30):
            shop.subscribe()
        running.control("clock", advance_seconds=8 * 365 * DAY)
        seen = []
        while not (clock := running.control("clock", http="GET"))["ready"]:
            assert running.get("/v1/customers", limit=1).status_code == 200
            seen.append(clock["now"])
        assert len(set(seen)) > 3, "it could be asked in the middle"
        assert seen == sorted(seen), "and its time never went back"


def test_webhooks_keep_their_real_time_of_sending(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    sandbox.advance(days=500)
    sandbox.stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    sandbox.stripe.v1.customers.create({"name": "A"})
    got = receiver.wait_for(1, seconds=60)[0]
    signed = int(got.signature.partition(",")[0].removeprefix("t="))
    assert abs(signed - time.time()) < 120
    assert got.event["created"] > time.time() + 499 * DAY


# --- Periods --------------------------------------------------------------------------------


def test_a_renewal_is_a_draft_for_an_hour(calendar: Calendar) -> None:
    made = calendar.subscribe()
    calendar.told("")
    calendar.to_the_end_of_the_period(made)
    assert calendar.told(made.customer) == ["invoice.created", "customer.subscription.updated"]
    draft = calendar.latest(made)
    assert (draft["status"], draft["attempted"]) == ("draft", False)
    assert draft["automatically_finalizes_at"] == draft["created"] + HOUR
    calendar.sandbox.advance(hours=1)
    assert calendar.told(made.customer) == [
        name for name in PAID_INVOICE if name != "invoice_payment.paid"
    ]
    paid = calendar.latest(made)
    assert (paid["status"], paid["amount_paid"], paid["attempt_count"]) == ("paid", 3000, 1)
    assert paid["status_transitions"]["paid_at"] == draft["created"] + HOUR


def test_the_last_of_january_is_followed_by_the_last_of_february(calendar: Calendar) -> None:
    now = calendar.sandbox.control("clock", http="GET")["now"]
    today = datetime.fromtimestamp(now, UTC)
    last = datetime(today.year + 1, 1, 31, 12, tzinfo=UTC)
    calendar.sandbox.advance(seconds=last.timestamp() - now)
    made = calendar.subscribe()
    ends = []
    for _ in range(3):
        end = calendar.subscription(made.id)["items"]["data"][0]["current_period_end"]
        ends.append(datetime.fromtimestamp(end, UTC))
        calendar.to_the_end_of_the_period(made, hours=2)
    leap = today.year % 4 == 3
    assert [(end.month, end.day) for end in ends] == [(2, 29 if leap else 28), (3, 31), (4, 30)]


def test_a_cancellation_at_the_end_of_the_period_comes_and_can_be_undone(
    calendar: Calendar,
) -> None:
    leaves, stays = calendar.subscribe(), calendar.subscribe()
    for made in (leaves, stays):
        calendar.client.subscriptions.update(made.id, {"cancel_at_period_end": True})
    calendar.client.subscriptions.update(stays.id, {"cancel_at_period_end": False})
    calendar.told("")
    calendar.to_the_end_of_the_period(leaves)
    gone = calendar.subscription(leaves.id)
    assert (gone["status"], gone["ended_at"]) == ("canceled", gone["cancel_at"])
    assert calendar.told(leaves.customer) == ["customer.subscription.deleted"]
    calendar.sandbox.advance(hours=2)
    assert calendar.subscription(stays.id)["status"] == "active"
    assert calendar.latest(stays)["billing_reason"] == "subscription_cycle"


def test_a_cancellation_at_a_time_credits_the_rest_of_the_period(calendar: Calendar) -> None:
    early, late, undone = (calendar.subscribe() for _ in range(3))
    at = early.created + 10 * DAY
    calendar.client.subscriptions.update(early.id, {"cancel_at": at})
    calendar.client.subscriptions.update(late.id, {"cancel_at": at + 60 * DAY})
    calendar.client.subscriptions.update(undone.id, {"cancel_at": at})
    calendar.client.subscriptions.update(undone.id, {"cancel_at": ""})
    calendar.told("")
    calendar.sandbox.advance(days=11)
    gone = calendar.subscription(early.id)
    assert (gone["status"], gone["ended_at"]) == ("canceled", at)
    assert calendar.told(early.customer) == ["invoiceitem.created", "customer.subscription.deleted"]
    credit = calendar.get("invoiceitems", customer=early.customer, pending="true")["data"][0]
    assert -2100 < credit["amount"] < -1800
    assert calendar.subscription(undone.id)["status"] == "active"
    calendar.sandbox.advance(days=50)
    assert calendar.subscription(late.id)["status"] == "active"
    calendar.sandbox.advance(days=15)
    assert calendar.subscription(late.id)["status"] == "canceled"
    assert len(calendar.get("invoices", subscription=late.id, status="paid")["data"]) == 3


# --- Trials ---------------------------------------------------------------------------------


def test_a_trial_is_announced_and_ends_in_a_paid_period(calendar: Calendar) -> None:
    made = calendar.subscribe(trial_period_days=10)
    calendar.told("")
    calendar.sandbox.advance(days=6, hours=23)
    assert calendar.told(made.customer) == []
    calendar.sandbox.advance(hours=2)
    assert calendar.told(made.customer) == ["customer.subscription.trial_will_end"]
    calendar.sandbox.advance(days=2, hours=23, minutes=30)
    assert calendar.told(made.customer) == ["invoice.created", "customer.subscription.updated"]
    assert calendar.subscription(made.id)["status"] == "active"
    calendar.sandbox.advance(hours=1)
    assert calendar.latest(made)["amount_paid"] == 3000


@pytest.mark.parametrize(
    ("behavior", "status", "invoice"),
    [("create_invoice", "past_due", "open"), ("pause", "paused", "paid"),
     ("cancel", "canceled", "paid")],
)  # fmt: skip
def test_a_trial_without_a_payment_method_ends_as_it_was_told(
    calendar: Calendar, behavior: Any, status: str, invoice: str
) -> None:
    made = calendar.subscribe(
        None,
        trial_period_days=5,
        trial_settings={"end_behavior": {"missing_payment_method": behavior}},
    )
    calendar.sandbox.advance(days=5, hours=2)
    assert calendar.subscription(made.id)["status"] == status
    assert calendar.latest(made)["status"] == invoice
    calendar.sandbox.advance(days=40)
    later = {"past_due": "canceled"}.get(status, status)
    assert calendar.subscription(made.id)["status"] == later, "and nothing else happens to it"


# --- Payments that fail ---------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["canceled", "unpaid", "past_due"])
def test_retries_end_as_the_account_is_set(calendar: Calendar, outcome: str) -> None:
    calendar.sandbox.control("settings", after_retries=outcome)
    made = calendar.subscribe()
    calendar.card(made.customer, "pm_card_chargeCustomerFail")
    calendar.told("")
    calendar.to_the_end_of_the_period(made, hours=1)
    assert calendar.told(made.customer)[-2 - len(FAILED_INVOICE) :] == [
        *FAILED_INVOICE,
        "customer.subscription.updated",
        "customer.updated",
    ]
    first = calendar.latest(made)
    attempts = []
    while (invoice := calendar.get(f"invoices/{first['id']}"))["next_payment_attempt"]:
        attempts.append(invoice["next_payment_attempt"] - first["created"])
        assert calendar.subscription(made.id)["status"] == "past_due"
        assert invoice["attempt_count"] == len(attempts)
        now = calendar.sandbox.control("clock", http="GET")["now"]
        calendar.sandbox.advance(seconds=invoice["next_payment_attempt"] - now + 5)
    assert [round(after / DAY) for after in attempts] == [3, 8, 15]
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 4)
    ended = calendar.subscription(made.id)
    assert ended["status"] == outcome
    if outcome == "canceled":
        assert ended["cancellation_details"]["reason"] == "payment_failed"


def test_settings_that_there_are_not_are_refused(calendar: Calendar) -> None:
    assert calendar.sandbox.control("settings", http="GET") == {
        "after_retries": "canceled",
        "payouts": "manual",
    }
    for wrong in ({"after_retries": "forgiven"}, {"mood": "good"}):
        with pytest.raises(AssertionError, match="after_retries is one of"):
            calendar.sandbox.control("settings", **wrong)


def test_a_retry_with_a_new_card_brings_it_back(calendar: Calendar) -> None:
    made = calendar.subscribe()
    calendar.card(made.customer, "pm_card_chargeCustomerFail")
    calendar.to_the_end_of_the_period(made, hours=2)
    assert calendar.subscription(made.id)["status"] == "past_due"
    calendar.card(made.customer, "pm_card_visa")
    calendar.sandbox.advance(days=3)
    paid = calendar.latest(made)
    assert (paid["status"], paid["attempt_count"]) == ("paid", 2)
    assert calendar.subscription(made.id)["status"] == "active"


def test_attempts_by_hand_do_not_move_the_schedule(calendar: Calendar) -> None:
    made = calendar.subscribe()
    calendar.card(made.customer, "pm_card_chargeCustomerFail")
    calendar.to_the_end_of_the_period(made, hours=2)
    before = calendar.latest(made)
    answer = calendar.sandbox.post(f"/v1/invoices/{before['id']}/pay")
    assert answer.status_code == 402
    after = calendar.latest(made)
    assert (after["attempt_count"], before["attempt_count"]) == (1, 1)
    assert after["next_payment_attempt"] == before["next_payment_attempt"]


def test_an_incomplete_subscription_expires_after_23_hours(calendar: Calendar) -> None:
    made = calendar.subscribe("pm_card_chargeCustomerFail")
    paid = calendar.subscribe("pm_card_chargeCustomerFail")
    assert made.status == "incomplete"
    good = calendar.client.payment_methods.attach("pm_card_visa", {"customer": paid.customer})
    calendar.client.invoices.pay(paid.latest_invoice, {"payment_method": good.id})
    calendar.sandbox.advance(hours=22)
    assert calendar.subscription(made.id)["status"] == "incomplete"
    calendar.sandbox.advance(hours=2)
    expired = calendar.subscription(made.id)
    assert (expired["status"], expired["ended_at"]) == (
        "incomplete_expired",
        made.created + 23 * HOUR,
    )
    assert calendar.latest(made)["status"] == "void"
    assert calendar.subscription(paid.id)["status"] == "active"


# --- Pauses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible"), ("void", "void")],
)
def test_paused_collection_bills_and_does_not_collect(
    calendar: Calendar, behavior: Any, status: str
) -> None:
    made = calendar.subscribe()
    resumes = made.created + 50 * DAY
    paused = calendar.client.subscriptions.update(
        made.id, {"pause_collection": {"behavior": behavior, "resumes_at": resumes}}
    )
    assert paused.status == "active"
    calendar.to_the_end_of_the_period(made, hours=2)
    during = calendar.latest(made)
    assert during["status"] == status
    calendar.to_the_end_of_the_period(made, hours=2)
    after = calendar.subscription(made.id)
    assert (after["status"], after["pause_collection"]) == ("active", None)
    assert calendar.latest(made)["status"] == "paid"
    assert calendar.get(f"invoices/{during['id']}")["status"] == status


# --- Changes --------------------------------------------------------------------------------


def change(calendar: Calendar, made: Any, **item: Any) -> list[int]:
    """The amounts of the prorations of a change after a third of a 30-day period."""
    calendar.client.subscriptions.update(
        made.id, {"items": [{"id": made["items"].data[0].id, **item}]}
    )
    items = calendar.get("invoiceitems", customer=made.customer, pending="true")["data"]
    assert all(entry["proration"] for entry in items)
    return sorted(entry["amount"] for entry in items)


def test_an_upgrade_a_downgrade_and_a_quantity_are_prorated_by_what_is_left(
    calendar: Calendar,
) -> None:
    up, down, more = calendar.subscribe(), calendar.subscribe(), calendar.subscribe()
    calendar.client.subscriptions.update(
        down.id,
        {
            "items": [{"id": down["items"].data[0].id, "price": calendar.bigger}],
            "proration_behavior": "none",
        },
    )
    item = up["items"].data[0]
    length = item.current_period_end - item.current_period_start
    calendar.sandbox.advance(days=10)
    left = 1 - 10 * DAY / length
    expected = {}
    for made, changed, old, new in (
        (up, {"price": calendar.bigger}, 3000, 9000),
        (down, {"price": calendar.plan}, 9000, 3000),
        (more, {"quantity": 4}, 3000, 12000),
    ):
        credit, charge = change(calendar, made, **changed)
        assert credit == pytest.approx(-old * left, abs=10)
        assert charge == pytest.approx(new * left, abs=10)
        expected[made.id] = new + credit + charge
    calendar.to_the_end_of_the_period(up, hours=2)
    for made in (up, down, more):
        invoice = calendar.latest(made)
        assert invoice["status"] == "paid"
        assert invoice["total"] == expected[made.id]
        assert invoice["amount_paid"] == max(expected[made.id], 0)
        assert len(invoice["lines"]["data"]) == 3
    credit = expected[down.id]
    assert calendar.get(f"customers/{down.customer}")["balance"] == credit < 0
    calendar.to_the_end_of_the_period(down, hours=2)
    invoice = calendar.latest(down)
    assert (invoice["total"], invoice["amount_paid"]) == (3000, 3000 + credit)
    assert (invoice["starting_balance"], invoice["ending_balance"]) == (credit, 0)


# --- Banks, refunds, disputes, sessions ------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "status", "invoice"),
    [(GOOD_ACCOUNT, "active", "paid"), (ACCOUNT, "past_due", "open")],
)
def test_a_subscription_is_debited_from_a_bank(
    calendar: Calendar, account: str, status: str, invoice: str
) -> None:
    made = calendar.subscribe(customer=calendar.bank_customer(account))
    assert made.status == "active", "Stripe trusts the bank meanwhile"
    waiting = calendar.latest(made)
    assert (waiting["status"], waiting["attempt_count"]) == ("open", 1)
    calendar.told("")
    calendar.sandbox.advance(days=3)
    assert calendar.told(made.customer) == []
    calendar.sandbox.advance(days=2)
    assert calendar.subscription(made.id)["status"] == status
    assert calendar.latest(made)["status"] == invoice
    kinds = calendar.told(made.customer)
    assert kinds[0] == ("charge.succeeded" if invoice == "paid" else "charge.failed")
    assert ("invoice.paid" in kinds) == (invoice == "paid")
    assert ("invoice.payment_failed" in kinds) == (invoice == "open")


@pytest.mark.parametrize(
    ("account", "outcome"),
    [(GOOD_ACCOUNT, "async_payment_succeeded"), (ACCOUNT, "async_payment_failed")],
)
@pytest.mark.parametrize("mode", ["payment", "subscription"])
def test_a_checkout_is_debited_from_a_bank(
    calendar: Calendar, mode: Any, account: str, outcome: str
) -> None:
    price = calendar.pack if mode == "payment" else calendar.plan
    session = calendar.client.checkout.sessions.create(
        {
            "mode": mode,
            "success_url": "https://x.example",
            "customer": calendar.customer(None),
            "line_items": [{"price": price, "quantity": 1}],
            "payment_method_types": ["card", "us_bank_account"],
        }
    )
    method = calendar.client.payment_methods.create(
        {
            "type": "us_bank_account",
            "us_bank_account": {"account_number": account, "routing_number": "110000000"},
        }
    )
    confirmed = calendar.sandbox.post(
        f"/v1/payment_pages/{session.id}/confirm", {"payment_method": method.id}
    ).json()
    assert (confirmed["status"], confirmed["payment_status"]) == ("complete", "unpaid")
    calendar.told("")
    calendar.sandbox.advance(days=5)
    kinds = calendar.told(str(session.customer))
    assert f"checkout.session.{outcome}" in kinds
    paid = calendar.get(f"checkout/sessions/{session.id}")["payment_status"]
    assert paid == ("paid" if account == GOOD_ACCOUNT else "unpaid")


def test_a_pending_refund_arrives(calendar: Calendar) -> None:
    intent = calendar.client.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "payment_method": "pm_card_pendingRefund",
            "confirm": True,
        }
    )
    refund = calendar.client.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    calendar.sandbox.advance(days=1, hours=1)
    assert calendar.get(f"refunds/{refund.id}")["status"] == "succeeded"


@pytest.mark.parametrize(
    ("card", "status", "movements"),
    [
        ("pm_card_createDispute", "lost", [-900]),
        ("pm_card_createDisputeInquiry", "warning_closed", []),
    ],
)
def test_a_dispute_that_nobody_answers_is_decided(
    calendar: Calendar, card: str, status: str, movements: list[int]
) -> None:
    intent = calendar.client.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": card, "confirm": True}
    )
    dispute = calendar.client.disputes.list({"payment_intent": intent.id}).data[0].id
    calendar.sandbox.advance(days=15)
    ended = calendar.get(f"disputes/{dispute}")
    assert (ended["status"], ended["evidence_details"]["past_due"]) == (status, True)
    assert [moved["amount"] for moved in ended["balance_transactions"]] == movements


def test_an_inquiry_can_become_a_chargeback(calendar: Calendar) -> None:
    intent = calendar.client.payment_intents.create(
        {
            "amount": 900,
            "currency": "usd",
            "payment_method": "pm_card_createDisputeInquiry",
            "confirm": True,
        }
    )
    dispute = calendar.client.disputes.list({"payment_intent": intent.id}).data[0].id
    calendar.told("")
    escalated = calendar.client.disputes.update(
        dispute, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    )
    assert escalated.status == "needs_response"
    assert [moved.amount for moved in escalated.balance_transactions] == [-900]
    kinds = [event["type"] for event in calendar.events_since()]
    assert kinds[-1] == "charge.dispute.funds_withdrawn"
    won = calendar.client.disputes.update(
        dispute, {"evidence": {"uncategorized_text": "winning_evidence"}}
    )
    assert won.status == "won"
    assert sum(moved.amount for moved in won.balance_transactions) == 0


def test_a_session_that_nobody_pays_expires_after_a_day(calendar: Calendar) -> None:
    session = calendar.client.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://x.example",
            "customer": calendar.customer(),
            "line_items": [{"price": calendar.pack, "quantity": 1}],
        }
    )
    calendar.told("")
    calendar.sandbox.advance(hours=23)
    assert calendar.get(f"checkout/sessions/{session.id}")["status"] == "open"
    calendar.sandbox.advance(hours=1, minutes=1)
    assert calendar.get(f"checkout/sessions/{session.id}")["status"] == "expired"
    assert calendar.told(str(session.customer)) == ["checkout.session.expired"]


# --- Invoices -------------------------------------------------------------------------------


def test_an_invoice_made_by_hand_advances_if_it_is_told_to(calendar: Calendar) -> None:
    def drafted(**fields: Any) -> Any:
        customer = calendar.customer()
        calendar.client.invoice_items.create(
            {"customer": customer, "amount": 700, "currency": "usd"}
        )
        made: Any = {"customer": customer, "pending_invoice_items_behavior": "include", **fields}
        return calendar.client.invoices.create(made)

    still, moving = drafted(), drafted(auto_advance=True)
    assert still.automatically_finalizes_at is None
    assert moving.automatically_finalizes_at == moving.created + HOUR
    calendar.sandbox.advance(hours=2)
    assert calendar.get(f"invoices/{still.id}")["status"] == "draft"
    paid = calendar.get(f"invoices/{moving.id}")
    assert (paid["status"], paid["amount_paid"]) == ("paid", 700)
    refused = drafted(auto_advance=True)
    calendar.card(str(refused.customer), "pm_card_chargeCustomerFail")
    calendar.sandbox.advance(hours=2)
    assert calendar.get(f"invoices/{refused.id}")["next_payment_attempt"]
    calendar.card(str(refused.customer), "pm_card_visa")
    calendar.sandbox.advance(days=3)
    assert calendar.get(f"invoices/{refused.id}")["status"] == "paid"
    late = calendar.client.invoices.update(still.id, {"auto_advance": True})
    assert late.automatically_finalizes_at
    calendar.sandbox.advance(hours=2)
    assert calendar.get(f"invoices/{still.id}")["status"] == "paid"


def test_a_subscription_paid_by_invoice_is_past_due_and_then_ends(calendar: Calendar) -> None:
    made = calendar.subscribe(None, collection_method="send_invoice", days_until_due=10)
    assert made.status == "active"
    calendar.told("")
    calendar.sandbox.advance(hours=2)
    assert calendar.told(made.customer)[-1] == "invoice.sent"
    invoice = calendar.latest(made)
    assert (invoice["status"], invoice["due_date"]) == ("open", invoice["created"] + 10 * DAY)
    calendar.sandbox.advance(days=10)
    assert calendar.told(made.customer) == ["invoice.overdue", "customer.subscription.updated"]
    assert calendar.subscription(made.id)["status"] == "past_due"
    calendar.client.invoices.pay(invoice["id"], {"paid_out_of_band": True})
    assert calendar.subscription(made.id)["status"] == "active"
    calendar.sandbox.advance(days=25)
    second = calendar.latest(made)
    assert (second["status"], second["billing_reason"]) == ("open", "subscription_cycle")
    calendar.sandbox.advance(days=45)
    assert calendar.subscription(made.id)["status"] == "canceled"
