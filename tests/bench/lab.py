"""One sandbox with one world, and for each side fresh databases, processes, web servers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backoffice.postgres import BASE_DIR
from backoffice.processes import Child, address, listen, web_command
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database, Databases
from tests.support.environment import WEBHOOK_SECRET, child_environment

SETTINGS = {"ours": "backoffice.settings", "djstripes": "tests.bench.djstripe_settings"}
SIDES = tuple(SETTINGS)
WEB_WORKERS = 2


@dataclass(frozen=True)
class Lab:
    """Where both sides are measured; `folder` takes logs and files of events."""

    sandbox: SandboxProcess
    databases: Databases
    folder: Path

    @contextmanager
    def fresh_database(self) -> Iterator[Database]:
        """A migrated database, dropped afterwards."""
        database = self.databases.create()
        try:
            yield database
        finally:
            self.databases.drop(database)

    def environment(self, side: str, database: Database) -> dict[str, str]:
        """A side's processes run with production's settings."""
        return child_environment(
            DATABASE_URL=database.url,
            DJANGO_ALLOWED_HOSTS="127.0.0.1",
            DJANGO_DEBUG="false",
            DJANGO_SETTINGS_MODULE=SETTINGS.get(side, SETTINGS["ours"]),
            STRIPE_API_BASE=self.sandbox.url,
            STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        )

    def run(self, side: str, task: str, database: Database, **arguments: Any) -> Any:
        """A task of a side's module, in a process of its own; its result."""
        with (self.folder / f"{side}-{task}.log").open("a") as log:
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.child", side, task],
                cwd=BASE_DIR,
                env=self.environment(side, database),
                input=json.dumps(arguments),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{side} {task} failed:\n{Path(log.name).read_text()[-4000:]}")
        return json.loads(done.stdout)

    @contextmanager
    def web_server(self, side: str, database: Database) -> Iterator[str]:
        """Gunicorn as the back office runs it, serving a side; its address."""
        listener = listen(0)
        web = Child(
            f"{side}-web",
            web_command(listener, workers=WEB_WORKERS),
            log=self.folder / f"{side}-web.log",
            env=self.environment(side, database),
            fds=[listener.fileno()],
        )
        try:
            yield address(listener)
        finally:
            web.stop()
            listener.close()

    @contextmanager
    def worker(self, database: Database) -> Iterator[None]:
        """Our worker, which processes what the web server takes."""
        worker = Child(
            "worker",
            [sys.executable, "manage.py", "run_worker"],
            log=self.folder / "worker.log",
            env=self.environment("ours", database),
        )
        try:
            yield
        finally:
            worker.stop()

    @contextmanager
    def slow_stripe(self, seconds: float) -> Iterator[None]:
        """Every answer of Stripe's API takes so much longer."""
        self.sandbox.control("faults", path="/v1/*", delay_seconds=seconds)
        try:
            yield
        finally:
            self.sandbox.control("faults", http="DELETE")
