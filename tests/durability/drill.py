"""Processes are killed while Stripe delivers; in the end everything must be as if not.

The sandbox delivers, signed, with retries, to a real web server; a real worker processes;
both and their PostgreSQL server are killed with SIGKILL in the middle of their work, and
started again. Then the same events are delivered to a second back office with a database of
its own, which nobody disturbs, and all rows of both are compared.
"""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from backoffice.postgres import DATABASE, EmbeddedServer
from backoffice.processes import Child, address, listen, web_command
from tests.durability.rows import contents, differences
from tests.durability.traffic import Traffic
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.environment import SECRET_KEY, child_environment
from tests.support.waiting import wait_until

UNDISTURBED = "undisturbed"  # the other database
RETRIES = ("--retry-schedule", "0.2,0.5,1,1,2,2,3,3,5,5,5,5", "--delivery-timeout", "5")
PATIENCE = 180  # seconds: a dead worker's events are free again after 60

Say = Callable[[str], None]


class Deployment:
    """A web server and a worker on a database, and their endpoint at the sandbox."""

    def __init__(self, url: str, sandbox: SandboxProcess, logs: Path) -> None:
        self.database = url
        self.logs = logs
        self.listener = listen(0)
        self.endpoint = sandbox.stripe.v1.webhook_endpoints.create(
            {"url": f"{address(self.listener)}/webhooks/stripe", "enabled_events": ["*"]}
        )
        self.environment = child_environment(
            DATABASE_URL=url,
            STRIPE_API_BASE=sandbox.url,
            STRIPE_SECRET_KEY=SECRET_KEY,
            STRIPE_WEBHOOK_SECRET=str(self.endpoint.secret),
        )
        self.web = self.start_web()
        self.worker = self.start_worker()

    def start_web(self) -> Child:
        """The listening socket stays: who connects meanwhile waits in its queue."""
        return Child(
            "web",
            web_command(self.listener, workers=1),
            log=self.logs / "web.log",
            env=self.environment,
            fds=[self.listener.fileno()],
        )

    def start_worker(self) -> Child:
        return Child(
            "worker",
            [sys.executable, "manage.py", "run_worker"],
            log=self.logs / "worker.log",
            env=self.environment,
        )

    def close(self) -> None:
        for child in (self.worker, self.web):
            child.kill()
        self.listener.close()

    def wait_until_done(self) -> None:
        """Until the worker has done all that is in the inbox."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            wait_until(lambda: count_open(connection) == 0, seconds=PATIENCE)


def count_open(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(*) FROM billing_inbox WHERE status IN ('pending', 'failed')"
    ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def deployment(url: str, sandbox: SandboxProcess, logs: Path) -> Iterator[Deployment]:
    deployed = Deployment(url, sandbox, logs)
    try:
        yield deployed
    finally:
        deployed.close()


class Drill:
    """The disturbed run: traffic, and kills in the middle of it."""

    def __init__(
        self, server: EmbeddedServer, sandbox: SandboxProcess, deployed: Deployment, say: Say
    ) -> None:
        self.server = server
        self.sandbox = sandbox
        self.deployed = deployed
        self.say = say
        self.kills: list[Callable[[], None]] = [
            self.kill_worker,
            self.kill_database,
            self.kill_web,
        ]

    def run(self, traffic: Traffic, deliveries: int, every: int) -> None:
        """Traffic until so many events were made, with a kill after each `every` of them."""
        killed = 0
        while traffic.events < deliveries:
            traffic.tell()
            if traffic.events >= every * (killed + 1) and traffic.events < deliveries:
                self.kills[killed % len(self.kills)]()
                killed += 1
        wait_until(self.is_delivered, seconds=PATIENCE)
        self.deployed.wait_until_done()
        assert self.deployed.web.is_alive, self.deployed.web.output
        assert self.deployed.worker.is_alive, self.deployed.worker.output

    def kill_worker(self) -> None:
        self.say(f"killing the worker {self.moment()}")
        self.deployed.worker.kill()
        self.deployed.worker = self.deployed.start_worker()

    def kill_database(self) -> None:
        self.say(f"killing PostgreSQL {self.moment()}")
        self.server.kill()
        self.server.ensure_running()

    def kill_web(self) -> None:
        self.say(f"killing the web server with {self.outbox('pending')} deliveries under way")
        self.deployed.web.kill()
        self.deployed.web = self.deployed.start_web()

    def moment(self) -> str:
        """Waits for a moment in which the worker is in the middle of a transaction."""
        writing = (
            "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'RowExclusiveLock'"
            " AND relation = 'billing_stripe_versions'::regclass AND pid <> pg_backend_pid())"
        )
        deadline = time.monotonic() + 3
        with psycopg.connect(self.deployed.database, autocommit=True) as connection:
            while time.monotonic() < deadline:
                if connection.execute(writing).fetchone() == (True,):
                    return f"while it writes, with {count_open(connection)} events open"
                time.sleep(0.001)
            return f"while it does nothing, with {count_open(connection)} events open"

    def is_delivered(self) -> bool:
        return not self.outbox("pending")

    def outbox(self, state: str) -> int:
        counts: dict[str, int] = self.sandbox.control("state", http="GET")["outbox"]
        return counts.get(state, 0)


def run_drill(
    server: EmbeddedServer,
    folder: Path,
    *,
    deliveries: int,
    every: int,
    seed: int = 1,
    say: Say = lambda text: None,
) -> None:
    """The whole drill on a migrated server. Raises AssertionError where a row is not right.

    `every` is the number of deliveries between two kills; `folder` takes logs and the sandbox.
    """
    disturbed, undisturbed = server.url(), server.url(UNDISTURBED)
    copy_database(server)
    with ExitStack() as stack:
        sandbox = stack.enter_context(run_sandbox(folder / "stripe.sqlite3", extra_args=RETRIES))
        deployed = stack.enter_context(deployment(disturbed, sandbox, folder / "disturbed"))
        traffic = Traffic(sandbox, seed)
        started = time.monotonic()
        Drill(server, sandbox, deployed, say).run(traffic, deliveries, every)
        say(f"{traffic.events} events were delivered in {time.monotonic() - started:.0f} s")
        deployed.close()
        check_events(disturbed, sandbox, str(deployed.endpoint.id))
        check_credits(disturbed, traffic)

        calm = stack.enter_context(deployment(undisturbed, sandbox, folder / "undisturbed"))
        resend(sandbox, str(calm.endpoint.id))
        calm.wait_until_done()
        calm.close()
        compared = check_rows(disturbed, undisturbed)
        say(f"{compared} rows are the same as those of an undisturbed run")


def copy_database(server: EmbeddedServer) -> None:
    """A second database, as empty as the first."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(UNDISTURBED), sql.Identifier(DATABASE)
            )
        )


