"""A marketplace of some size at the sandbox, and a back office whose books are equal to it.

Made once, it is copied for each test: the sandbox by its file, the back office as a template
database. Nothing happens in a copy by itself: what a test does there is all that is different.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connections
from django.test import override_settings

from backoffice.sandbox.world import build_world
from billing.ingress import worker
from billing.models import InboxEvent
from billing.projection.bulk import sync_everything
from tests.conftest import connected_to
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.databases import Database, Databases
from tests.support.environment import SECRET_KEY, WEBHOOK_SECRET
from tests.support.events import Event, deliver

WORLD_SEED = 6
EVENTS_KEPT = 8 * 86400  # seconds: a weekly run's window and a day more
DRAINERS = 2


@dataclass
class World:
    """A sandbox, and the database that Django is connected to, which is equal to it.

    `seen` is the last event that was brought here, or that is meant to be lost. `lost` are the
    ids of those that never come, `waiting` of those that came and are left to wait.
    """

    sandbox: SandboxProcess
    database: Database
    seen: str = ""
    lost: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)

    def new_events(self) -> list[Event]:
        """The events since the last time, the oldest first."""
        found: list[Event] = []
        while True:
            after = {"ending_before": self.seen} if self.seen else {}
            page = self.sandbox.get("/v1/events", limit=100, **after).json()
            found += page["data"][::-1]
            if page["data"]:
                self.seen = page["data"][0]["id"]
            if not page["has_more"]:
                return found

    def bring(self, events: Sequence[Event], lost: Sequence[Event] = ()) -> None:
        """Delivers and processes these events, but for those that are `lost`."""
        missed = {event["id"] for event in lost}
        self.lost |= missed
        self.take([event for event in events if event["id"] not in missed])

    def take(self, events: Sequence[Event]) -> None:
        """Delivers these events and processes them, and none that wait."""
        deliver(events)
        if self.waiting:
            worker.process([event["id"] for event in events], actor=worker.STRIPE)
        else:
            worker.drain()


@dataclass(frozen=True)
class Base:
    """A finished world: the sandbox's file and the database, both only to be copied."""

    databases: Databases
    file: Path
    database: Database
    seen: str
    seconds: float

    @contextmanager
    def copy(self, folder: Path) -> Iterator[World]:
        """A world of one's own, which Django is connected to meanwhile."""
        file = folder / "stripe.sqlite3"
        shutil.copy(self.file, file)
        database = self.databases.create(template=self.database)
        try:
            with run_sandbox(file) as sandbox, at_home(sandbox, database):
                yield World(sandbox, database, self.seen)
        finally:
            self.databases.drop(database)


@contextmanager
def at_home(sandbox: SandboxProcess, database: Database) -> Iterator[None]:
    """The settings lead to this sandbox, and Django's connections to this database."""
    settings = {
        "STRIPE_API_BASE": sandbox.url,
        "STRIPE_API_HOST": sandbox.url,
        "STRIPE_CALLS_IN_TRANSACTION": False,
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_TEST_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRETS": [WEBHOOK_SECRET],
    }
    with override_settings(**settings), connected_to(database):
        yield


def make_base(
    databases: Databases, folder: Path, customers: int, *, at: datetime | None = None
) -> Base:
    """A world of so many customers with their histories, every one of them in order.

    At Stripe it is now, or `at` that time, and later as the seconds pass.
    """
    started = time.perf_counter()
    file = folder / f"world_{customers}.sqlite3"
    now = int(at.timestamp() if at else time.time())
    build_world(file, customers, WORLD_SEED, now=now, base_url="http://127.0.0.1")
    stand_still(file, now)
    database = databases.create()
    with run_sandbox(file) as sandbox, at_home(sandbox, database):
        world = World(sandbox, database)
        name_everybody(sandbox)
        sync_everything(actor="stripe")
        bring_all(world)
        sandbox.stop()  # by itself, so that its file is all that a copy needs
    return Base(databases, file, database, world.seen, time.perf_counter() - started)


def stand_still(file: Path, now: int) -> None:
    """Nothing is due any more: no period ends while a test looks at it. The clock is at `now`.

    Of the events those of the last days are kept, and those of customers who are gone, whom
    no list has: tens of thousands more would cost minutes and show nothing else.
    """
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE objects SET due = NULL")
        connection.execute(
            "DELETE FROM objects WHERE kind = 'event' AND created < ? AND json NOT LIKE ?",
            (now - EVENTS_KEPT, '%"customer.deleted"%'),
        )
        clock = json.dumps({"ahead": now - int(time.time())})
        connection.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('clock', ?)", (clock,)
        )


def name_everybody(sandbox: SandboxProcess) -> None:
    """Every customer and every guest is a user of ours, and Stripe knows which one."""
    users: dict[str, str] = {}
    for customer in everything(sandbox, "/v1/customers"):
        user = users.setdefault(customer["email"], f"u_named_{len(users)}")
        if "user_id" in customer["metadata"]:
            users[customer["email"]] = customer["metadata"]["user_id"]
        else:
            name_user(sandbox, f"/v1/customers/{customer['id']}", user)
    for session in everything(sandbox, "/v1/checkout/sessions"):
        if not session["customer"] and not session["metadata"].get("user_id"):
            email = session["customer_details"]["email"] if session["customer_details"] else ""
            user = users.get(email, f"u_of_{session['id']}")
            name_user(sandbox, f"/v1/checkout/sessions/{session['id']}", user)


def name_user(sandbox: SandboxProcess, path: str, user_id: str) -> None:
    sandbox.post(path, {"metadata[user_id]": user_id}).raise_for_status()


def everything(sandbox: SandboxProcess, path: str, **params: str) -> Iterator[Any]:
    """All objects of a list, the newest first."""
    after: dict[str, str] = {}
    while True:
        page = sandbox.get(path, limit=100, **params, **after).json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"starting_after": page["data"][-1]["id"]}


def bring_all(world: World) -> None:
    """Every event that Stripe has, from its webhooks: two workers process while more come in."""
    events = iter(everything(world.sandbox, "/v1/events"))
    is_over = False

    def work() -> None:
        try:
            while True:
                over = is_over
                if not worker.drain().total and over:
                    return
                time.sleep(0.05)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(DRAINERS) as pool:
        working = [pool.submit(work) for _ in range(DRAINERS)]
        chunk: list[Event] = []
        for event in events:
            world.seen = world.seen or event["id"]
            chunk.append(event)
            if len(chunk) == 500:
                deliver(chunk[::-1])
                chunk = []
        deliver(chunk[::-1])
        is_over = True
        for each in working:
            each.result()
    assert not InboxEvent.objects.exclude(status__in=("processed", "ignored")).exists()
