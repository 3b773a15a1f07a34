"""The fixtures that all tests share, and what is left out where a tool is missing.

Tests with `@pytest.mark.django_db` run inside a transaction that is rolled back. Tests that
need commits, threads or child processes use `real_database`. See also `sandbox`,
`back_office`, `postgres_server`, and the markers `browser`, `stripe_cli` and `jq`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import stripe
from django.db import connections
from pytest_django import DjangoDbBlocker, Settings

from backoffice.postgres import EmbeddedServer
from backoffice.scratch import make_scratch_folder, scratch_folder
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.back_office import BackOffice, run_back_office
from tests.support.databases import Database, Databases, migrate, shared_server
from tests.support.environment import SECRET_KEY, WEBHOOK_SECRET
from tests.support.left_out import LeftOut
from tests.support.tools import chromium_arguments, find_chromium

FLUSHING = {"transactional_db", "live_server", "django_db_reset_sequences"}


def pytest_configure(config: pytest.Config) -> None:
    stripe.HTTPClient.INITIAL_DELAY = stripe.HTTPClient.MAX_DELAY = (
        0.01  # seconds between its tries
    )
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", os.environ.get("TMPDIR", str(scratch_folder())))
    config.pluginmanager.register(LeftOut())


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        marker = item.get_closest_marker("django_db")
        flushes = FLUSHING.intersection(getattr(item, "fixturenames", ()))
        if flushes or (marker and (marker.args or marker.kwargs.get("transaction"))):
            raise pytest.UsageError(
                f"{item.nodeid}: Django would empty the tables after this test, which the"
                " append-only ones refuse. Use the fixture real_database."
            )
    yield
    # The long ones first, so that in the end no worker is left alone with one.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def settings_of_child_processes() -> None:
    """Child processes run with the project's own settings, whatever environment they inherit."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "backoffice.settings"


@pytest.fixture(autouse=True)
def same_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test takes smaller batches because the machine was busy in another one."""
    from billing.ingress import worker

    monkeypatch.setattr(worker, "pace", worker.Pace(worker.BATCH))


@pytest.fixture(autouse=True)
def threads_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of a test stand for processes: they do not wait for each other's turn."""
    from billing.projection import intake

    monkeypatch.setattr(intake, "_turn", nullcontext())


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Makes test databases on DATABASE_URL's server, else on an embedded one."""
    with ExitStack() as stack:
        address = os.environ["DATABASE_URL"] or stack.enter_context(shared_server())
        made = Databases(address)
        stack.callback(made.close)
        yield made


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, databases: Databases) -> Iterator[None]:
    """pytest-django's: the database of this process for tests marked `django_db`."""
    database = databases.create()
    with connected_to(database):
        yield
    databases.drop(database)


@pytest.fixture
def real_database(
    request: pytest.FixtureRequest,
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
    settings: Settings,
) -> Iterator[Database]:
    """A migrated database for this test alone, where commits are real.

    Django is connected to it, in every thread; child processes get `.url`.
    """
    if request.node.get_closest_marker("django_db") or "db" in request.fixturenames:
        raise pytest.UsageError("real_database and django_db exclude each other")
    settings.STRIPE_CALLS_IN_TRANSACTION = False
    database = databases.create()
    with django_db_blocker.unblock(), connected_to(database):
        yield database
    databases.drop(database)


@contextmanager
def connected_to(database: Database) -> Iterator[None]:
    """Let Django's connections lead to `database`."""
    current = connections.settings["default"]
    changes = database.django_settings
    before = {name: current[name] for name in changes}
    connections["default"].close()
    current.update(changes)
    try:
        yield
    finally:
        connections["default"].close()
        current.update(before)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A short path for a database server's folder, which every user may enter."""
    folder = make_scratch_folder("billing-")
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def postgres_server(server_folder: Path) -> Iterator[EmbeddedServer]:
    """A durable PostgreSQL server for this test alone, migrated, to be killed and restarted.

    Its `url()` is for child processes; Django is not connected to it.
    """
    server = EmbeddedServer(server_folder)
    server.ensure_running()
    try:
        migrate(server.url())
        yield server
    finally:
        server.destroy()


@pytest.fixture
def sandbox(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxProcess]:
    """A Stripe sandbox for this test alone; the settings lead to it."""
    with run_sandbox(tmp_path / "sandbox.sqlite3") as running:
        settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = running.url
        settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = SECRET_KEY
        settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
        monkeypatch.setattr(stripe, "api_base", running.url)  # dj-stripe's own commands
        yield running


@pytest.fixture
def back_office(
    real_database: Database, sandbox: SandboxProcess, tmp_path: Path
) -> Iterator[BackOffice]:
    """A web server on `real_database`, its webhook registered at `sandbox`."""
    with run_back_office(real_database.url, sandbox, tmp_path / "logs") as running:
        yield running


@pytest.fixture(scope="session")
def base_url() -> None:
    """pytest-playwright's, which pytest 9.2 deprecates as it is made there."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """pytest-playwright's: the machine's own Chromium instead of a downloaded one."""
    return {
        **browser_type_launch_args,
        "executable_path": find_chromium(),
        "args": chromium_arguments(),
    }