def ask(sandbox: SandboxProcess, query: str, *values: str) -> list[str]:
    """One column of the sandbox's own file."""
    with closing(sqlite3.connect(sandbox.data)) as stripe:
        return [value for (value,) in stripe.execute(query, values)]


def events(sandbox: SandboxProcess) -> list[str]:
    """The ids of all events, in the order in which they were made."""
    return ask(sandbox, "SELECT id FROM objects WHERE kind = 'event' ORDER BY seq")


def resend(sandbox: SandboxProcess, endpoint: str) -> None:
    """Delivers every event to an endpoint that did not exist when it was made."""
    for event in events(sandbox):
        sandbox.post(f"/v1/events/{event}/retry", {"webhook_endpoint": endpoint}).raise_for_status()
    sandbox.control("deliver")


def check_events(url: str, sandbox: SandboxProcess, endpoint: str) -> None:
    """Every event that Stripe had a 200 for was processed, and that was every event."""
    acknowledged = set(
        ask(
            sandbox,
            "SELECT event FROM deliveries WHERE endpoint = ? AND status_code = 200",
            endpoint,
        )
    )
    with psycopg.connect(url) as connection:
        statuses = dict(connection.execute("SELECT stripe_event_id, status FROM billing_inbox"))
        logged = [
            event
            for (event,) in connection.execute(
                "SELECT stripe_event_id FROM billing_events WHERE stripe_event_id IS NOT NULL"
            )
        ]
    assert acknowledged == set(events(sandbox))
    assert statuses.keys() == acknowledged
    assert set(statuses.values()) <= {"processed", "ignored"}, statuses
    assert sorted(logged) == sorted(acknowledged)


def check_credits(url: str, traffic: Traffic) -> None:
    """Balances are what the stories come to, and the sums of the ledger."""
    with psycopg.connect(url) as connection:
        balances = connection.execute("SELECT user_id, balance - owed FROM lead_credits").fetchall()
        sums = connection.execute(
            "SELECT user_id, sum(delta)::bigint, sum(owed_delta)::bigint FROM credit_entries"
            " GROUP BY user_id EXCEPT SELECT user_id, balance, owed FROM lead_credits"
        ).fetchall()
    assert dict(balances) == dict(traffic.credits)
    assert sums == []


def check_rows(disturbed: str, undisturbed: str) -> int:
    """Both databases hold the same; how many rows were compared."""
    found, expected = contents(disturbed), contents(undisturbed)
    differing = differences(found, expected)
    assert not differing, "\n".join([f"{len(differing)} rows differ:", *differing[:20]])
    return sum(rows.total() for rows in found.values())
