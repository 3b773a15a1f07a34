"""Four machines and one PostgreSQL: two web servers, two workers, of which one each is cut off.

    sudo make drill-network

Webhooks come all the time, to either web server, and to the other one where the first does not
answer, as Stripe and a load balancer would have it. Then the cable of a worker is cut while it is
in the midst of a transaction, and that of a web server; after a while both are plugged in again.
Whatever was answered with 200 must be processed, once. Its figures are printed as JSON.
"""

import argparse
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.ingress.webhook import as_body, event, signed
from tests.network.lab import Machine, machines, postgres
from tests.support.environment import child_environment

PORT = 8000
PATIENCE = 600  # seconds
# There is no Stripe on this cable: whose the key is is known already, and so nobody asks.
KNOWN_ACCOUNT = """
    INSERT INTO djstripe_account (id, livemode, stripe_data, djstripe_created, djstripe_updated)
    VALUES ('acct_1', false, '{"id": "acct_1", "object": "account"}', now(), now())
"""


class Sender(threading.Thread):
    """Delivers events until it is stopped, each until somebody answers 200."""

    def __init__(self, webs: list[Machine], pause: float) -> None:
        super().__init__(name="sender", daemon=True)
        self.webs, self.pause = webs, pause
        self.delivered: list[str] = []
        self.failed = 0
        self.slowest = 0.0
        self.stopping = threading.Event()

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=3) as client:
            number = 0
            while not self.stopping.wait(self.pause):
                number += 1
                self.deliver(client, number)

    def deliver(self, client: httpx.Client, number: int) -> None:
        event_id = f"evt_{secrets.token_hex(8)}"
        customer = {"id": f"cus_{number}", "object": "customer"}
        body = as_body(event(id=event_id, data={"object": customer}))
        started = time.monotonic()
        for attempt in range(1000):
            web = self.webs[(number + attempt) % len(self.webs)]
            if post(client, web, body):
                self.delivered.append(event_id)
                self.slowest = max(self.slowest, time.monotonic() - started)
                return
            self.failed += 1


def post(client: httpx.Client, web: Machine, body: bytes) -> bool:
    try:
        answer = client.post(
            f"http://{web.address}:{PORT}/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": signed(body)},
        )
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


@dataclass
class Drill:
    """`figures` are in seconds, where they are no counts."""

    webs: list[Machine]
    workers: list[Machine]
    database: "psycopg.Connection[Any]"
    figures: dict[str, Any] = field(default_factory=dict)

    def one(self, sql: str, *params: Any) -> Any:
        row = self.database.execute(sql, params).fetchone()
        return row[0] if row else None

    def timed(self, name: str, condition: Callable[[], object]) -> None:
        """How long it takes until something is so."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > PATIENCE:
                raise SystemExit(f"This has not come in {PATIENCE} seconds: {name}.")
            time.sleep(0.1)
        self.figures[name] = round(time.monotonic() - started, 1)
        print(f"{name}: {self.figures[name]} s", flush=True)  # noqa: T201

    def sessions(self, machine: Machine) -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE client_addr = %s::inet"
        return int(self.one(sql, machine.address))

    def is_ready(self, web: Machine) -> bool:
        try:
            ready = httpx.get(f"http://{web.address}:{PORT}/readyz", trust_env=False, timeout=2)
        except httpx.HTTPError:
            return False
        return ready.status_code == 200

    def waiting(self) -> int:
        sql = "SELECT count(*) FROM billing_inbox WHERE status IN ('pending', 'failed')"
        return int(self.one(sql))

    def cut_a_worker_off(self, url: str) -> None:
        """While it waits for a lock in the midst of a batch, so that its own locks are held."""
        with psycopg.connect(url) as locker:
            locker.execute("LOCK TABLE billing_customers IN EXCLUSIVE MODE")
            self.timed("until both workers are in the midst of a transaction", self.both_wait)
            self.workers[0].cut_off()
        self.timed(
            "until the server has ended the sessions of the worker that was cut off",
            lambda: not self.sessions(self.workers[0]),
        )
        self.timed("until nothing waits any more, with one worker", lambda: self.waiting() < 20)

    def both_wait(self) -> bool:
        sql = """
            SELECT count(DISTINCT client_addr) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        """
        return int(self.one(sql)) >= len(self.workers)

    def cut_a_web_server_off(self) -> None:
        self.webs[0].cut_off()
        self.timed(
            "until the server has ended the sessions of the web server that was cut off",
            lambda: not self.sessions(self.webs[0]),
        )

    def plug_them_in(self) -> None:
        for machine in (self.webs[0], self.workers[0]):
            machine.plug_in()
        self.timed("until the web server is ready again", lambda: self.is_ready(self.webs[0]))
        self.timed("until the worker works again", lambda: self.sessions(self.workers[0]) > 0)


def start(webs: list[Machine], workers: list[Machine], url: str, logs: Path) -> None:
    environment = child_environment(
        DATABASE_URL=url, DJANGO_ALLOWED_HOSTS="*", DJANGO_SETTINGS_MODULE="backoffice.settings"
    )
    serve = ("-m", "gunicorn", "--config=deploy/gunicorn.conf.py", "backoffice.wsgi")
    for web in webs:
        bind = f"--bind={web.address}:{PORT}"
        web.start([*serve, bind, "--workers=1"], environment, logs / f"{web.name}.log")
    for worker in workers:
        worker.start(["manage.py", "run_worker"], environment, logs / f"{worker.name}.log")


def drill(folder: Path, seconds: float, pause: float) -> dict[str, Any]:
    with (
        machines(["web-1", "web-2", "worker-1", "worker-2"]) as all_,
        postgres(folder / "postgres") as url,
        psycopg.connect(url, autocommit=True) as database,
    ):
        database.execute(KNOWN_ACCOUNT)
        webs, workers = all_[:2], all_[2:]
        start(webs, workers, url, folder)
        it = Drill(webs, workers, database)
        it.timed("until all are ready", lambda: all(map(it.is_ready, webs)))
        sender = Sender(webs, pause)
        sender.start()
        time.sleep(seconds)
        it.cut_a_worker_off(url)
        it.cut_a_web_server_off()
        it.plug_them_in()
        time.sleep(seconds)
        sender.stopping.set()
        sender.join()
        it.timed("until all is processed", lambda: not it.waiting())
        return it.figures | judge(it, sender)


def judge(it: Drill, sender: Sender) -> dict[str, Any]:
    """What must be so in the end."""
    rows = it.database.execute("SELECT stripe_event_id, status FROM billing_inbox").fetchall()
    statuses = dict(rows)
    lost = [each for each in sender.delivered if statuses.get(each) != "processed"]
    logged = it.one("SELECT count(*) FROM billing_events WHERE type = 'customer.created'")
    if lost or logged != len(statuses):
        raise SystemExit(f"{len(lost)} of the events were lost; {logged} of {len(rows)} are logged")
    return {
        "events answered with 200": len(sender.delivered),
        "of them lost": len(lost),
        "deliveries that had to be repeated": sender.failed,
        "slowest delivery, its repetitions included": round(sender.slowest, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15, help="before and after the cuts")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two events")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="billing-net-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        figures = drill(Path(folder), options.seconds, options.pause)
    print(json.dumps(figures, indent=2))  # noqa: T201
