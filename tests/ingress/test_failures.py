"""Events that fail: tried again after a pause, then dead, seen, and replayable."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.gateway.client import gateway
from billing.ingress import worker
from billing.models import BillingCustomer, BillingEvent, CreditEntry, InboxEvent, LeadCredits
from tests.ingress.test_arbitrary import EVENTS
from tests.ingress.webhook import as_body, deliver, event
from tests.sandbox.server import SandboxProcess
from tests.support.events import Event, events_of

pytestmark = pytest.mark.django_db

LINES = "*/line_items"
# No answer to a list. Stripe's package does not repeat such a request by itself, so it is fast.
NO_LIST = {"path": LINES, "status": 200, "body": {"object": "nothing"}}


@pytest.fixture
def bought(sandbox: SandboxProcess) -> Event:
    """The checkout.session.completed of a pack of 50 credits; nothing is delivered yet."""
    product = sandbox.stripe.v1.products.create({"name": "50 credits"})
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 4500,
            "metadata": {"lead_credits": "50"},
        }
    )
    told = sandbox.story("buy_pack", user_id="ada", email="ada@example.com", price=price.id)
    [completed] = [one for one in events_of(sandbox) if one["type"] == "checkout.session.completed"]
    assert completed["data"]["object"]["id"] == told["checkout_session"]
    deliver_all(one for one in events_of(sandbox) if one["id"] != completed["id"])
    assert set(worker.drain().by_status) == {"processed"}
    return completed


def deliver_all(events: Any) -> None:
    for one in events:
        assert deliver(as_body(one)).status_code == 200


def row_of(one: Event) -> InboxEvent:
    return InboxEvent.objects.get(stripe_event_id=one["id"])


def balance() -> int:
    """Ada's credits."""
    found = LeadCredits.objects.filter(user_id="ada").values_list("balance", flat=True)
    return found.first() or 0


