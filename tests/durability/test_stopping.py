"""SIGTERM, as a new version brings it: what is under way comes to its end, and nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg

from billing.ingress import inbox, worker
from billing.models import InboxEvent
from tests.ingress.webhook import as_body, event, signed
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.databases import Database
from tests.support.waiting import wait_until

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"


@contextmanager
def holding(database: Database, table: str) -> Iterator["Hold"]:
    """Nobody can write to this table until `release`."""
    with psycopg.connect(database.url) as locker, psycopg.connect(database.url) as looker:
        looker.autocommit = True
        locker.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield Hold(database, locker, looker)


class Hold:
    def __init__(
        self, database: Database, locker: psycopg.Connection, looker: psycopg.Connection
    ) -> None:
        self.database, self.locker, self.looker = database, locker, looker

    def is_waited_for(self) -> bool:
        row = self.looker.execute(WAITING, [self.database.name]).fetchone()
        return bool(row and row[0])

    def release(self) -> None:
        self.locker.rollback()


def status_of(event_id: str) -> str:
    return InboxEvent.objects.get(stripe_event_id=event_id).status


def test_a_request_and_an_event_that_are_under_way_are_finished(
    back_office: BackOffice, real_database: Database, sandbox: SandboxProcess
) -> None:
    """New requests are refused meanwhile; both processes end by themselves and content."""
    inbox.receive([inbox.parse(as_body(event(id="evt_under_way")))])
    with holding(real_database, "billing_customers") as customers:
        running = back_office.start_worker()
        wait_until(lambda: customers.is_waited_for() or not running.is_alive, seconds=240)
        running.process.send_signal(signal.SIGTERM)
        customers.release()
        assert running.process.wait(240) == 0, running.output
    assert status_of("evt_under_way") == "processed"

    body = as_body(event(id="evt_arriving"))
    secret = back_office.environment["STRIPE_WEBHOOK_SECRET"]
    answers: list[int] = []

    def deliver() -> None:
        answer = httpx.post(
            f"{back_office.url}/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": signed(body, secret=secret)},
            timeout=240,
            trust_env=False,
        )
        answers.append(answer.status_code)

    with holding(real_database, "billing_inbox") as kept:
        sender = threading.Thread(target=deliver)
        sender.start()
        wait_until(kept.is_waited_for, seconds=240)
        back_office.web.process.send_signal(signal.SIGTERM)
        kept.release()
        sender.join()
    assert answers == [200]
    assert back_office.web.process.wait(240) == 0, back_office.web.output
    assert status_of("evt_arriving") == "pending"


def test_a_worker_that_cannot_finish_leaves_it_to_the_next(
    back_office: BackOffice, real_database: Database
) -> None:
    inbox.receive([inbox.parse(as_body(event(id="evt_stuck")))])
    with holding(real_database, "billing_customers") as customers:
        running = back_office.start_worker("--stop-within", "0.2")
        wait_until(lambda: customers.is_waited_for() or not running.is_alive, seconds=240)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(240) == 0, running.output
        assert "left to the next one" in running.output
    assert status_of("evt_stuck") == "pending"
    assert worker.drain().by_status == {"processed": 1}
