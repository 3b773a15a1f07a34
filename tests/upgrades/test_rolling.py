"""Two versions at once: while a new one is rolled out, the old one works on, on the new schema."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from django.db import connection

from backoffice.postgres import BASE_DIR
from backoffice.processes import address, listen
from billing.ingress import worker
from billing.models import CreditEntry, InboxEvent
from tests.ingress.webhook import as_body, event, signed
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.databases import Database
from tests.support.waiting import wait_until
from tests.upgrades import release
from tests.upgrades.schema import harm, read

# By what stands in the complaint: why the previous release can live with it all the same.
ANSWERED: dict[str, str] = {}


@pytest.fixture
def session(db: None) -> "psycopg.Connection[Any]":
    """A connection to the migrated database, in a transaction that is rolled back."""
    connection.ensure_connection()
    session: psycopg.Connection[Any] = connection.connection
    return session


def test_migrations_only_add(session: "psycopg.Connection[Any]") -> None:
    found = harm(release.schema(), read(session))
    assert [each for each in found if not any(known in each for known in ANSWERED)] == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DROP TABLE billing_notes", "billing_notes is gone"),
        ("ALTER TABLE billing_notes DROP COLUMN text", "billing_notes.text is gone"),
        ("ALTER TABLE billing_notes RENAME COLUMN text TO words", "billing_notes.text is gone"),
        (
            "ALTER TABLE billing_notes ALTER COLUMN text TYPE varchar(9)",
            "billing_notes.text was text and is character varying(9)",
        ),
        (
            "ALTER TABLE billing_notes ALTER COLUMN withdrawn_at SET NOT NULL",
            "billing_notes.withdrawn_at has become NOT NULL",
        ),
        (
            "ALTER TABLE billing_notes ADD COLUMN mood text NOT NULL",
            "billing_notes.mood is new and NOT NULL, and has no default",
        ),
        (
            "ALTER TABLE billing_notes ALTER COLUMN created_at DROP DEFAULT",
            "billing_notes.created_at has lost its default",
        ),
        (
            "ALTER TABLE billing_notes ADD CHECK (length(text) < 100)",
            "billing_notes has a new rule: CHECK ((length(text) < 100))",
        ),
        (
            "ALTER TABLE billing_notes DROP CONSTRAINT billing_notes_operation_key_key",
            "billing_notes has lost UNIQUE (operation_key)",
        ),
    ],
)
def test_what_takes_something_away_is_named(
    session: "psycopg.Connection[Any]", statement: str, said: str
) -> None:
    before = read(session)
    session.execute(statement)
    assert said in harm(before, read(session))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE billing_notes ADD COLUMN mood text",
        "ALTER TABLE billing_notes ADD COLUMN mood text NOT NULL DEFAULT '' UNIQUE",
        "ALTER TABLE billing_notes ALTER COLUMN text DROP NOT NULL",
        "CREATE TABLE billing_moods (id bigint PRIMARY KEY)",
        "CREATE INDEX ON billing_notes (text)",
    ],
)
def test_what_only_adds_is_no_harm(session: "psycopg.Connection[Any]", statement: str) -> None:
    before = read(session)
    session.execute(statement)
    assert harm(before, read(session)) == []


@pytest.mark.long
def test_the_previous_release_works_on_beside_the_new_one(
    back_office: BackOffice, real_database: Database, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Each takes what the other has begun: webhooks, jobs, operations and the audit's chain."""
    old = Old(release.code(tmp_path) or BASE_DIR, back_office)  # where the history ends here
    old.manage("check")
    deliver(back_office.url, back_office, event(id="evt_for_the_old"))
    with old.running("manage.py", "run_worker") as running:
        wait_until(lambda: is_processed("evt_for_the_old") or running.poll() is not None)
    assert is_processed("evt_for_the_old")

    with listen(0) as listener:
        serve = ("-m", "gunicorn", "backoffice.wsgi", f"--bind=fd://{listener.fileno()}")
        with old.running(*serve, "--no-control-socket", fds=[listener.fileno()]):
            deliver(address(listener), back_office, event(id="evt_for_the_new"))
    assert worker.drain().by_status == {"processed": 1}

    old.manage("grant_credits", "u_ada", "5", "--reason", "By the old version.")
    back_office.manage("grant_credits", "u_ada", "7", "--reason", "By the new version.")
    assert list(CreditEntry.objects.order_by("id").values_list("delta", flat=True)) == [5, 7]
    for manage in (old.manage, back_office.manage):
        assert "all as they were written" in str(manage("verify_audit"))


class Old:
    """The previous release's processes, in the same environment as the new one's."""

    def __init__(self, folder: Path, back_office: BackOffice) -> None:
        self.folder = folder
        self.environment = back_office.environment

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def running(
        self, *arguments: str, fds: Sequence[int] = ()
    ) -> Iterator["subprocess.Popen[bytes]"]:
        command = [sys.executable, *arguments]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, pass_fds=fds, start_new_session=True
        ) as process:
            try:
                yield process
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def deliver(url: str, back_office: BackOffice, said: dict[str, Any]) -> None:
    body = as_body(said)
    header = signed(body, secret=back_office.environment["STRIPE_WEBHOOK_SECRET"])
    answer = httpx.post(
        f"{url}/webhooks/stripe",
        content=body,
        headers={"Stripe-Signature": header},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def is_processed(event_id: str) -> bool:
    return InboxEvent.objects.filter(stripe_event_id=event_id, status="processed").exists()
