"""A company's own receivers: called once, after an event's effects have committed."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections
from djstripe.event_handlers import djstripe_receiver
from djstripe.models import Event
from djstripe.signals import WEBHOOK_SIGNALS

from backoffice.postgres import BASE_DIR
from billing.ingress import worker
from billing.models import BillingCustomer, InboxEvent
from tests.ingress.webhook import as_body, deliver, event
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database
from tests.support.environment import child_environment

pytestmark = pytest.mark.usefixtures("real_database", "sandbox")

CREATED = "customer.created"


@contextmanager
def registered(call: Callable[[Event], None], *types: str) -> Iterator[None]:
    """Has `call` called with each event of these types."""

    def receiver(sender: Any, event: Event, **kwargs: Any) -> None:
        assert sender is Event
        call(event)

    djstripe_receiver(list(types))(receiver)
    try:
        yield
    finally:
        for kind in types:
            assert WEBHOOK_SIGNALS[kind].disconnect(receiver, sender=Event)


def customer(number: int = 1, kind: str = CREATED) -> dict[str, Any]:
    """An event about a customer of its own."""
    data = {"object": {"id": f"cus_{number}", "object": "customer", "created": int(time.time())}}
    return event(id=f"evt_{number}", type=kind, data=data)


def take_in(*events: dict[str, Any]) -> None:
    for one in events:
        assert deliver(as_body(one)).status_code == 200


def test_it_is_called_once_with_dj_stripes_event_after_the_commit(real_database: Database) -> None:
    seen: list[tuple[str, str]] = []

    def call(event: Event) -> None:
        assert not connection.in_atomic_block
        with psycopg.connect(real_database.url) as other:
            row = other.execute(
                "SELECT i.status FROM billing_inbox i JOIN billing_customers ON object_id ="
                " stripe_customer_id WHERE stripe_event_id = %s",
                [event.id],
            ).fetchone()
        assert row is not None
        seen.append((event.data["object"]["id"], row[0]))

    with registered(call, CREATED):
        take_in(customer(1), customer(2, "customer.updated"))
        worker.drain()
        assert seen == [("cus_1", "processed")]
        take_in(customer(1))
        worker.drain()
        worker.work(1)
    assert seen == [("cus_1", "processed")]
    row = InboxEvent.objects.get(stripe_event_id="evt_1")
    assert (row.receivers_due, row.receiver_error) == (False, "")


def test_types_that_need_nothing_of_us_have_receivers_too() -> None:
    seen: list[str] = []
    with registered(lambda event: seen.append(event.type), "customer.tax_id.created"):
        take_in(customer(kind="customer.tax_id.created"))
        assert worker.drain().by_status == {"ignored": 1}
    assert seen == ["customer.tax_id.created"]


def test_its_failure_is_shown_on_the_event_and_undoes_nothing() -> None:
    seen: list[str] = []

    def fail(event: Event) -> None:
        if event.id == "evt_1":
            raise RuntimeError("the CRM is down")

    with registered(fail, CREATED), registered(lambda event: seen.append(event.id), CREATED):
        take_in(customer(1), customer(2))
        assert worker.drain().by_status == {"processed": 2}
    failed, other = InboxEvent.objects.order_by("id")
    assert failed.status == other.status == "processed"
    assert "RuntimeError: the CRM is down" in failed.receiver_error
    assert __name__ in failed.receiver_error
    assert other.receiver_error == ""
    assert not failed.receivers_due
    assert seen == ["evt_1", "evt_2"]
    assert BillingCustomer.objects.count() == 2


def test_a_replay_calls_only_receivers_that_failed() -> None:
    seen: list[str] = []
    down = [True]

    def fail_while_down(event: Event) -> None:
        seen.append(event.id)
        if down and event.id == "evt_1":
            raise RuntimeError("the CRM is down")

    with registered(fail_while_down, CREATED):
        take_in(customer(1), customer(2))
        worker.drain()
        down.clear()
        worker.process(["evt_1", "evt_2"], actor="cli:test")
    assert seen == ["evt_1", "evt_2", "evt_1"]
    assert set(InboxEvent.objects.values_list("receiver_error", flat=True)) == {""}


def test_an_event_that_failed_is_not_told_until_it_is_processed(sandbox: SandboxProcess) -> None:
    seen: list[str] = []
    sandbox.control("faults", path="/v1/account", status=429)
    with registered(lambda event: seen.append(event.id), CREATED):
        take_in(customer())
        assert worker.drain().by_status == {"failed": 1}
        assert seen == []
        sandbox.control("faults", http="DELETE")
        assert worker.drain().by_status == {"processed": 1}
    assert seen == ["evt_1"]


DYING_WORKER = """
    import os, signal
    import django
    django.setup()
    from djstripe.event_handlers import djstripe_receiver
    from billing.ingress import worker

    @djstripe_receiver("customer.created")
    def die(sender, event, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    worker.drain()
"""


def test_after_a_crash_between_the_commit_and_the_call_it_is_still_called(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    take_in(*(customer(number) for number in (1, 2, 3)))
    died = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DYING_WORKER)],
        cwd=BASE_DIR,
        env=child_environment(
            DATABASE_URL=real_database.url,
            STRIPE_API_BASE=sandbox.url,
            DJANGO_SETTINGS_MODULE="backoffice.settings",
        ),
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    rows = InboxEvent.objects.order_by("id").values_list("status", "receivers_due")
    assert list(rows) == [("processed", False), ("processed", True), ("processed", True)]
    interrupted = InboxEvent.objects.get(stripe_event_id="evt_1")
    assert "did not return" in interrupted.receiver_error

    seen: list[str] = []
    with registered(lambda event: seen.append(event.id), CREATED):
        worker.work(1)
        worker.work(1)
    assert seen == ["evt_2", "evt_3"]


def test_it_is_called_once_where_two_processes_have_the_same_event(
    real_database: Database,
) -> None:
    seen: list[str] = []
    take_in(customer())

    def run(process: Callable[[], object]) -> None:
        process()
        connections.close_all()

    with (
        registered(lambda event: seen.append(event.id), CREATED),
        psycopg.connect(real_database.url) as holder,
    ):
        holder.execute("LOCK TABLE billing_stripe_versions")
        threads = [
            threading.Thread(target=run, args=[process])
            for process in (lambda: worker.work(1), worker.drain)
        ]
        for number, thread in enumerate(threads, start=1):
            thread.start()
            wait_for_waiters(holder, number)
        holder.rollback()
        for thread in threads:
            thread.join()
    assert InboxEvent.objects.get().attempts == 2
    assert seen == ["evt_1"]


def wait_for_waiters(holder: psycopg.Connection, count: int) -> None:
    """Returns once `count` other sessions wait for a lock."""
    deadline = time.monotonic() + 20
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
    while holder.execute(waiting).fetchone() != (count,):
        assert time.monotonic() < deadline
        time.sleep(0.01)
