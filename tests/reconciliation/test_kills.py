"""A run that is killed, in any of its stages, ends as one that nobody disturbed."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from backoffice.postgres import BASE_DIR
from billing.formatting import iso_time
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingSubscription,
    FindingRecord,
    InboxEvent,
    OperationRecord,
    ReconciliationRun,
    acting_as,
)
from billing.reconciliation import examining, runs
from tests.reconciliation.conftest import Bases
from tests.reconciliation.world import World
from tests.support.environment import SECRET_KEY, child_environment
from tests.support.waiting import wait_until

CUSTOMERS = 80  # more of them differ than are examined together
LOST = 5  # events
HELD = 150  # seconds: longer than anything takes that is not held up
SINCE = (datetime.now(UTC) - timedelta(days=7)).replace(microsecond=0)

Held = Callable[[World], AbstractContextManager[Callable[[], object]]]


def differ() -> None:
    """Every subscription's status is another than at Stripe, and some events are lost."""
    with transaction.atomic(), acting_as("test"):
        BillingSubscription.objects.exclude(status="incomplete").update(status="incomplete")
        lost = InboxEvent.objects.order_by("-stripe_created_at", "id")[:LOST]
        InboxEvent.objects.filter(pk__in=lost.values("pk")).delete()


def outcome() -> dict[str, Any]:
    """All that a run leaves, apart from when and how long."""
    run = ReconciliationRun.objects.get()
    says = ("kind", "subject", "state", "severity", "verdict", "amount", "currency", "credits")
    return {
        "run": [run.status, run.error, run.stage, run.counts, run.differences, run.at_stake],
        "measures": run.measures,
        "in_flight": run.in_flight,
        "report": sorted(run.report),
        "findings": list(FindingRecord.objects.order_by("kind", "subject").values_list(*says)),
        "of_this_run": FindingRecord.objects.filter(run=run).count(),
        "left_over": [run.suspects.count(), run.slices.count()],
        "operations": OperationRecord.objects.count(),
        "log": BillingEvent.objects.count(),
    }


@pytest.fixture(scope="module")
def undisturbed(
    bases: Bases, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run finds that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with django_db_blocker.unblock(), bases(CUSTOMERS).copy(folder):
        differ()
        runs.reconcile("weekly", actor="cli:rita", since=SINCE)
        return outcome()


@pytest.fixture
def world(bases: Bases, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[World]:
    with django_db_blocker.unblock(), bases(CUSTOMERS).copy(tmp_path) as copied:
        differ()
        yield copied


@contextmanager
def slow(world: World, path: str) -> Iterator[None]:
    """Stripe does not answer in time what is asked of a path."""
    world.sandbox.control("faults", path=path, delay_seconds=HELD)
    yield
    world.sandbox.control("faults", http="DELETE")


@contextmanager
def in_reading(world: World) -> Iterator[Callable[[], object]]:
    """Some lists are read, and one is not."""
    with slow(world, "/v1/invoices"):
        yield ReconciliationRun.objects.filter(slices__done=True).exists


@contextmanager
def in_books(world: World) -> Iterator[Callable[[], object]]:
    """A question to the books waits for a table that somebody has locked."""
    other = connection.copy()
    with transaction.atomic(), other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE lead_claims IN ACCESS EXCLUSIVE MODE")
        yield lambda: waits_for("lead_claims")
        cursor.execute("ROLLBACK")
    other.close()


@contextmanager
def in_examining(world: World) -> Iterator[Callable[[], object]]:
    """The first people are examined; Stripe does not answer about the last one."""
    customers = BillingSubscription.objects.values("stripe_customer_id")
    last = BillingCustomer.objects.filter(stripe_customer_id__in=customers).latest("user_id")
    theirs = BillingSubscription.objects.filter(stripe_customer_id=last.stripe_customer_id)
    with slow(world, f"/v1/subscriptions/{theirs.latest('id').stripe_subscription_id}"):
        yield FindingRecord.objects.exists


@contextmanager
def in_measuring(world: World) -> Iterator[Callable[[], object]]:
    """All are examined; Stripe does not say what has moved its balance."""
    with slow(world, "/v1/balance_transactions"):
        yield ReconciliationRun.objects.filter(stage="measuring").exists


def waits_for(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE relation = %s::regclass AND NOT granted", [table]
        )
        return cursor.fetchone() is not None


def is_nobody_at_work() -> bool:
    """Whether PostgreSQL has noticed the end of whoever held the lock of all runs."""
    try:
        with runs.alone():
            return True
    except runs.AlreadyRunningError:
        return False


@pytest.mark.parametrize("held", [in_reading, in_books, in_examining, in_measuring])
def test_a_run_that_is_killed_ends_as_one_that_was_not(
    held: Held, world: World, undisturbed: dict[str, Any]
) -> None:
    """SIGKILL in each stage; the next start goes on with the same run, and doubles nothing."""
    with held(world) as is_there:
        killed = subprocess.Popen(
            [sys.executable, "manage.py", "reconcile", "weekly", "--since", iso_time(SINCE)],
            cwd=BASE_DIR,
            env=child_environment(
                DATABASE_URL=world.database.url,
                STRIPE_API_BASE=world.sandbox.url,
                STRIPE_SECRET_KEY=SECRET_KEY,
            ),
            stdout=subprocess.DEVNULL,
        )
        wait_until(is_there, seconds=120)
        with pytest.raises(runs.AlreadyRunningError, match="under way, started by cli:"):
            runs.reconcile("daily", actor="cli:rita")
        killed.send_signal(signal.SIGKILL)
        killed.wait(timeout=30)
    wait_until(is_nobody_at_work)

    before = ReconciliationRun.objects.get()
    assert (before.status, before.stage.partition(":")[0]) == ("running", held.__name__[3:])
    assert FindingRecord.objects.count() < len(undisturbed["findings"]) or held is in_measuring
    run = runs.reconcile("weekly", actor="cli:rita")
    assert run.pk == before.pk
    assert outcome() == undisturbed


def test_more_people_differ_than_are_examined_together(undisturbed: dict[str, Any]) -> None:
    assert len(undisturbed["findings"]) > examining.PEOPLE + LOST
    assert undisturbed["run"][0] == "done"
    assert undisturbed["left_over"] == [0, 0]
    assert undisturbed["of_this_run"] == len(undisturbed["findings"])
    assert undisturbed["operations"] == 0
