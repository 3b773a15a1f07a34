"""Behind pgbouncer in transaction mode: the web server's statements share a few sessions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection, connections, transaction

from backoffice.settings import read_address
from billing.database import DIRECT, direct, directly, held, some, stream, use_pool
from billing.ingress import inbox
from billing.models import InboxEvent, LeadCredits
from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from tests.ingress.webhook import as_body, event, signed
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import run_back_office
from tests.support.databases import Database
from tests.support.pgbouncer import run_pgbouncer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.pgbouncer
SESSIONS = 2
AT_ONCE = 8
MANY = 4_001  # rows: more than are read at a time


@pytest.fixture
def pooled(real_database: Database) -> Iterator[str]:
    """This process goes through the pool, as the web server does (backoffice.wsgi)."""
    known: dict[str, Any] = connections.settings
    own = known["default"]
    with run_pgbouncer(real_database, sessions=SESSIONS) as url:
        connections["default"].close()
        del connections["default"]  # made anew, with the settings of then
        use_pool(read_address("DATABASE_POOL_URL", url) | {"DISABLE_SERVER_SIDE_CURSORS": True})
        yield url
        for alias in ("default", DIRECT):
            connections[alias].close()
            del connections[alias]
        del known[DIRECT]
        known["default"] = own


def in_threads(work: Any, times: int) -> list[Any]:
    """What `work(n)` gives for each n, all at once, each with connections of its own."""

    def alone(number: int) -> Any:
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(alone, range(times)))


def sessions_of(which: str) -> int:
    """How many sessions hold something that is the session's own."""
    with direct().cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            if which == "locks"
            else "SELECT count(*) FROM pg_cursors"
        )
        return int(cursor.fetchone()[0])


def test_operations_on_one_subject_take_turns_and_leave_no_lock(pooled: str) -> None:
    def grant(number: int) -> None:
        GrantCredits(
            user_id="u_ada", amount=1, actor=Actor.cli("test"), reason="Many at once."
        ).apply()

    in_threads(grant, AT_ONCE)
    assert LeadCredits.objects.get(user_id="u_ada").balance == AT_ONCE
    assert sessions_of("locks") == 0


def test_a_named_lock_is_held_by_one_and_given_back(pooled: str) -> None:
    with held("x", RuntimeError):
        assert in_threads(could_hold, 1) == [False]
    assert in_threads(could_hold, 1) == [True]
    assert sessions_of("locks") == 0


def could_hold(number: int) -> bool:
    try:
        with held("x", RuntimeError):
            return True
    except RuntimeError:
        return False


def test_long_reading_has_a_session_of_its_own(pooled: str) -> None:
    inbox.receive([inbox.parse(as_body(event(id=f"evt_{n}"))) for n in range(3)])

    def read(number: int) -> tuple[int, int, int]:
        numbers = stream("SELECT n FROM generate_series(1, %s) AS n", [MANY])
        first = [next(numbers)["n"] for _ in range(3)]
        streamed = len(first) + sum(1 for _ in numbers)
        with transaction.atomic():
            within = sum(1 for _ in stream("SELECT generate_series(1, %s) AS n", [MANY]))
        few = some(stream("SELECT generate_series(1, %s) AS n", [MANY]), 10, 5)
        rows = directly(InboxEvent.objects.order_by("id").values_list("pk"))
        assert [row["n"] for row in few] == [11, 12, 13, 14, 15]
        return streamed, within, sum(1 for _ in rows.iterator(chunk_size=2))

    assert in_threads(read, AT_ONCE) == [(MANY, MANY, 3)] * AT_ONCE
    assert sessions_of("cursors") == 0


def test_nothing_of_one_request_leaks_into_the_next(pooled: str) -> None:
    def settings_of(number: int) -> set[str]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'),"
                " coalesce(current_setting('billing.actor', true), '')"
            )
            return set(cursor.fetchone())

    GrantCredits(user_id="u_ada", amount=1, actor=Actor.cli("test"), reason="Before.").apply()
    assert set().union(*in_threads(settings_of, AT_ONCE)) == {"0", ""}


def test_the_web_server_behind_it_takes_webhooks_and_wakes_the_worker(
    real_database: Database, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Of the server's connections the web server then takes no more than the pool has."""
    with (
        run_pgbouncer(real_database, sessions=SESSIONS) as url,
        run_back_office(
            real_database.url, sandbox, tmp_path / "logs", DATABASE_POOL_URL=url
        ) as back_office,
    ):
        back_office.start_worker()
        secret = back_office.environment["STRIPE_WEBHOOK_SECRET"]

        def deliver(number: int) -> int:
            body = as_body(event(id=f"evt_{number}"))
            headers = {"Stripe-Signature": signed(body, secret=secret)}
            address = f"{back_office.url}/webhooks/stripe"
            answer = httpx.post(
                address, content=body, headers=headers, timeout=240, trust_env=False
            )
            return answer.status_code

        assert in_threads(deliver, AT_ONCE) == [200] * AT_ONCE, back_office.web.output
        processed = InboxEvent.objects.filter(status=InboxEvent.Status.PROCESSED)
        wait_until(lambda: processed.count() == AT_ONCE, seconds=240)
