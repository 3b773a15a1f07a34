"""The back office under load, and what is measured of it meanwhile."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from backoffice.postgres import EmbeddedServer
from backoffice.processes import Child
from billing.formatting import iso_time
from tests.admin.desk import PASSWORD
from tests.bench.pages import resident
from tests.durability.drill import RETRIES, count_open
from tests.durability.traffic import Traffic
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.soak.load import Actor, Buyers, Command, Faults, Marketplace, Operators
from tests.support.back_office import BackOffice, run_back_office, run_manage
from tests.support.databases import migrate
from tests.support.waiting import wait_until

SAMPLE = 5.0  # seconds between two looks
PATIENCE = 300  # seconds for what is left in the end
OPERATORS = ("olga", "omar")
AS_DEPLOYED = {"MALLOC_ARENA_MAX": "2"}  # as the image and the units in deploy/
LONG = """
    SELECT date_trunc('second', now()) AS at, pid, application_name, clock_timestamp() - xact_start,
        state, wait_event, left(regexp_replace(query, '\\s+', ' ', 'g'), 200)
    FROM pg_stat_activity
    WHERE xact_start < clock_timestamp() - interval '1 second' AND backend_type = 'client backend'
"""


@dataclass
class Sample:
    """What there was at a moment: memory in bytes by process, dead rows and rows by table."""

    memory: dict[str, int]
    dead: dict[str, int]
    live: dict[str, int]
    waiting: int  # events
    long: list[str] = field(default_factory=list)  # transactions of over a second, and their last


@dataclass
class Soaked:
    """All that a run came to. `lost` are events, `unequal` users whose credits are wrong."""

    samples: list[Sample]
    figures: dict[str, Any]
    lost: set[str] = field(default_factory=set)
    doubled: int = 0
    unequal: dict[str, tuple[int, int]] = field(default_factory=dict)
    lock_waits: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Office:
    """What runs: `worker` lives all the time, the second one is killed and replaced."""

    url: str
    sandbox: SandboxProcess
    back_office: BackOffice
    worker: Child
    second: Child

    def replace_worker(self) -> None:
        self.second.kill()
        self.second = self.back_office.start_worker()

    def processes(self) -> Iterator[tuple[str, int]]:
        """Those that live all the time: by name, their ids."""
        yield "worker", self.worker.process.pid
        yield "web", self.back_office.web.process.pid
        for number, child in enumerate(children(self.back_office.web.process.pid), start=1):
            yield f"web-{number}", child


def soak(folder: Path, seconds: float, *, seed: int, pause: float, lock_wait: float) -> Soaked:
    """Load for so many seconds, then until everything is done; and what became of it.

    Waits for a lock are noted from `lock_wait` seconds on.
    """
    with running(folder, lock_wait) as office:
        stopping, began = threading.Event(), datetime.now(UTC)
        traffic = Traffic(office.sandbox, seed)
        short = min(60.0, seconds / 8)
        environment = office.back_office.environment
        operators = [
            Operators(stopping, office.back_office.url, name, number)
            for number, name in enumerate(OPERATORS)
        ]
        market = Marketplace(stopping, office.url)
        actors: list[Actor] = [
            Buyers(stopping, traffic, pause),
            market,
            *operators,
            Command(stopping, environment, 2 * short, "reconcile", "daily"),
            Command(stopping, environment, short, "export_books"),
            Faults(stopping, office, short),
        ]
        for actor in actors:
            actor.start()
        samples = list(sampled(office, seconds))
        stopping.set()
        for actor in actors:
            actor.join()
        come_to_rest(office)
        lost_on_the_way, _ = missed(office)
        recovered = run_manage(
            "recover_outage", "--since", iso_time(began), env=environment, check=False
        )
        come_to_rest(office)
        soaked = Soaked(samples, figures(office, actors, samples, seconds))
        soaked.figures |= {
            "events lost on the way": len(lost_on_the_way),
            f"recover_outage ended with {recovered.returncode}": 1,
        }
        soaked.errors = [f"{actor.name}: {actor.error}" for actor in actors if actor.error]
        if recovered.returncode > 1:
            soaked.errors.append(f"recover_outage: {recovered.stdout}{recovered.stderr}")
        soaked.lost, soaked.doubled = missed(office)
        expected = Counter(traffic.credits)
        for each in operators:
            expected.update(each.given)
        expected.subtract(market.spent)
        soaked.unequal = unequal(office, expected)
        soaked.lock_waits = lock_waits(office_log(folder))
        return soaked


@contextmanager
def running(folder: Path, lock_wait: float) -> Iterator[Office]:
    server = EmbeddedServer(folder / "postgres")
    server.ensure_running()
    try:
        url = server.url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET log_lock_waits = on")
            # Is written to the log from this time on.
            connection.execute(f"ALTER SYSTEM SET deadlock_timeout = '{lock_wait * 1000:.0f}ms'")
            connection.execute("SELECT pg_reload_conf()")
        migrate(url)
        people(url)
        with (
            run_sandbox(folder / "stripe.sqlite3", extra_args=RETRIES) as sandbox,
            run_back_office(
                url, sandbox, folder, EXPORT_URL=f"file://{folder}/export", **AS_DEPLOYED
            ) as made,
        ):
            yield Office(url, sandbox, made, made.start_worker(), made.start_worker())
    finally:
        server.destroy()


def people(url: str) -> None:
    """Those who log in."""
    from django.contrib.auth.models import Group, User

    from tests.bench.fresh import connect

    connect(url)
    for name in OPERATORS:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
        user.groups.set(Group.objects.all())


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sampled(office: Office, seconds: float) -> Iterator[Sample]:
    until = time.monotonic() + seconds
    pause = min(SAMPLE, seconds / 20)
    while time.monotonic() < until:
        time.sleep(pause)
        try:
            yield sample(office)
        except psycopg.errors.AdminShutdown:  # a fault of ours
            continue


def sample(office: Office) -> Sample:
    with psycopg.connect(office.url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables"
        ).fetchall()
        waiting = count_open(connection)
        long = connection.execute(LONG).fetchall()
    return Sample(
        memory={name: resident("VmRSS", pid) for name, pid in office.processes()},
        dead={name: dead for name, dead, _ in tables},
        live={name: live for name, _, live in tables},
        waiting=waiting,
        long=[" ".join(str(part) for part in row) for row in long],
    )


def come_to_rest(office: Office) -> None:
    """Until everything was delivered, and the workers have done it."""
    office.sandbox.control("faults", http="DELETE")

    def is_over() -> bool:
        if office.sandbox.waiting():
            office.sandbox.control("deliver")
            return False
        with psycopg.connect(office.url, autocommit=True) as connection:
            return count_open(connection) == 0

    wait_until(is_over, seconds=PATIENCE, pause=1)


def missed(office: Office) -> tuple[set[str], int]:
    """Stripe's events that are not processed here, and how many are logged more than once."""
    made = {id_ for (id_,) in office.sandbox.ask("SELECT id FROM objects WHERE kind = 'event'")}
    with psycopg.connect(office.url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT stripe_event_id FROM billing_inbox WHERE status IN ('processed', 'ignored')"
        ).fetchall()
        [(doubled,)] = connection.execute(
            "SELECT count(*) - count(DISTINCT stripe_event_id) FROM billing_events"
            " WHERE stripe_event_id IS NOT NULL"
        ).fetchall()
    return made - {id_ for (id_,) in rows}, doubled


