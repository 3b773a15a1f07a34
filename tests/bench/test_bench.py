"""The benchmark runs, in small, and the figures that do not depend on the clock hold."""

import json
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backoffice.postgres import BASE_DIR
from billing.projection.bulk import sync_everything
from tests.bench.report import lines
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Databases
from tests.support.environment import child_environment

SMALL = (
    *("--customers=60", "--rounds=1", "--seconds=0.5", "--events=300"),
    *("--their-events=10", "--their-objects=10", "--json"),
)


@pytest.fixture(scope="module")
def report(databases: Databases) -> Any:
    """A run that takes as little as can be."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *SMALL],
        cwd=BASE_DIR,
        env=child_environment(
            DATABASE_URL=databases.address, DJANGO_SETTINGS_MODULE="tests.settings"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_sides_take_deliveries(report: Any) -> None:
    assert report["acknowledge"].keys() == {"quick", "quick_working", "slow", "slow_working"}
    for sides in report["acknowledge"].values():
        for figures in sides.values():
            assert figures["rate"] > 0
            assert figures["p95_seconds"] >= figures["median_seconds"] > 0
        assert sides["ours"]["refused"] == 0


def test_both_sides_process_events(report: Any) -> None:
    ours, theirs = report["process"]["ours"], report["process"]["djstripes"]
    assert (ours["items"], theirs["items"]) == (300, 10)
    assert ours["failures"] == 0
    assert ours["api_calls"] <= 0.05
    assert ours["statements"] < 2


def test_both_sides_sync(report: Any) -> None:
    ours, theirs = report["sync"]["ours"], report["sync"]["djstripes"]
    for kind in ("customer", "subscription", "invoice"):
        assert ours[kind]["items"] > 10
        assert theirs[kind]["items"] == 10
        assert (ours[kind]["failures"], theirs[kind]["failures"]) == (0, 0)
        assert 0 < ours[kind]["peak_megabytes"] < 200


def test_the_sandbox_lists_objects(report: Any) -> None:
    assert report["lists"]["objects"] >= 100
    assert report["lists"]["rate"] > 0


def test_the_table_shows_every_target(report: Any) -> None:
    met = {line.target: line.met for line in lines(report) if line.target}
    assert met.keys() == {"15 times", "no less", "at most 0.05", "40 times", "8,000"}
    assert met["at most 0.05"]


@pytest.mark.django_db
def test_a_page_takes_as_many_statements_however_many_objects_are_on_it(
    sandbox: SandboxProcess,
) -> None:
    def statements(customers: int) -> int:
        for _ in range(customers):
            sandbox.stripe.v1.customers.create({"metadata": {"user_id": "u_1"}})
        with CaptureQueriesContext(connection) as captured:
            report = sync_everything(actor="test", kinds=lambda kind: kind == "customer")
        assert report.api_calls == 1
        return len(captured)

    sandbox.stripe.v1.customers.create({"metadata": {"user_id": "u_0"}})
    sync_everything(actor="test")
    assert statements(5) == statements(60)
