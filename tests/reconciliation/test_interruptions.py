"""Runs that are killed, refused, slowed down, or started twice."""

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from billing import tasks
from billing.diagnosis.kinds import Kind
from billing.gateway.client import GatewayError, StripeUnavailableError, gateway
from billing.gateway.pace import wait_for_turn
from billing.models import FindingRecord, ReconciliationRun, RequestPace
from billing.projection.bulk import sync_everything
from billing.reconciliation import reading, runs
from tests.diagnosis.planting import deliver_all_but, subscribed
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.databases import Database
from tests.support.environment import SECRET_KEY, child_environment
from tests.support.events import deliver_and_drain, events_of
from tests.support.waiting import wait_until

NO_GRACE = timedelta(seconds=-2)


def lost_pack(shop: Shop) -> str:
    session = str(shop.buy()["checkout_session"])
    deliver_all_but(shop, "checkout.session.completed")
    return session


def command(
    database: Database, sandbox: SandboxProcess, *arguments: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "reconcile", *arguments],
        cwd=BASE_DIR,
        env=child_environment(
            DATABASE_URL=database.url, STRIPE_API_BASE=sandbox.url, STRIPE_SECRET_KEY=SECRET_KEY
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_goes_on_where_it_was(
    real_database: Database, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL while lists are read; the next start is the same run, and reads only the rest.

    Meanwhile a second run is refused, and says who is at it.
    """
    with run_sandbox(tmp_path / "sandbox.sqlite3", customers=60) as sandbox:
        settings.STRIPE_API_BASE, settings.STRIPE_SECRET_KEY = sandbox.url, SECRET_KEY
        sync_everything(actor="test")
        deliver_and_drain(events_of(sandbox))
        monkeypatch.setattr(reading, "SLICE", 20)
        sandbox.control("faults", path="/v1/invoices", delay_seconds=15)
        killed = command(real_database, sandbox, "full", "--actor", "rita")
        done = ReconciliationRun.objects.filter(slices__done=True)
        wait_until(done.exists, seconds=60)

        second = command(real_database, sandbox, "daily", "--json")
        said = json.loads(second.communicate(timeout=60)[0])
        assert second.returncode == 2
        assert "under way, started by cli:rita" in said["error"]

        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=30)
        sandbox.control("faults", http="DELETE")
        read = ReconciliationRun.objects.get().slices.filter(done=True).count()
        before = sandbox.control("counters", http="GET")["total"]
        resumed = command(real_database, sandbox, "full", "--json")
        out, err = resumed.communicate(timeout=120)
        document = json.loads(out)
    run = ReconciliationRun.objects.get()
    assert (run.pk, run.status, run.actor) == (document["run"], "done", "cli:rita"), err
    assert document["counts"]["invoice"]["stripe"] == document["counts"]["invoice"]["here"] > 0
    assert read > 0
    assert before > 0
    assert resumed.returncode == (1 if run.found else 0)


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


@pytest.mark.usefixtures("real_database", "sandbox")
def test_a_scheduled_run_comes_back_where_a_command_is_at_work() -> None:
    """The morning's run is not left out: the job fails, and is tried again every ten minutes."""
    elsewhere = connection.copy()
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('reconciliation', 2))")
        with pytest.raises(runs.AlreadyRunningError):
            tasks.reconcile(kind="daily", actor="schedule")
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended('reconciliation', 2))")
    elsewhere.close()
    tasks.reconcile(kind="daily", actor="schedule")
    assert ReconciliationRun.objects.get().status == "done"


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
