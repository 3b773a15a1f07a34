"""`manage.py migrate` and its shortcut for dj-stripe's tables."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from billing.management.commands.migrate import Command
from tests.setup import original_schema
from tests.setup.original_schema import run_migrate
from tests.support.databases import Database, Databases

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


def applied(database: Database) -> list[tuple[str, str]]:
    """The migrations that are recorded as applied."""
    with psycopg.connect(database.url) as client:
        return client.execute("SELECT app, name FROM django_migrations ORDER BY 1, 2").fetchall()


def test_the_shortcut_makes_what_the_original_migrations_make(empty_database: Database) -> None:
    assert original_schema.noted()["dj-stripe"] == version("dj-stripe"), original_schema.AGAIN
    assert "--no-shortcut" in run_migrate(empty_database, "djstripe")
    made = original_schema.schema(empty_database)
    assert original_schema.note_of(made) == original_schema.noted(), original_schema.AGAIN
    assert sum(line.startswith("CREATE TABLE") for line in made) > 50
    original = {
        ("djstripe", name) for app, name in MigrationLoader(None).graph.nodes if app == "djstripe"
    }
    assert original <= set(applied(empty_database))
    with psycopg.connect(empty_database.url, autocommit=True) as client:
        client.execute("ALTER TABLE djstripe_price ALTER COLUMN nickname DROP NOT NULL")
    assert (
        original_schema.note_of(original_schema.schema(empty_database)) != original_schema.noted()
    )


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


def test_indexes_that_a_killed_migration_left_are_kept_or_made_anew(databases: Databases) -> None:
    """It had made some, and one half: the rest is missing."""
    database = databases.create()
    later = set(indexes(database))
    run_migrate(database, "billing", "0023_narrowed_lists")
    later -= set(indexes(database))
    with psycopg.connect(database.url, autocommit=True) as client:
        client.execute("DELETE FROM django_migrations WHERE name = '0023_narrowed_lists'")
        client.execute("DROP INDEX billing_findings_owner, billing_purchases_mode")
        client.execute(
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'billing_payments_mode'::regclass"
        )
    kept = indexes(database)
    run_migrate(database, "billing")
    made = indexes(database)
    assert all(is_valid for _, is_valid in made.values())
    assert {"billing_findings_owner", "billing_purchases_mode"} <= set(made)
    again = {name for name, found in made.items() if kept.get(name) != found} - later
    assert again == {"billing_findings_owner", "billing_purchases_mode", "billing_payments_mode"}
    databases.drop(database)


def indexes(database: Database) -> dict[str, tuple[int, bool]]:
    """Each index of ours by name: its own number, and whether it is valid."""
    with psycopg.connect(database.url) as client:
        found = client.execute(
            "SELECT relname, oid, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
            " WHERE relname LIKE 'billing%'"
        ).fetchall()
    return {name: (oid, is_valid) for name, oid, is_valid in found}


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
