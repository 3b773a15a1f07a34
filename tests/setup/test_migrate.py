"""`manage.py migrate` and its shortcut for dj-stripe's tables."""

import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from backoffice.postgres import LOCAL_DIR, EmbeddedServer
from billing.management.commands.migrate import Command
from tests.support.back_office import run_manage
from tests.support.databases import Database, Databases
from tests.support.environment import child_environment

PLAIN: dict[str, Any] = {
    "app_label": None,
    "migration_name": None,
    "no_shortcut": False,
    "fake": False,
    "fake_initial": False,
    "plan": False,
    "prune": False,
    "check_unapplied": False,
}


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[Database]:
    """A database without any table."""
    database = databases.create(empty=True)
    yield database
    databases.drop(database)


def run_migrate(database: Database, *options: str) -> str:
    """What `manage.py migrate` says on standard output."""
    environment = child_environment(DATABASE_URL=database.url)
    return run_manage("migrate", "--skip-checks", *options, env=environment).stdout


def schema(database: Database) -> str:
    """All that pg_dump knows of a database, but its rows."""
    return subprocess.run(
        [
            EmbeddedServer(LOCAL_DIR / "tests").binary("pg_dump"),
            *("--schema-only", "--restrict-key=tests", database.url),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def applied(database: Database) -> list[tuple[str, str]]:
    """The migrations that are recorded as applied."""
    with psycopg.connect(database.url) as client:
        return client.execute("SELECT app, name FROM django_migrations ORDER BY 1, 2").fetchall()


def test_the_shortcut_and_the_original_migrations_make_the_same_schema(
    databases: Databases, empty_database: Database
) -> None:
    shortened = databases.create()
    said = run_migrate(empty_database, "--no-shortcut")
    assert "djstripe.0001_initial... OK" in said
    assert schema(shortened) == schema(empty_database)
    assert applied(shortened) == applied(empty_database)
    assert schema(shortened).count("CREATE TABLE public.djstripe_") > 50
    databases.drop(shortened)


def test_the_shortcut_is_announced_and_a_second_run_has_nothing_to_do(
    empty_database: Database,
) -> None:
    first = run_migrate(empty_database)
    assert first.count("--no-shortcut") == 1
    assert "djstripe.0001_initial" not in first
    second = run_migrate(empty_database)
    assert "--no-shortcut" not in second
    assert "No migrations to apply" in second


def test_one_app_is_migrated_alone_and_another_with_what_it_needs(
    empty_database: Database,
) -> None:
    run_migrate(empty_database, "contenttypes")
    assert {app for app, _ in applied(empty_database)} == {"contenttypes"}
    assert "--no-shortcut" in run_migrate(empty_database, "djstripe")
    assert {app for app, _ in applied(empty_database)} == {"contenttypes", "auth", "djstripe"}


def test_other_ways_to_call_migrate_take_no_shortcut(empty_database: Database) -> None:
    assert "djstripe.0001_initial" in run_migrate(empty_database, "--plan")
    with psycopg.connect(empty_database.url) as client:
        assert client.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)


@pytest.mark.django_db
def test_a_database_with_any_of_dj_stripes_tables_is_left_to_the_migrations() -> None:
    command = Command()
    assert not command.may_shorten(connection, PLAIN)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'djstripe'")
    assert not command.may_shorten(connection, PLAIN)


@pytest.mark.django_db
def test_the_migrations_say_what_the_models_say() -> None:
    call_command("makemigrations", "billing", check_changes=True, dry_run=True)
