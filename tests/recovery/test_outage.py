"""Webhooks fail, things are bought meanwhile, and one recovery brings all of it in."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.db import connections

from billing.ingress import worker
from billing.models import (
    BillingEvent,
    CreditEntry,
    InboxEvent,
    MissedEvent,
    Recovery,
)
from billing.operations.base import InvalidInputError
from billing.recovery import outage
from billing.recovery.outage import recover
from tests.admin import rows
from tests.operations.shop import Shop, balance, status_here
from tests.recovery.conftest import NO_GRACE, an_hour_ago, fault, register
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.events import deliver, events_of
from tests.support.waiting import wait_until

ADA = {"email": "ada@example.com", "user_id": "u_ada"}
BOB = {"email": "bob@example.com", "user_id": "u_bob"}
EVE = {"email": "eve@example.com", "user_id": "u_eve"}


def recovered(**more: object) -> Recovery:
    given = {"since": an_hour_ago(), "actor": "cli:ann", "grace": NO_GRACE, **more}
    return recover("outage", **given)  # type: ignore[arg-type]


def requests_of(sandbox: SandboxProcess) -> dict[str, int]:
    routes: dict[str, int] = sandbox.control("counters", http="GET")["routes"]
    return routes


def test_all_three_ways_to_miss_something_end_with_no_difference(
    back_office: BackOffice,
    sandbox: SandboxProcess,
) -> None:
    """Not delivered; answered with 200 and never stored; never even an event."""
    shop = Shop(sandbox)
    bought = shop.buy(**ADA)
    wait_until(
        lambda: (
            InboxEvent.objects.filter(stripe_event_id__in=bought["events"]).count()
            == len(bought["events"])
        )
    )
    wait_until(lambda: not sandbox.control("state", http="GET")["outbox"].get("pending"))
    InboxEvent.objects.filter(stripe_event_id__in=bought["events"]).delete()
    with fault(sandbox, drop_deliveries=True):
        subscribed = shop.subscribe(**BOB)
        wait_until(lambda: not sandbox.control("state", http="GET")["outbox"].get("pending"))
    with fault(sandbox, no_event=True):
        shop.buy(**EVE)
    incident = rows.incident(started_at=an_hour_ago())

    recovery = recovered()

    assert recovery.status == Recovery.Status.DONE
    assert [balance(user) for user in ("u_ada", "u_bob", "u_eve")] == [(50, 0), (20, 0), (50, 0)]
    assert status_here(subscribed["subscription"]) == "active"
    report = recovery.report
    assert report["missed_as"]["undelivered"] >= len(subscribed["events"]) - 1
    assert report["missed_as"]["unstored"] >= 5
    assert report["differed"] == {"pack_not_granted": 1, "payment_differs": 1}
    assert report["left"] == {"count": 0, "findings": []}
    assert recovery.run.found == 0
    assert recovery.incident == incident
    assert BillingEvent.objects.get(type="manual.recovery_finished").payload["needs_people"] == 0


def test_what_was_missed_is_processed_oldest_first(shop: Shop) -> None:
    for number in range(3):
        shop.buy(user_id=f"u_{number}", email=f"{number}@example.com")
    recovered()
    ids = list(MissedEvent.objects.order_by("pk").values_list("stripe_event_id", flat=True))
    made = [each["id"] for each in events_of(shop.sandbox) if each["id"] in ids]
    inbox = InboxEvent.objects.filter(stripe_event_id__in=ids).order_by("pk")
    assert [row.stripe_event_id for row in inbox] == made
    assert all(a <= b for a, b in pairwise(row.stripe_created_at for row in inbox))


def test_stripe_delivers_the_same_events_meanwhile_and_the_worker_works(shop: Shop) -> None:
    """Neither is anything doubled nor does anything fail."""
    for number in range(25):
        shop.buy(user_id=f"u_{number}", email=f"{number}@example.com")
    events = events_of(shop.sandbox)

    def redeliver() -> None:
        try:
            for start in range(0, len(events), 20):
                deliver(events[start : start + 20])
                worker.drain()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        meanwhile = [pool.submit(redeliver) for _ in range(2)]
        recovery = recovered()
        for each in meanwhile:
            each.result()

    assert recovery.report["failed"]["count"] == 0
    assert CreditEntry.objects.count() == 25
    assert all(balance(f"u_{number}") == (50, 0) for number in range(25))
    assert not InboxEvent.objects.exclude(status__in=("processed", "ignored")).exists()


def test_an_event_that_fails_stops_no_other_and_is_left_to_a_person(shop: Shop) -> None:
    bad = shop.buy(**ADA)
    shop.buy(**BOB)
    with (
        fault(
            shop.sandbox,
            path=f"/v1/checkout/sessions/{bad['checkout_session']}/line_items",
            status=403,
            body={"error": {"type": "invalid_request_error", "message": "no"}},
        ),
        fault(
            shop.sandbox,
            path="/v1/checkout/sessions",
            status=403,
            body={"error": {"type": "invalid_request_error", "message": "no"}},
        ),
    ):
        recovery = recovered(critical_only=True)
    assert balance("u_bob") == (50, 0)
    failed = recovery.events.get(status="failed")
    assert (failed.object_id, "Stripe refused: no" in failed.said) == (
        bad["checkout_session"],
        True,
    )
    assert recovery.report["failed"]["count"] == 1
    assert recovered().report["failed"]["count"] == 0
    assert balance("u_ada") == (50, 0)


def test_while_it_is_down_the_critical_queue_is_worked_again_and_again(shop: Shop) -> None:
    register(shop.sandbox)
    shop.buy(**ADA)
    subscribed = shop.subscribe(**BOB)
    first = recovered(critical_only=True)
    queue = first.events.order_by("rank", "-position").values_list("rank", "status", "missed_as")
    assert list(queue)[:2] == [(0, "done", "undelivered"), (1, "done", "undelivered")]
    assert set(first.events.values_list("rank", flat=True)) == {0, 1, 2, 3}
    assert (balance("u_ada"), balance("u_bob")) == ((50, 0), (20, 0))
    assert status_here(subscribed["subscription"]) == "active"

    shop.buy(**EVE)
    second = recovered(critical_only=True)
    assert second.pk != first.pk
    assert list(second.events.values_list("rank", flat=True)) == [1]
    assert balance("u_eve") == (50, 0)
    assert CreditEntry.objects.count() == 3


def test_it_costs_what_paging_needs_and_one_request_for_each_object_in_doubt(shop: Shop) -> None:
    for number in range(12):
        shop.buy(user_id=f"u_{number}", email=f"{number}@example.com")
    listed = len(events_of(shop.sandbox))
    shop.sandbox.control("counters/reset")
    recovery = recovered()
    calls = recovery.counts["calls"]
    assert recovery.counts["listed"] == listed
    assert calls["listing"] == -(-listed // 100)
    assert calls["processing"] <= 2  # the lines of all the sessions, and our own account
    assert recovery.api_calls == sum(calls.values()) == sum(requests_of(shop.sandbox).values())


def test_a_time_that_was_said_too_late_is_found_out(shop: Shop) -> None:
    """What was lost on the day before is recovered, too, at the price of paging."""
    for number in range(8):
        shop.buy(user_id=f"u_{number}", email=f"{number}@example.com")
    listed = len(events_of(shop.sandbox))
    time.sleep(1.1)  # Stripe's times are whole seconds
    recovery = recovered(since=datetime.now(UTC).replace(microsecond=0))
    assert recovery.report["differed"]["event_not_received"] > 0
    assert recovery.counts["calls"]["earlier"] <= -(-listed // 100) + 2
    assert recovery.report["mended"] == []
    assert recovery.report["left"]["count"] == 0
    assert CreditEntry.objects.count() == 8


def test_one_that_stripe_left_in_the_dark_goes_on_where_it_was(shop: Shop) -> None:
    shop.buy(**ADA)
    since = an_hour_ago()
    with (
        fault(shop.sandbox, path="/v1/checkout/sessions/*", status=503),
        fault(shop.sandbox, path="/v1/subscriptions", status=403),
        pytest.raises(outage.GatewayError),
    ):
        recovered(since=since)
    failed = Recovery.objects.get()
    assert failed.status == Recovery.Status.FAILED
    assert failed.error
    assert failed.stage.startswith("comparing")
    again = recovered(since=since)
    assert again.pk == failed.pk
    assert (again.status, again.error) == (Recovery.Status.DONE, "")
    assert again.counts["calls"]["listing"] == failed.counts["calls"]["listing"]
    assert balance("u_ada") == (50, 0)


def test_two_never_run_at_once(shop: Shop) -> None:
    with ThreadPoolExecutor(1) as pool, outage.alone():

        def second() -> None:
            try:
                with pytest.raises(outage.AlreadyRunningError, match="A recovery is under way"):
                    recovered()
            finally:
                connections.close_all()

        pool.submit(second).result()
    assert not Recovery.objects.exists()


def test_a_window_that_is_none_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="before it begins"):
        recovered(until=an_hour_ago().replace(year=2020))
    with pytest.raises(InvalidInputError, match="is to come"):
        recovered(since=an_hour_ago().replace(year=2100))
    assert not Recovery.objects.exists()