def unequal(office: Office, expected: Counter[str]) -> dict[str, tuple[int, int]]:
    """Users who have not what they must have: that, and what they have."""
    with psycopg.connect(office.url, autocommit=True) as connection:
        rows = connection.execute("SELECT user_id, balance - owed FROM lead_credits").fetchall()
    there: defaultdict[str, int] = defaultdict(int, rows)
    return {
        user: (expected[user], there[user])
        for user in expected.keys() | there.keys()
        if expected[user] != there[user]
    }


def office_log(folder: Path) -> Path:
    return EmbeddedServer(folder / "postgres").log


def lock_waits(log: Path) -> list[str]:
    """What the server wrote about waits that were too long: who waited for whom, and in what.

    Of two that wait for each other it ends one, after as long.
    """
    lines = log.read_text(errors="replace").splitlines()
    return [
        " ".join(part.partition("] ")[2] for part in lines[number : number + 3])
        for number, line in enumerate(lines)
        if "still waiting for" in line or "detected deadlock" in line
    ]


def figures(
    office: Office, actors: list[Actor], samples: list[Sample], seconds: float
) -> dict[str, Any]:
    done: Counter[str] = Counter()
    for actor in actors:
        done.update(actor.done)
    times = sorted(t for actor in actors if isinstance(actor, Operators) for t in actor.times)
    [(events,)] = office.sandbox.ask("SELECT count(*) FROM objects WHERE kind = 'event'")
    return {
        "seconds": round(seconds),
        "events": events,
        **dict(sorted(done.items())),
        "a page, median ms": round(times[len(times) // 2] * 1000) if times else 0,
        "a page, 95 of 100 ms": round(times[int(len(times) * 0.95)] * 1000) if times else 0,
        "events waiting at most": max(each.waiting for each in samples),
    }
