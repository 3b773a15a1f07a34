"""A shop whose webhooks fail, and its books, where commits are real."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.databases import Database
from tests.support.environment import SECRET_KEY

NO_GRACE = timedelta(seconds=-5)  # nothing is on its way: a reconciliation judges it all
NOWHERE = "http://127.0.0.1:9/webhooks/stripe"  # where nobody answers


def an_hour_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@contextmanager
def fault(sandbox: SandboxProcess, **what: Any) -> Iterator[None]:
    """Stripe misbehaves meanwhile."""
    made = sandbox.control("faults", **what)
    yield
    sandbox.control(f"faults/{made['id']}", http="DELETE")


def register(sandbox: SandboxProcess) -> None:
    """Stripe knows our endpoint from now on, and cannot reach it."""
    sandbox.stripe.v1.webhook_endpoints.create({"url": NOWHERE, "enabled_events": ["*"]})


@pytest.fixture
def shop(real_database: Database, sandbox: SandboxProcess) -> Shop:
    """A pack of 50 credits and a plan of 20 a month, whose prices the back office knows."""
    made = Shop(sandbox)
    made.deliver()
    return made


@contextmanager
def set_back(folder: Path, settings: Settings, days: float) -> Iterator[SandboxProcess]:
    """A sandbox on whose clock it is so many days ago; the settings lead to it."""
    file = folder / "past.sqlite3"
    with closing(sqlite3.connect(file)) as made, made:
        made.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        clock = json.dumps({"ahead": -int(timedelta(days=days).total_seconds())})
        made.execute("INSERT INTO meta VALUES ('clock', ?)", [clock])
    with run_sandbox(file) as running:
        settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = running.url
        settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = SECRET_KEY
        yield running
