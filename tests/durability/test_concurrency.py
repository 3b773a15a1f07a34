"""Several processes and threads at once: the same rows, and sums that are right."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import httpx
import pytest
from django.db import connections, transaction

from backoffice.processes import Child
from billing.models import BillingCustomer, CreditEntry, InboxEvent, LeadCredits, acting_as
from billing.projection import ledger
from billing.projection.ledger import Entry
from tests.durability.drill import check_credits
from tests.durability.rows import contents, differences
from tests.durability.traffic import Traffic
from tests.ingress.webhook import PATH, as_body, event, signed
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice, run_manage
from tests.support.databases import Database, Databases
from tests.support.environment import child_environment
from tests.support.events import deliver, events_of
from tests.support.waiting import wait_until

GRANT = CreditEntry.Kind.GRANT

SETTLED = ("processed", "ignored")


# --- The inbox ------------------------------------------------------------------------------


@pytest.mark.long
def test_workers_and_drains_at_once_end_in_the_same_rows_as_one(
    real_database: Database, databases: Databases, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    traffic = Traffic(sandbox, seed=3)
    while traffic.events < 250:
        traffic.tell()
    events = events_of(sandbox)
    Random(3).shuffle(events)
    deliver(events)
    alone = copy_of(real_database, databases)
    try:
        with several(real_database, sandbox, tmp_path):
            wait_until(lambda: not InboxEvent.objects.filter(status="pending").exists())
        run_manage("process_inbox", "--drain", env=environment(alone, sandbox))
        check_credits(real_database.url, traffic)
        differing = differences(contents(real_database.url), contents(alone.url))
        assert not differing, "\n".join(differing[:10])
    finally:
        databases.drop(alone)
    statuses = InboxEvent.objects.values_list("status", flat=True)
    assert set(statuses) == {"processed", "ignored"}  # nothing depends on `plan.created`
    assert len(statuses) == len(events)


def environment(database: Database, sandbox: SandboxProcess) -> dict[str, str]:
    return child_environment(DATABASE_URL=database.url, STRIPE_API_BASE=sandbox.url)


def copy_of(database: Database, databases: Databases) -> Database:
    """Another database with the same rows."""
    copy = databases.create(empty=True)
    databases.drop(copy)
    connections.close_all()
    databases.execute("CREATE DATABASE {} TEMPLATE {}", copy.name, database.name)
    return copy


@contextmanager
def several(database: Database, sandbox: SandboxProcess, logs: Path) -> Iterator[None]:
    """Two workers and two drains at work, until the drains are done and the block is left."""

    def start(name: str, *arguments: str) -> Child:
        return Child(
            name,
            [sys.executable, "manage.py", *arguments],
            log=logs / f"{name}.log",
            env=environment(database, sandbox),
        )

    workers = [start(f"worker-{number}", "run_worker") for number in (1, 2)]
    drains = [start(f"drain-{number}", "process_inbox", "--drain") for number in (1, 2)]
    try:
        yield
        for drain in drains:
            assert drain.process.wait(60) == 0, drain.output
        for worker in workers:
            assert worker.stop() == 0, worker.output
    finally:
        for child in (*workers, *drains):
            child.kill()


def test_an_event_that_comes_often_at_once_is_one_row(back_office: BackOffice) -> None:
    body = as_body(event())
    header = signed(body, secret=back_office.environment["STRIPE_WEBHOOK_SECRET"])

    def post(_: int) -> int:
        return httpx.post(
            back_office.url + PATH,
            content=body,
            headers={"Stripe-Signature": header},
            trust_env=False,
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(post, range(40))) == {200}
    assert InboxEvent.objects.count() == 1


@pytest.mark.long
def test_while_stripe_cannot_be_reached_events_are_acknowledged_and_later_processed(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    traffic = Traffic(sandbox, seed=1)
    sandbox.control("faults", path="/v1/*", status=503)
    worker = back_office.start_worker()
    traffic.buy()
    wait_until(lambda: InboxEvent.objects.count() == traffic.events)
    wait_until(lambda: not InboxEvent.objects.filter(status="pending").exists(), seconds=90)
    assert all(
        delivery["status_code"] == 200
        for delivery in sandbox.control("state", http="GET")["deliveries"]
    )
    asking = InboxEvent.objects.exclude(type="plan.created")  # which needs nothing of Stripe
    assert set(asking.values_list("status", flat=True)) == {"failed"}
    assert not BillingCustomer.objects.exists()

    sandbox.control("faults", http="DELETE")
    wait_until(lambda: not InboxEvent.objects.exclude(status__in=SETTLED).exists(), seconds=90)
    assert dict(LeadCredits.objects.values_list("user_id", "balance")) == dict(traffic.credits)
    assert worker.is_alive, worker.output


def test_the_web_server_asks_stripe_nothing(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    traffic = Traffic(sandbox, seed=1)
    sandbox.control("counters/reset")
    traffic.subscribe()
    wait_until(lambda: InboxEvent.objects.count() == traffic.events)
    assert sandbox.control("counters", http="GET")["total"] == 0


# --- The ledger -----------------------------------------------------------------------------


def at_once(*works: Callable[[], None]) -> None:
    """Runs them in threads that start together; raises what one of them raised."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait(10)
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result()


