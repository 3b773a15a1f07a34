"""Fixtures of the sandbox's tests: a running sandbox, a small world, a place for webhooks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A new, empty sandbox that retries deliveries only when it is told to."""
    with run_sandbox(tmp_path / "stripe.db", extra_args=["--retry-schedule", "600,600"]) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """One sandbox for the tests of a module that do not mind each other's objects."""
    with run_sandbox(tmp_path_factory.mktemp("shared") / "stripe.db") as running:
        yield running


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox with the world of 150 customers; tests only read it."""
    data = tmp_path_factory.mktemp("world") / "stripe.db"
    with run_sandbox(data, customers=150, seed=7) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server that takes webhooks."""
    with Receiver() as listening:
        yield listening
