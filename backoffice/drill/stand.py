"""The back office under test: its database, its sandbox, its web server, its worker."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import ManagementUtility
from django.core.wsgi import get_wsgi_application
from django.db import connections
from gunicorn.app.base import BaseApplication
from procrastinate.contrib.django import app
from psycopg import sql

from backoffice.drill.environment import STRIPE_KEY
from backoffice.drill.forks import Fork
from backoffice.drill.sandbox import SandboxClient
from backoffice.postgres import DATABASE, EmbeddedServer
from backoffice.processes import address, listen
from backoffice.sandbox.__main__ import main as run_sandbox

TEMPLATE = DATABASE  # migrated once; each seed's database is a copy of it
NAME = "billing"  # of a seed's database
PATIENCE = 60  # seconds for what takes a moment
COMMAND = 120  # seconds for a command
WHILE = 3  # seconds for which a worker may be at what has come
ATTEMPTS = 3  # to deliver, before nobody waits for it any more
PAUSE = 0.01  # seconds between two looks
RETRIES = ",".join(["0.3", "0.6", "1", "2", "4", *(["8"] * 40)])  # seconds between attempts


class DrillError(Exception):
    """The drill itself cannot go on. The text says why."""


@dataclass(frozen=True)
class Said:
    """What a command of the product said: exit code, document (`--json`), both streams."""

    command: str
    code: int
    document: dict[str, Any]
    output: str
    errors: str

    @property
    def is_done(self) -> bool:
        """Whether it did what it was asked for, with a word of caution or without."""
        return self.document.get("status") in ("done", "attention")

    def __str__(self) -> str:
        said = self.errors.strip() or self.output.strip()
        return f"{self.command}: {self.code} {' '.join(said.split())[-600:]}"


class Web(BaseApplication):
    """The web server, on a socket that it inherits."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        super().__init__()  # type: ignore[no-untyped-call]

    def load_config(self) -> None:
        config: Any = self.cfg
        config.set("bind", f"fd://{self.listener.fileno()}")
        config.set("workers", 1)
        config.set("threads", 4)
        config.set("control_socket_disable", True)

    def load(self) -> Any:
        return get_wsgi_application()