def post(*entries: Entry) -> None:
    with transaction.atomic(), acting_as("cli:test"):
        ledger.post(entries)


@pytest.mark.usefixtures("real_database")
def test_posts_by_several_threads_to_one_user_add_up() -> None:
    def work(seed: int) -> Callable[[], None]:
        chance = Random(seed)
        amounts = [chance.randint(-4, 5) for _ in range(40)]
        return lambda: [post(Entry("ada", amount, GRANT)) for amount in amounts] and None

    def raw() -> None:
        for _ in range(20):
            with connections["default"].cursor() as cursor:
                cursor.execute(
                    "INSERT INTO lead_credits (user_id, balance) VALUES ('ada', 1)"
                    " ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance + 1"
                )

    def correct() -> None:
        for value in range(20):
            with transaction.atomic(), acting_as("cli:test"):
                ledger.correct("ada", value)

    at_once(work(1), work(2), raw, correct)
    entries = list(CreditEntry.objects.order_by("id"))
    assert len(entries) > 80
    balance = owed = 0
    for entry in entries:
        balance, owed = balance + entry.delta, owed + entry.owed_delta
        assert (entry.balance_after, entry.owed_after) == (balance, owed)
        assert balance >= 0
        assert owed >= 0
    account = LeadCredits.objects.get()
    assert (account.balance, account.owed) == (balance, owed)


@pytest.mark.usefixtures("real_database")
def test_one_source_is_posted_once_whoever_comes_first() -> None:
    def work(reason: str) -> Callable[[], None]:
        return lambda: (
            [post(Entry("ada", 7, GRANT, f"checkout:cs_{number}", reason)) for number in range(20)]
            and None
        )

    at_once(work("webhook"), work("replay"), work("sync"))
    assert LeadCredits.objects.get().balance == 7 * 20
    assert CreditEntry.objects.count() == 20


@pytest.mark.usefixtures("real_database")
def test_threads_that_post_to_the_same_users_do_not_block_each_other() -> None:
    users = [f"user-{number}" for number in range(10)]

    def work(order: list[str]) -> Callable[[], None]:
        return lambda: (
            [post(*(Entry(user, 1, GRANT) for user in order)) for _ in range(15)] and None
        )

    at_once(work(users), work(users[::-1]), work(Random(1).sample(users, 10)))
    balances = LeadCredits.objects.values_list("user_id", "balance")
    assert dict(balances) == dict.fromkeys(users, 45)


def test_a_drain_says_by_its_exit_code_that_something_failed(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    deliver([event(data={"object": {"id": "cus_1", "object": "customer", "created": "x"}})])
    env = environment(real_database, sandbox)
    drained = run_manage("process_inbox", "--drain", "--json", env=env, check=False)
    assert (drained.returncode, json.loads(drained.stdout)["by_status"]) == (1, {"dead": 1})
