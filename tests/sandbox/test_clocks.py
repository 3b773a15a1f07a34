"""Test clocks: some customers live at a time of their own, which moves when it is told to."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.server import SandboxProcess, run_sandbox, start_sandbox
from tests.sandbox.test_fidelity import report
from tests.sandbox.test_lifecycles import PAID_INVOICE, Shop
from tests.sandbox.test_time import altered
from tests.support.waiting import wait_until

DAY = 86400
START = 1_800_000_000
CLOCKS = "/v1/test_helpers/test_clocks"


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with run_sandbox(tmp_path_factory.mktemp("clocked") / "stripe.db") as running:
        yield running


@pytest.fixture
def lab(clocked: SandboxProcess) -> "Lab":
    return Lab(clocked)


class Lab(Shop):
    """A shop with test clocks."""

    def clock(self, start: int = START) -> str:
        made = self.client.test_helpers.test_clocks.create({"frozen_time": start, "name": "Lab"})
        return made.id

    def advance(self, clock: str, to: int) -> Any:
        """Advances a clock and waits until it has arrived."""
        going = self.client.test_helpers.test_clocks.advance(clock, {"frozen_time": to})
        assert going.status == "advancing"
        wait_until(lambda: self.shown(clock)["status"] != "advancing", seconds=60)
        return self.shown(clock)

    def shown(self, clock: str) -> Any:
        return self.get(f"test_helpers/test_clocks/{clock}")


def test_a_subscription_lives_at_its_clocks_time(lab: Lab) -> None:
    clock = lab.clock()
    made = lab.subscribe(customer=lab.customer(test_clock=clock))
    assert (made.test_clock, made.created, made.status) == (clock, START, "active")
    customer = lab.get(f"customers/{made.customer}")
    invoice = lab.get(f"invoices/{made.latest_invoice}")
    assert (customer["test_clock"], customer["created"]) == (clock, START)
    assert (invoice["test_clock"], invoice["created"]) == (clock, START)
    end = made["items"].data[0].current_period_end
    lab.news()
    arrived = lab.advance(clock, end + 2 * 3600)
    assert (arrived["status"], arrived["frozen_time"]) == ("ready", end + 2 * 3600)
    events = lab.news()
    assert [event["type"] for event in events] == [
        "test_helpers.test_clock.advancing",
        "invoice.created",
        "customer.subscription.updated",
        *PAID_INVOICE,
        "test_helpers.test_clock.ready",
    ]
    assert all(abs(event["created"] - time.time()) < 300 for event in events), "real time"
    renewal = events[1]["data"]["object"]
    assert (renewal["created"], renewal["period_end"]) == (end, end)


def test_clocks_have_the_fields_of_the_package(lab: Lab) -> None:
    clock = lab.clock()
    made = lab.shown(clock)
    assert report([made]) == {}
    assert (made["status"], made["status_details"], made["name"]) == ("ready", {}, "Lab")
    going = lab.sandbox.post(f"{CLOCKS}/{clock}/advance", {"frozen_time": START + 5}).json()
    assert going["status_details"] == {"advancing": {"target_frozen_time": START + 5}}
    assert report([going]) == {}
    assert clock in [one.id for one in lab.client.test_helpers.test_clocks.list().data]


def test_a_clock_goes_forward_and_not_too_far(lab: Lab) -> None:
    clock = lab.clock()
    for wrong in (START, START - 1, START + 3 * 365 * DAY):
        answer = lab.sandbox.post(f"{CLOCKS}/{clock}/advance", {"frozen_time": wrong})
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]["param"] == "frozen_time"
    lab.subscribe(customer=lab.customer(test_clock=clock))
    two_months = START + 62 * DAY
    for too_far in (two_months, START + 200 * DAY):
        with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
            lab.client.test_helpers.test_clocks.advance(clock, {"frozen_time": too_far})
    assert lab.advance(clock, START + 58 * DAY)["status"] == "ready"


def test_a_year_goes_by_in_steps_of_two_months(lab: Lab) -> None:
    clock = lab.clock()
    made = lab.subscribe(customer=lab.customer(test_clock=clock))
    for step in range(1, 8):
        lab.advance(clock, START + step * 55 * DAY)
    invoices = lab.get("invoices", subscription=made.id, limit=100)["data"]
    assert [invoice["status"] for invoice in invoices] == ["paid"] * 13
    numbers = [int(invoice["number"].rpartition("-")[2]) for invoice in invoices]
    assert numbers == list(range(13, 0, -1))


def test_other_customers_do_not_notice(lab: Lab) -> None:
    clock = lab.clock()
    mine = lab.subscribe(customer=lab.customer(test_clock=clock))
    theirs = lab.subscribe()
    lab.advance(clock, START + 50 * DAY)
    assert abs(theirs.created - time.time()) < 300
    now = lab.get(f"subscriptions/{theirs.id}")
    assert now["latest_invoice"] == theirs.latest_invoice
    listed = {one["id"] for one in lab.get("customers", limit=100)["data"]}
    assert mine.customer not in listed
    assert theirs.customer in listed
    of_clock = lab.get("customers", test_clock=clock)["data"]
    assert [one["id"] for one in of_clock] == [mine.customer]
    assert mine.id not in {one["id"] for one in lab.get("subscriptions", limit=100)["data"]}
    for by in ({"test_clock": clock}, {"customer": mine.customer}):
        assert [one["id"] for one in lab.get("subscriptions", **by)["data"]] == [mine.id]


def test_a_clock_has_three_customers_at_most(lab: Lab) -> None:
    clock = lab.clock()
    for _ in range(3):
        lab.customer(test_clock=clock)
    with pytest.raises(stripe.InvalidRequestError, match="more than 3 customers"):
        lab.customer(test_clock=clock)
    with pytest.raises(stripe.InvalidRequestError, match="No such test clock"):
        lab.customer(test_clock="clock_none")


def test_deleting_a_clock_deletes_its_customers(lab: Lab) -> None:
    clock = lab.clock()
    made = lab.subscribe(customer=lab.customer(test_clock=clock))
    lab.news()
    assert lab.client.test_helpers.test_clocks.delete(clock).deleted
    assert lab.get(f"customers/{made.customer}")["deleted"]
    assert lab.get(f"subscriptions/{made.id}")["ended_at"] == START
    assert lab.types() == [
        "customer.subscription.deleted",
        "payment_method.detached",
        "customer.deleted",
        "test_helpers.test_clock.deleted",
    ]
    assert lab.sandbox.get(f"{CLOCKS}/{clock}").status_code == 404


def test_clocks_end_by_themselves_after_a_week(sandbox: SandboxProcess) -> None:
    lab = Lab(sandbox)
    clock = lab.clock()
    made = lab.shown(clock)
    assert made["deletes_after"] == made["created"] + 7 * DAY
    customer = lab.customer(test_clock=clock)
    sandbox.advance(days=6, hours=23)
    assert lab.shown(clock)["status"] == "ready"
    sandbox.advance(hours=2)
    assert sandbox.get(f"{CLOCKS}/{clock}").status_code == 404
    assert lab.get(f"customers/{customer}")["deleted"]


def test_nothing_of_a_clock_can_be_changed_while_it_advances(sandbox: SandboxProcess) -> None:
    lab = Lab(sandbox)
    daily = lab.client.prices.create(
        {
            "product": lab.client.products.create({"name": "Daily"}).id,
            "currency": "usd",
            "unit_amount": 100,
            "recurring": {"interval": "day"},
        }
    ).id
    clock = lab.clock()
    customer = lab.customer(test_clock=clock)
    lab.client.subscriptions.create({"customer": customer, "items": [{"price": daily}]})
    refused: set[str] = set()

    def caught() -> bool:
        """Whether a change came while the clock advanced; each try advances it by a day."""
        now = lab.shown(clock)["frozen_time"]
        lab.sandbox.post(f"{CLOCKS}/{clock}/advance", {"frozen_time": now + DAY})
        answer = lab.sandbox.post(f"/v1/customers/{customer}", {"name": "B"})
        read = lab.sandbox.get(f"/v1/customers/{customer}")
        assert read.status_code == 200
        if answer.status_code == 429:
            refused.add(answer.json()["error"]["message"])
        wait_until(lambda: lab.shown(clock)["status"] == "ready")
        return bool(refused)

    wait_until(caught, seconds=60)
    assert refused == {"Test clock advancement underway - cannot perform modifications."}


def test_a_clock_goes_on_after_a_kill(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path / "s.db")
    lab = Lab(first)
    clock = lab.clock()
    subscriptions = [lab.subscribe(customer=lab.customer(test_clock=clock)).id for _ in range(3)]
    target = START + 58 * DAY
    first.post(f"{CLOCKS}/{clock}/advance", {"frozen_time": target})
    first.kill()
    with run_sandbox(tmp_path / "s.db") as again:
        path = f"{CLOCKS}/{clock}"
        wait_until(lambda: again.get(path).json()["status"] == "ready", seconds=60)
        assert again.get(path).json()["frozen_time"] == target
        for made in subscriptions:
            invoices = again.get("/v1/invoices", subscription=made).json()["data"]
            assert [invoice["status"] for invoice in invoices] == ["paid", "paid"]


def test_a_clock_on_which_something_fails_can_only_be_deleted(tmp_path: Path) -> None:
    first = start_sandbox(tmp_path / "s.db")
    lab = Lab(first)
    clock = lab.clock()
    made = lab.subscribe(customer=lab.customer(test_clock=clock))
    first.stop()
    altered(
        first.data,
        "UPDATE objects SET json = replace(json, customer, 'cus_none')"  # noqa: S608
        f" WHERE id = '{made.id}'",
    )
    with run_sandbox(first.data) as again:
        clocks = again.stripe.v1.test_helpers.test_clocks
        clocks.advance(clock, {"frozen_time": START + 40 * DAY})
        wait_until(lambda: clocks.retrieve(clock).status != "advancing")
        assert clocks.retrieve(clock).status == "internal_failure"
        with pytest.raises(stripe.InvalidRequestError, match="only be deleted"):
            clocks.advance(clock, {"frozen_time": START + 41 * DAY})
        latest = again.stripe.v1.events.list({"limit": 1}).data[0]
        assert latest.type == "test_helpers.test_clock.internal_failure"
        assert clocks.delete(clock).deleted


def test_live_mode_has_no_test_clocks(lab: Lab) -> None:
    answer = lab.sandbox.post(
        CLOCKS,
        {"frozen_time": START},
        headers={"Authorization": "Bearer sk_live_" + "sandbox0" * 4},
    )
    assert answer.status_code == 400
    assert "test mode" in answer.json()["error"]["message"]