class Stand:
    """One seed's back office. Everything in it runs until `close`.

    One that `is_kept` exports what only it knows.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        folder: Path,
        say: Callable[[str], None],
        *,
        is_kept: bool = False,
    ) -> None:
        self.server = server
        self.folder = folder
        self.say = say
        self.database = NAME
        self.commands = 0
        self.children: dict[str, Fork] = {}
        self.stack = ExitStack()
        folder.mkdir(parents=True)
        settings.BACKUP_FOLDER = ""  # until there is a backup
        settings.EXPORT_URL = f"file://{folder}/export" if is_kept else ""
        self.make_database()
        self.listener = listen(0)
        self.stack.callback(self.listener.close)
        self.sandbox = self.start_sandbox()
        self.endpoint = self.register()
        self.start_web()
        self.start_worker()

    def close(self) -> None:
        """Ends every process, and drops the database."""
        for name in self.children:
            self.kill(name)
        self.stack.close()
        self.drop_databases()

    # --- The database ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.server.url(self.database)

    def make_database(self) -> None:
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(NAME), sql.Identifier(TEMPLATE)
                )
            )
        self.use_database(NAME)

    def use_database(self, name: str) -> None:
        """From now on the back office's processes work on this one."""
        self.database = name
        connections.settings["default"]["NAME"] = name
        connections["default"].settings_dict["NAME"] = name

    def drop_databases(self) -> None:
        """All but the template."""
        with self.admin() as connection:
            kept = ["postgres", "template0", "template1", TEMPLATE]
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE datname <> ALL (%s)", [kept]
            ).fetchall()
            for (name,) in names:
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(name)))

    def has_database(self) -> bool:
        with self.admin() as connection:
            found = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", [self.database]
            ).fetchall()
        return bool(found)

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as connection:
            yield connection

    def connect(self) -> psycopg.Connection[Any]:
        """To the back office's database, as the marketplace itself or somebody in psql does."""
        return psycopg.connect(self.url, autocommit=True)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        return self.rows(query, *values)[0][0]

    # --- The sandbox -------------------------------------------------------------------------

    def start_sandbox(self) -> SandboxClient:
        data = self.folder / "stripe.sqlite3"
        argv = ["--port", "0", "--data", str(data), "--retry-schedule", RETRIES]
        said = self.folder / "sandbox.address"
        child = self.start(
            "sandbox", lambda: run_sandbox([*argv, "--delivery-timeout", "5"]), output=said
        )
        self.wait_until(lambda: "listening on" in said.read_text(), child)
        url = said.read_text().partition("listening on ")[2].strip()
        settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = url
        client = SandboxClient(url, data, STRIPE_KEY)
        self.stack.callback(client.http.close)
        return client

    def register(self) -> str:
        """Our endpoint at Stripe, and its secret among the settings; the endpoint's id."""
        settings.PUBLIC_URL = address(self.listener)
        settings.BILLING_PAGE_URL = f"{settings.PUBLIC_URL}/billing/"
        made = self.sandbox.make(
            "webhook_endpoints",
            **{"url": f"{settings.PUBLIC_URL}/webhooks/stripe", "enabled_events[]": "*"},
            api_version=settings.STRIPE_API_VERSION,
        )
        settings.STRIPE_WEBHOOK_SECRETS = [made["secret"]]
        return str(made["id"])

    # --- Processes ---------------------------------------------------------------------------

    def start(self, name: str, work: Callable[[], Any], output: Path | None = None) -> Fork:
        """A process that runs as long as the stand, in the place of an earlier one of its name."""
        if name in self.children:
            self.children[name].kill()
        if output:
            output.touch()
        child = Fork(name, work, log=self.folder / f"{name}.log", output=output)
        self.children[name] = child
        return child

    def start_web(self) -> None:
        """The listening socket stays: who connects meanwhile waits in its queue."""
        self.start("web", self.serve)

    def serve(self) -> None:
        """The web server's own process."""
        Web(self.listener).run()  # type: ignore[no-untyped-call]

    def start_worker(self) -> None:
        self.start("worker", work)

    def kill(self, name: str) -> None:
        self.children[name].kill()
        self.say(f"    {name} took {self.children[name].cpu:.1f} s of CPU")

    def is_running(self, name: str) -> bool:
        return self.children[name].is_alive

    def wait_until(self, condition: Callable[[], object], *needed: Fork) -> None:
        """Raises DrillError where it does not become so, or a process that it needs ends."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            for child in needed:
                if not child.is_alive:
                    raise DrillError(f"{child.name} has ended; see {child.log}")
            if time.monotonic() > deadline:
                raise DrillError(f"nothing happened for {PATIENCE} seconds; see {self.folder}")
            time.sleep(PAUSE)

    # --- The product's commands --------------------------------------------------------------

    def begin(self, *arguments: str) -> "Command":
        """A command, begun: to be killed, or waited for."""
        self.commands += 1
        return Command(self, arguments, self.commands)

    def manage(self, *arguments: str) -> Said:
        """A command, to its end."""
        return self.begin(*arguments).wait()

    # --- Waiting for what is under way -------------------------------------------------------

    def deliver(self) -> None:
        """Stripe makes every delivery that waits, as if it were time for it: those that are refused
        wait on."""
        for _ in range(ATTEMPTS):
            if not self.sandbox.waiting():
                break
            self.sandbox.control("deliver")

    def under_way(self) -> set[str]:
        """Ids of the events that are here without their effect, and of what they are about."""
        rows = self.rows(
            "SELECT stripe_event_id, object_id, customer_id FROM billing_inbox"
            " WHERE status IN ('pending', 'failed')"
        )
        return {each for row in rows for each in row if each}

    def settle(self, seconds: float = WHILE) -> None:
        """Until everything is delivered, and the worker has done what it can by itself.

        What a dead worker had taken nobody else takes for a minute, and nobody waits for it here.
        """
        self.deliver()
        deadline = time.monotonic() + seconds
        with self.connect() as connection:
            while not is_quiet(connection) and time.monotonic() < deadline:
                time.sleep(PAUSE)

    def let_a_second_pass(self) -> None:
        """Until Stripe's clock, which has whole seconds, has moved on since its last event."""
        [(last,)] = self.sandbox.ask("SELECT max(created) FROM objects WHERE kind = 'event'")
        while int(time.time()) <= last:
            time.sleep(PAUSE)


class Command:
    """A command of the product's under way, in a process of its own."""

    def __init__(self, stand: Stand, arguments: tuple[str, ...], number: int) -> None:
        self.text = " ".join(arguments)
        stem = stand.folder / f"{number:03d}-{arguments[0]}"
        self.output, self.log = stem.with_suffix(".out"), stem.with_suffix(".log")
        self.output.touch()
        self.began = time.monotonic()
        self.say = stand.say
        self.fork = Fork(self.text, lambda: manage(*arguments), log=self.log, output=self.output)

    def wait(self, seconds: float = COMMAND) -> Said:
        code = self.fork.wait(seconds)
        output, errors = self.output.read_text(), self.log.read_text()
        took = time.monotonic() - self.began
        self.say(f"    {took:5.2f} s, {self.fork.cpu:4.2f} of CPU  {self.text}  -> {code}")
        return Said(self.text, code, as_document(output), output, errors)

    def kill(self) -> None:
        self.fork.kill()
        self.say(f"    {time.monotonic() - self.began:5.2f} s  {self.text}  killed")


def work() -> int:
    """A worker without the chores of certain hours and minutes: what they find and mend would
    depend on when a seed is played."""
    chores = app.periodic_registry.periodic_tasks
    for key in [key for key, task in chores.items() if not task.cron.startswith("* ")]:
        del chores[key]
    return manage("run_worker", "--skip-checks")


def manage(*arguments: str) -> int:
    """Runs `manage.py` with these arguments, in a child of a process that has set Django up."""
    argv = ["manage.py", *arguments]
    ManagementUtility(argv).fetch_command(arguments[0]).run_from_argv(argv)
    return 0


def as_document(output: str) -> dict[str, Any]:
    try:
        found = json.loads(output)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Whether no event waits for the worker; one that failed waits for its next try."""
    row = connection.execute(
        "SELECT NOT EXISTS (SELECT FROM billing_inbox WHERE status = 'pending')"
    ).fetchone()
    return row == (True,)
