"""A recovery that is killed in every one of its stages ends as if nobody had touched it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from billing.formatting import iso_time
from billing.models import BillingSubscription, CreditEntry, MissedEvent, Recovery, acting_as
from billing.recovery import outage
from tests.operations.shop import Shop, balance, status_here
from tests.recovery.conftest import NO_GRACE, fault, set_back
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database
from tests.support.environment import SECRET_KEY, child_environment
from tests.support.waiting import wait_until

HELD = 150  # seconds: longer than anything takes that is not held up
SINCE = (datetime.now(UTC) - timedelta(hours=3)).replace(microsecond=0)


def is_at(stage: str) -> bool:
    return Recovery.objects.filter(stage__startswith=stage).exists()


def is_nobody_at_work() -> bool:
    """Whether PostgreSQL has noticed the end of whoever held the lock."""
    try:
        with outage.alone():
            return True
    except outage.AlreadyRunningError:
        return False


@contextmanager
def dying(database: Database, sandbox: SandboxProcess) -> Iterator[None]:
    """The command is at work meanwhile, and is killed in the end."""
    wait_until(is_nobody_at_work)
    killed = subprocess.Popen(
        [sys.executable, "manage.py", "recover_outage", "--since", iso_time(SINCE)],
        cwd=BASE_DIR,
        env=child_environment(
            DATABASE_URL=database.url, STRIPE_API_BASE=sandbox.url, STRIPE_SECRET_KEY=SECRET_KEY
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        killed.kill()
        killed.wait(timeout=30)


@contextmanager
def locked(table: str) -> Iterator[Callable[[], bool]]:
    """Somebody else has a table for themselves; tells whether anybody waits for it."""
    other = connection.copy()
    with transaction.atomic(), other.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield lambda: waits_for(table)
        cursor.execute("ROLLBACK")
    other.close()


def waits_for(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE relation = %s::regclass AND NOT granted", [table]
        )
        return cursor.fetchone() is not None


@pytest.mark.long
def test_it_is_killed_in_every_stage_and_ends_well(
    real_database: Database, tmp_path: Path, settings: Settings
) -> None:
    """One recovery, six kills: it goes on each time, and nothing is doubled or lost."""
    with set_back(tmp_path, settings, 4) as sandbox:
        shop = Shop(sandbox)
        old = shop.subscribe(email="bob@example.com", user_id="u_bob")
        shop.deliver()
        sandbox.advance(days=4)
        shop.buy()
        differ()  # what neither an event nor a list of these days tells
        kill(real_database, sandbox, old["customer"])
        wait_until(is_nobody_at_work)
        recovery = outage.recover("outage", since=SINCE, actor="cli:ann", grace=NO_GRACE)

    assert Recovery.objects.get() == recovery
    assert recovery.status == Recovery.Status.DONE
    assert (balance("u_ada"), balance("u_bob")) == ((50, 0), (20, 0))
    assert status_here(old["subscription"]) == "active"
    assert CreditEntry.objects.count() == 2
    assert not MissedEvent.objects.exclude(status="done").exists()
    assert recovery.report["left"] == {"count": 0, "findings": []}
    assert recovery.run.found == 0


def differ() -> None:
    with transaction.atomic(), acting_as("test"):
        BillingSubscription.objects.update(status="incomplete")


def kill(database: Database, sandbox: SandboxProcess, customer: str) -> None:
    """Starts it again and again, each time to be killed one stage later."""

    def until(stage: str, is_there: Callable[[], object] | None = None) -> None:
        with dying(database, sandbox):
            wait_until(lambda: is_at(stage) and (is_there is None or is_there()), seconds=60)
        assert is_at(stage)

    with fault(sandbox, path="/v1/events", delay_seconds=HELD):
        until("listing")
    with locked("lead_credits") as waited_for:
        until("processing", waited_for)
    with fault(sandbox, path="/v1/subscriptions", delay_seconds=HELD):
        until("comparing")
    with fault(sandbox, path="/v1/products", delay_seconds=HELD):
        until("catching up")
    with fault(sandbox, path=f"/v1/customers/{customer}", delay_seconds=HELD):
        until("mending")
    with (
        fault(sandbox, path=f"/v1/customers/{customer}", delay_seconds=2, count=1),
        dying(database, sandbox),
    ):
        wait_until(lambda: is_at("mending"), seconds=60)
        with fault(sandbox, path="/v1/subscriptions", delay_seconds=HELD):
            wait_until(lambda: is_at("verifying"), seconds=60)
