"""Runs that are interrupted, refused, slowed down, or started twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from billing import tasks
from billing.diagnosis.kinds import Kind
from billing.gateway.client import GatewayError, StripeUnavailableError, gateway
from billing.gateway.pace import wait_for_turn
from billing.models import FindingRecord, ReconciliationRun, RequestPace
from billing.reconciliation import runs
from tests.diagnosis.planting import deliver_all_but, subscribed
from tests.operations.shop import Shop

NO_GRACE = timedelta(seconds=-2)


def lost_pack(shop: Shop) -> str:
    session = str(shop.buy()["checkout_session"])
    deliver_all_but(shop, "checkout.session.completed")
    return session


@pytest.mark.django_db
def test_a_list_that_breaks_off_is_an_error_and_no_difference(shop: Shop) -> None:
    """Stripe fails on and on: the run is failed, nothing is found, and it goes on later."""
    subscribed(shop)
    session = lost_pack(shop)
    shop.sandbox.control("faults", path="/v1/charges", status=403)
    with pytest.raises(Exception, match="answered 403"):
        runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE)
    failed = ReconciliationRun.objects.get()
    assert (failed.status, FindingRecord.objects.count()) == ("failed", 0)
    assert "403" in failed.error

    shop.sandbox.control("faults", http="DELETE")
    run = runs.reconcile("daily", actor="cli:sue", grace=NO_GRACE)
    assert (run.pk, run.status, run.error) == (failed.pk, "done", "")
    assert FindingRecord.objects.get().subject == session


@pytest.mark.django_db
def test_a_resumed_run_resolves_nothing_that_another_has_found_meanwhile(shop: Shop) -> None:
    """The daily run fails among its suspects; a full one then finds what the daily never read."""
    subscribed(shop)
    first = lost_pack(shop)
    shop.sandbox.control("faults", path="/v1/checkout/sessions/*", status=403)
    with pytest.raises(GatewayError, match="answered 403"):
        runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE)
    failed = ReconciliationRun.objects.get()
    assert failed.stage.startswith("examining")

    shop.sandbox.control("faults", http="DELETE")
    second = lost_pack(shop)
    assert runs.reconcile("full", actor="cli:sue", grace=NO_GRACE).found == 2
    assert runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE).pk == failed.pk
    found = FindingRecord.objects.filter(state=FindingRecord.State.OPEN)
    assert {each.subject for each in found} == {first, second}


@pytest.mark.django_db
def test_an_empty_page_that_says_there_is_more_is_no_list(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = gateway().page("/v1/customers")
    broken = type(page)([], True, page.not_before, page.not_after, page.fetched_at)
    monkeypatch.setattr(type(gateway()), "_page", lambda *_: broken)
    with pytest.raises(StripeUnavailableError, match="broke off"):
        list(gateway().lists_at_once([("customer", "/v1/customers", {})]))


@pytest.mark.django_db
def test_stripe_fails_now_and_then(shop: Shop) -> None:
    """429 and 500 by chance: the run takes longer, and finds the same."""
    subscribed(shop)
    session = lost_pack(shop)
    shop.sandbox.control("faults", path="/v1/*", status=500, probability=0.2, seed=3)
    shop.sandbox.control("faults", path="/v1/*", status=429, probability=0.1, seed=4)
    run = runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE)
    assert run.differences == {Kind.PACK_NOT_GRANTED: 1}
    assert FindingRecord.objects.get().subject == session


@pytest.mark.django_db
def test_what_is_on_its_way_is_no_difference(shop: Shop) -> None:
    """The event was made a moment ago: it is left for the next run, unless it stays away."""
    subscribed(shop)
    lost_pack(shop)
    run = runs.reconcile("daily", actor="cli:rita", grace=timedelta(minutes=2))
    assert (run.differences, FindingRecord.objects.count()) == ({}, 0)
    assert run.in_flight > 0
    assert runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE).found == 1


@pytest.mark.django_db
def test_what_is_found_again_while_it_is_on_its_way_stays_open(shop: Shop) -> None:
    subscribed(shop)
    lost_pack(shop)
    runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE)
    runs.reconcile("daily", actor="cli:rita", grace=timedelta(minutes=2))
    assert FindingRecord.objects.get().state == FindingRecord.State.OPEN


@pytest.mark.django_db
def test_an_old_interruption_is_given_up(shop: Shop) -> None:
    subscribed(shop)
    old = runs.reconcile("daily", actor="cli:rita", grace=NO_GRACE)
    ReconciliationRun.objects.update(
        status="running", started_at=old.started_at - timedelta(hours=25)
    )
    old.suspects.create(object_id="cs_1")
    old.slices.create(list="charge", until=old.until)
    new = runs.reconcile("daily", actor="cli:sue", grace=NO_GRACE)
    old.refresh_from_db()
    assert new.pk != old.pk
    assert (old.status, new.status) == ("failed", "done")
    assert "given up" in old.error
    assert (old.suspects.count(), old.slices.count()) == (0, 0)


@contextmanager
def somebody_at_work() -> Iterator[None]:
    """Another process has the lock of all runs."""
    elsewhere = connection.copy()
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('reconciliation', 2))")
        yield
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended('reconciliation', 2))")
    elsewhere.close()


@pytest.mark.usefixtures("real_database", "sandbox")
def test_a_scheduled_run_comes_back_where_a_command_is_at_work() -> None:
    """The morning's run is not left out: the job fails, and is tried again every ten minutes."""
    ReconciliationRun.objects.create(
        kind="full", actor="cli:rita", stage="books", until=timezone.now()
    )
    with somebody_at_work():
        with pytest.raises(runs.AlreadyRunningError):
            tasks.reconcile(kind="daily", actor="schedule")
        with pytest.raises(CommandError, match="under way, started by cli:rita, books") as refused:
            call_command("reconcile", "daily")
        assert refused.value.returncode == 2
    tasks.reconcile(kind="daily", actor="schedule")
    assert ReconciliationRun.objects.get(kind="daily").status == "done"


@pytest.mark.django_db
def test_bulk_requests_take_turns(settings: Settings) -> None:
    """Each request moves the line on by its share of a second, whoever makes it."""
    settings.STRIPE_BULK_REQUESTS_PER_SECOND = 500.0
    wait_for_turn()
    first = RequestPace.objects.get().next_at
    for _ in range(10):
        wait_for_turn()
    assert RequestPace.objects.get().next_at - first >= timedelta(seconds=10 / 500 - 0.001)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        assert cursor.fetchone()[0] >= first