def pause(row: InboxEvent) -> float:
    """Seconds from the last try of a row, just now, to its next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [now] = cursor.fetchone()
    return (row.next_attempt_at - now) / timedelta(seconds=1)


def make_due(row: InboxEvent) -> None:
    """As if its pause had passed."""
    InboxEvent.objects.filter(pk=row.pk).update(next_attempt_at=row.received_at)


def test_while_stripe_is_away_events_wait_for_it(sandbox: SandboxProcess, bought: Event) -> None:
    sandbox.stop()
    assert deliver(as_body(bought)).status_code == 200
    assert worker.work(1).by_status == {"failed": 1}
    row = row_of(bought)
    assert (row.status, row.attempts, row.processed_at) == ("failed", 1, None)
    assert row.reason.startswith("Stripe could not be reached")
    assert worker.work(1).total == 0  # it is not due
    assert balance() == 0


def test_a_batch_does_not_wait_for_silence_once_an_event(
    sandbox: SandboxProcess, bought: Event
) -> None:
    for number in range(9):
        sandbox.story("buy_pack", user_id=f"u{number}", email=f"{number}@example.com")
    deliver_all(e for e in events_of(sandbox) if e["type"] == "checkout.session.completed")
    sandbox.stop()
    before = gateway().calls
    assert worker.work(1).by_status == {"failed": 10}
    assert gateway().calls - before == 2  # one for the batch, one for the first by itself
    reasons = set(InboxEvent.objects.filter(status="failed").values_list("reason", flat=True))
    assert all(reason.startswith("Stripe could not be reached") for reason in reasons)


def test_the_pauses_grow_until_it_is_dead(sandbox: SandboxProcess, bought: Event) -> None:
    sandbox.control("faults", **NO_LIST)
    deliver(as_body(bought))
    for attempts, expected in enumerate(worker.BACKOFF, start=1):
        assert worker.work(1).by_status == {"failed": 1}
        row = row_of(bought)
        assert (row.status, row.attempts) == ("failed", attempts)
        assert expected - 5 < pause(row) <= expected
        assert worker.work(1).total == 0
        make_due(row)
    assert worker.work(1).by_status == {"dead": 1}
    row = row_of(bought)
    assert (row.status, row.attempts) == ("dead", len(worker.BACKOFF) + 1)
    assert row.reason.startswith("Stripe's answer to /v1/checkout/sessions/cs_")
    make_due(row)
    assert worker.work(1).total == worker.drain().total == 0
    assert (balance(), BillingEvent.objects.filter(stripe_event_id=bought["id"]).count()) == (0, 0)


def test_once_stripe_answers_it_is_processed(sandbox: SandboxProcess, bought: Event) -> None:
    sandbox.control("faults", **NO_LIST, count=2)
    deliver(as_body(bought))
    for expected in ("failed", "failed", "processed"):
        assert worker.work(1).by_status == {expected: 1}
        make_due(row_of(bought))
    assert (row_of(bought).attempts, balance()) == (3, 50)


@pytest.fixture
def dead(sandbox: SandboxProcess, bought: Event) -> Event:
    """The event, after Stripe refused to list what was bought."""
    refusal = {"error": {"type": "invalid_request_error", "message": "The key may not read this."}}
    sandbox.control("faults", path=LINES, status=403, body=refusal)
    deliver(as_body(bought))
    assert worker.work(1).by_status == {"dead": 1}
    return bought


def test_what_stripe_refuses_for_good_is_dead_at_once_and_says_why(dead: Event) -> None:
    row = row_of(dead)
    assert (row.status, row.attempts, balance()) == ("dead", 1, 0)
    assert row.reason.startswith("Stripe refused: The key may not read this. (HTTP 403")
    assert "sk_test" not in row.reason


def test_a_replay_grants_once_the_fault_is_gone(sandbox: SandboxProcess, dead: Event) -> None:
    [again] = worker.process([dead["id"]], actor="cli:test")
    assert (again.status, row_of(dead).attempts, balance()) == ("dead", 2, 0)
    sandbox.control("faults", http="DELETE")
    [result] = worker.process([dead["id"]], actor="cli:test")
    assert (result.status, balance()) == ("processed", 50)
    assert "+50 credits for user ada" in result.reason
    worker.process([dead["id"]], actor="cli:test")
    assert (balance(), CreditEntry.objects.count()) == (50, 1)
    assert CreditEntry.objects.get().actor == "cli:test"


def test_a_dead_event_that_stripe_sends_again_gets_another_try(
    sandbox: SandboxProcess, dead: Event
) -> None:
    assert deliver(as_body(dead)).status_code == 200
    row = row_of(dead)
    assert (row.status, row.attempts) == ("pending", 0)
    sandbox.control("faults", http="DELETE")
    make_due(row)
    assert worker.work(1).by_status == {"processed": 1}
    assert (balance(), InboxEvent.objects.filter(stripe_event_id=dead["id"]).count()) == (50, 1)


@pytest.mark.parametrize("status", ["pending", "failed", "processed", "ignored", "set_aside"])
def test_others_that_stripe_sends_again_stay_as_they_are(status: str) -> None:
    deliver(as_body(event()))
    InboxEvent.objects.update(status=status, reason="as it was", attempts=3)
    before = InboxEvent.objects.values().get()
    assert deliver(as_body(event())).status_code == 200
    assert InboxEvent.objects.values().get() == before


def poisonous() -> Iterator[dict[str, Any]]:
    """Events that no table takes, each for a reason of its own."""
    customer = {"id": "cus_poison", "object": "customer", "livemode": False}
    yield event(id="evt_long", data={"object": {**customer, "id": "x" * 100_000}})
    yield event(id="evt_text", data={"object": {**customer, "created": "yesterday"}})
    yield event(id="evt_mode", data={"object": {**customer, "livemode": True}})
    yield event(id="evt_list", data={"object": {**customer, "metadata": [], "email": {"a": 1}}})
    invoice = {"id": "in_poison", "object": "invoice", "lines": 1, "total": "a lot"}
    yield event(id="evt_total", type="invoice.paid", data={"object": invoice})


def test_a_poisonous_event_holds_up_none_but_itself(sandbox: SandboxProcess) -> None:
    good = [customer(number) for number in range(20)]
    bad = list(poisonous())
    mixed = [one for number, one in enumerate(good) for one in (one, *bad[number : number + 1])]
    deliver_all(mixed)
    tally = worker.work(1)
    assert tally.total == len(good) + len(bad)
    statuses = dict(InboxEvent.objects.values_list("stripe_event_id", "status"))
    assert {statuses[one["id"]] for one in good} == {"processed"}
    assert BillingCustomer.objects.filter(email__contains="@").count() == len(good)
    for row in InboxEvent.objects.exclude(status="processed"):
        assert row.status in ("failed", "dead")
        assert row.reason
        assert not BillingEvent.objects.filter(stripe_event_id=row.stripe_event_id).exists()
    failed = [one for one in bad if statuses[one["id"]] != "processed"]
    assert failed


def customer(number: int) -> dict[str, Any]:
    data = {"id": f"cus_{number}", "object": "customer", "email": f"{number}@example.com"}
    return event(id=f"evt_good_{number}", data={"object": {**data, "created": 1700000000}})


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_whatever_was_taken_in_comes_to_an_end(
    sandbox: SandboxProcess, events: list[dict[str, Any]]
) -> None:
    for one in events:
        deliver(as_body(one))
    worker.drain()
    for row in InboxEvent.objects.exclude(status__in=("processed", "ignored", "set_aside")):
        assert row.status in ("failed", "dead")
        assert row.reason
        assert row.attempts > 0
