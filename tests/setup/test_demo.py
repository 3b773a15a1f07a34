"""`make demo`, in a copy of the project with a database of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest

from backoffice.demo import is_alive
from backoffice.postgres import BASE_DIR, EmbeddedServer
from backoffice.scratch import make_scratch_folder
from tests.support.environment import child_environment

LEFT_BEHIND = {".git", ".venv", ".local", ".env"}
PATIENCE = 90  # seconds


class Demo:
    """A demo that was started in `project`, and what it printed."""

    def __init__(self, project: Path, *options: str) -> None:
        self.project = project
        environment = child_environment(PORT="0", STRIPE_SECRET_KEY="", STRIPE_WEBHOOK_SECRET="")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backoffice.demo", *options],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def started(self) -> "Demo":
        """Read what it prints until everything runs."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C stops everything" in line:
                return self
        raise AssertionError(f"the demo ended with {self.end()}: {self.output}")

    def end(self, by: signal.Signals | None = None) -> int:
        """Send a signal if one is given, and read what is printed to the end; the exit code."""
        if by is not None:
            self.process.send_signal(by)
        self.output += self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode

    @property
    def url(self) -> str:
        return re.search(r"http://127\.0\.0\.1:\d+", self.output)[0]  # type: ignore[index]

    def password(self, role: str) -> str:
        return re.search(rf"^ +{role} +(\S+)$", self.output, re.MULTILINE)[1]  # type: ignore[index]

    def children(self) -> list[int]:
        """The processes that it started and that still run."""
        pids = (self.project / ".local" / "demo" / "lock").read_text().split()[1:]
        return [int(pid) for pid in pids if is_alive(int(pid))]

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` as its message says one can in another terminal."""
        command = [
            "sh",
            "-c",
            'set -a; . .local/demo/environment; set +a; exec "$0" manage.py "$@"',
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        return subprocess.run(
            [*command, sys.executable, *arguments],
            cwd=self.project,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def findings_of(self, who: str) -> set[str]:
        """The kinds of what `diagnose` finds wrong with somebody."""
        command = 'set -a; . .local/demo/environment; set +a; exec "$0" manage.py diagnose "$@"'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, who, "--json"],
            cwd=self.project,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
            check=False,
            capture_output=True,
            text=True,
        )
        return {finding["kind"] for finding in json.loads(done.stdout)["findings"]}

    def ask(self, question: LiteralString, *values: str) -> list[tuple[object, ...]]:
        server = EmbeddedServer(self.project / ".local" / "postgres")
        with psycopg.connect(server.url()) as client:
            return client.execute(question, values).fetchall()


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A copy of the project that was never used."""
    home = make_scratch_folder("billing-demo-")
    project = home / "project"
    shutil.copytree(
        BASE_DIR,
        project,
        ignore=lambda folder, names: LEFT_BEHIND & set(names) if folder == str(BASE_DIR) else [],
    )
    yield project
    EmbeddedServer(project / ".local" / "postgres").destroy()
    shutil.rmtree(home)


@pytest.fixture
def demos(project: Path) -> Iterator[list[Demo]]:
    """The demos that a test starts; none outlives it."""
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.end(signal.SIGTERM)


def log_in(demo: Demo, role: str) -> httpx.Response:
    """The page after logging in as the demo says."""
    with httpx.Client(base_url=demo.url, follow_redirects=True, trust_env=False) as client:
        client.get("/admin/login/")
        form = {
            "login": role,
            "password": demo.password(role),
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
            "next": "/admin/",
        }
        return client.post("/admin/login/", data=form)


@pytest.mark.long
def test_the_demo_from_its_first_start_to_its_third(project: Path, demos: list[Demo]) -> None:
    began = time.monotonic()
    first = Demo(project)
    demos.append(first)
    first.started()
    assert time.monotonic() - began < PATIENCE
    for role in ("support", "finance", "engineer"):
        page = log_in(first, role)
        assert page.url.path == "/admin/"
        assert page.status_code == 200
    check_the_stories(first)

    children = first.children()
    assert first.end(signal.SIGINT) == 0
    assert first.children() == []
    assert len(children) == 3
    assert not EmbeddedServer(project / ".local" / "postgres").is_alive()

    second = Demo(project)
    demos.append(second)
    second.started()
    assert second.password("support") == first.password("support")
    assert credits_of(second, "user_ada") == 10
    assert Demo(project).end() == 1  # one at a time

    second.end(signal.SIGKILL)
    orphans = second.children()
    third = Demo(project)
    demos.append(third)
    third.started()
    assert orphans
    assert not set(orphans) & set(third.children())

    os.killpg(third.children()[-1], signal.SIGKILL)
    assert third.end() == 1
    assert "worker ended with exit code -9" in third.output
    assert third.children() == []


def check_the_stories(demo: Demo) -> None:
    """What the demo says has gone wrong has, and can be put right as it says."""
    dead = demo.ask("SELECT stripe_event_id, reason FROM billing_inbox WHERE status = 'dead'")
    assert len(dead) == 1
    assert "required permissions" in str(dead[0][1])
    assert credits_of(demo, "user_dora") == 10
    assert credits_of(demo, "user_ada") == credits_of(demo, "user_ben") == 0
    assert status_of(demo, "user_carla") == "active"
    assert status_of(demo, "user_emil") == "past_due"
    for who, kind in (
        ("user_ben", "pack_not_granted"),
        ("user_emil", "past_due"),
        ("user_gina", "several_subscriptions"),
        ("user_hugo", "granted_twice"),
        ("user_ines", "refund_not_taken_back"),
        ("user_fred", "claim_debited"),
    ):
        assert kind in demo.findings_of(who), who
    assert demo.findings_of("user_dora") == set()

    for _ in range(2):
        demo.manage("replay_events", str(dead[0][0]), "--reason", "the key was given permission")
        assert credits_of(demo, "user_ada") == 10
    demo.manage("sync_from_stripe", "--user", "user_ben", "--reason", "no webhook came")
    assert credits_of(demo, "user_ben") == 10
    demo.manage("sync_from_stripe", "--user", "user_carla", "--reason", "no webhook came")
    assert status_of(demo, "user_carla") == "canceled"


def credits_of(demo: Demo, user_id: str) -> int:
    entries = "SELECT coalesce(sum(delta), 0)::int FROM credit_entries WHERE user_id = %s"
    [(total,)] = demo.ask(entries, user_id)
    assert isinstance(total, int)
    return total


def status_of(demo: Demo, user_id: str) -> object:
    """The status of a user's one subscription."""
    statuses = "SELECT status FROM billing_subscriptions WHERE user_id = %s"
    [(status,)] = demo.ask(statuses, user_id)
    return status


@pytest.mark.long
def test_resetting_starts_over(project: Path, demos: list[Demo]) -> None:
    demo = Demo(project, "--reset")
    demos.append(demo)
    demo.started()
    assert credits_of(demo, "user_ada") == 0


def test_a_database_of_the_users_is_not_thrown_away(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backoffice.demo", "--reset"],
        cwd=project,
        env=child_environment(DATABASE_URL="postgres://nobody@127.0.0.1:9/theirs"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "empty the one of DATABASE_URL yourself" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "eighty"), ("STRIPE_SECRET_KEY", "sk_tellnobody")]
)
def test_a_malformed_variable_is_named(project: Path, variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backoffice.demo"],
        cwd=project,
        env=child_environment(**{variable: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert "tellnobody" not in done.stderr
