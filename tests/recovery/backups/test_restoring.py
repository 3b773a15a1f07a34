"""A restore takes the name only when it is whole, and whatever was there before is kept."""

import json
import threading

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from psycopg import sql

from billing.models import BillingEvent, CreditEntry, acting_as
from billing.projection import ledger
from billing.projection.ledger import Entry
from billing.recovery.backups import contents, folder, making, migrations, restoring, servers
from billing.recovery.backups.folder import BackupError, BackupUsageError
from tests.operations.shop import past_triggers
from tests.recovery.backups.conftest import USERS, Saved, beside
from tests.support.databases import Database, Databases
from tests.support.waiting import wait_until


def restore(saved: Saved, **more: object) -> restoring.Outcome:
    return restoring.restore(
        saved.address,
        saved.manifest,
        saved.where,
        actor="cli:sue",
        **more,  # type: ignore[arg-type]
    )


def held_by(saved: Saved, name: str | None = None) -> contents.Contents:
    with saved.address.at(name or saved.address.database).connect() as held:
        return contents.measure(held)


def execute(server: psycopg.Connection, statement: str, *names: str) -> None:
    server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def test_the_backup_takes_the_place_of_the_damaged_one(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    past_triggers("DELETE FROM lead_credits")
    damaged = held_by(own)
    connection.close()
    with psycopg.connect(copy.url, autocommit=True) as other:
        assert restoring.standing(own.address).connections == 1
        note = restore(own).note
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert held_by(own) == own.manifest.contents
    assert beside(server, copy) == {"damaged": note.damaged}
    assert held_by(own, note.damaged) == damaged
    assert folder.newest_restore(copy.name, own.where) == note
    assert (note.backup, note.actor) == (own.manifest.name, "cli:sue")
    assert note.audit_head == own.manifest.audit_head

    # All guards are in place again.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = 99 WHERE user_id = 'u_1'")
    assert BillingEvent.objects.filter(type="sql.lead_credits.update").exists()
    with pytest.raises(IntegrityError, match="append-only"):
        CreditEntry.objects.all().delete()
    with transaction.atomic(), acting_as("test"):
        ledger.post([Entry("u_new", 1, CreditEntry.Kind.PACK, "cs_new", "Paid")])
    assert CreditEntry.objects.latest("id").pk > USERS


def test_a_database_that_is_gone_needs_not_be_there(
    own: Saved, copy: Database, databases: Databases, server: psycopg.Connection
) -> None:
    connection.close()
    databases.drop(copy)
    note = restore(own).note
    assert note.damaged == ""
    assert beside(server, copy) == {}
    assert held_by(own) == own.manifest.contents


def test_a_database_that_nobody_may_connect_to_stays_closed_under_its_new_name(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    connection.close()
    execute(server, "ALTER DATABASE {} ALLOW_CONNECTIONS false", copy.name)
    note = restore(own).note
    assert held_by(own) == own.manifest.contents
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        own.address.at(note.damaged).connect()


def test_settings_and_privileges_of_the_database_come_along(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    """They stand at the database and not in it: pg_restore alone would lose them."""
    connection.close()
    before = server.execute("SELECT datcollate, encoding FROM pg_database WHERE datname = %s",
                            [copy.name]).fetchone()  # fmt: skip
    for statement in (
        "ALTER DATABASE {} SET work_mem TO '7MB'",
        'ALTER DATABASE {} SET search_path TO "$user", public',
        "ALTER ROLE CURRENT_USER IN DATABASE {} SET statement_timeout TO '77s'",
        "REVOKE ALL ON DATABASE {} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {} TO pg_read_all_data WITH GRANT OPTION",
        "ALTER DATABASE {} CONNECTION LIMIT 77",
    ):
        execute(server, statement, copy.name)
    with own.address.connect() as held:
        properties = servers.properties(held)
    own.change(properties=properties)
    restore(own)
    with own.address.connect() as held:
        assert servers.properties(held) == properties
    assert (
        before
        == server.execute(
            "SELECT datcollate, encoding FROM pg_database WHERE datname = %s", [copy.name]
        ).fetchone()
    )
    with psycopg.connect(copy.url) as other:
        assert other.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_a_damaged_backup_leaves_all_as_it_was(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    connection.close()
    before = held_by(own)
    own.change(contents=own.manifest.contents.__class__(
        **{**own.manifest.as_json()["contents"], "audit_head": None, "newest_event": None}
    ))  # fmt: skip
    with pytest.raises(BackupError, match="newest link is another one"):
        restore(own)
    own.dump.write_bytes(own.dump.read_bytes()[:-1])
    with pytest.raises(BackupError, match="is damaged"):
        restore(own)
    assert held_by(own) == before
    assert beside(server, copy) == {}
    assert folder.restores(own.where) == []


def test_two_people_at_once(own: Saved, copy: Database, server: psycopg.Connection) -> None:
    """The second one is told of the first, and nothing is done twice."""
    connection.close()
    outcomes: list[object] = []

    def try_it() -> None:
        try:
            outcomes.append(restore(own))
        except BackupError as error:
            outcomes.append(str(error))

    first = threading.Thread(target=try_it)
    first.start()
    wait_until(lambda: "restoring" in beside(server, copy))
    try_it()
    first.join()
    refused, done = sorted(outcomes, key=lambda each: not isinstance(each, str))
    assert "under way already" in str(refused) or "restored" in str(refused)
    assert isinstance(done, restoring.Outcome)
    assert set(beside(server, copy)) == {"damaged"}


def test_killed_before_it_left_its_note_the_next_call_leaves_it(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    connection.close()
    note = restore(own).note
    (own.where / note.file_name).unlink()
    again = restore(own)
    assert (again.note, again.earlier) == (note, True)
    assert folder.newest_restore(copy.name, own.where) == note
    assert beside(server, copy) == {"damaged": note.damaged}


def test_what_a_killed_one_left_is_cleared_away(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    """As if it had been killed after it closed the old database."""
    connection.close()
    half_made = f"{copy.name}_restoring_20260301T120000"
    execute(server, "CREATE DATABASE {}", half_made)
    execute(server, "ALTER DATABASE {} ALLOW_CONNECTIONS false", copy.name)
    assert restoring.standing(own.address).left_over == [half_made]
    note = restore(own).note
    assert beside(server, copy) == {"damaged": note.damaged}
    own.address.at(note.damaged).connect().close()  # it is open again


def test_newer_migrations_are_applied_before_the_switch_where_asked_for(own: Saved) -> None:
    call_command("migrate", "axes", "0009", verbosity=0)
    manifest = making.make(actor="schedule", verifying=False).manifest
    newer = migrations.between(manifest).missing
    assert newer == ["axes.0010_accessattemptexpiration"]
    connection.close()
    own.manifest = manifest
    note = restore(own, migrate=migrations.migrate).note
    assert note.migrated == newer
    assert held_by(own).migrations == sorted([*manifest.contents.migrations, *newer])
    assert connection.settings_dict["NAME"] == own.address.database


def test_a_backup_of_newer_code_is_told_of(own: Saved) -> None:
    said = own.manifest.as_json()
    said["contents"]["migrations"] += ["billing.0999_to_come"]
    said["contents"]["migrations"].remove("billing.0001_initial")
    between = migrations.between(folder.Manifest.from_json(said))
    assert between.unknown == ["billing.0999_to_come"]
    assert between.missing == ["billing.0001_initial"]
    assert migrations.between(own.manifest) == migrations.Between([], [])


def test_another_database_to_connect_to_can_be_named(own: Saved) -> None:
    assert restoring.standing(own.address, "template1").exists
    with pytest.raises(BackupUsageError, match="--maintenance-database"):
        restoring.standing(own.address, own.address.database)
    with pytest.raises(BackupError, match=r"Cannot connect .*--maintenance-database"):
        restoring.standing(own.address, "there-is-none")


def test_long_names_are_cut_to_what_a_server_takes(saved: Saved) -> None:
    now = saved.manifest.taken_at
    name = servers.beside("ä" * 31, "restoring", now)
    assert len(name.encode()) <= 63
    assert name.endswith(f"_restoring_{now:%Y%m%dT%H%M%S}")


def test_comments_of_others_are_none_of_restores(
    own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    connection.close()
    for comment in ("Billing, production", json.dumps({"restored_from": {}}), "[]"):
        name, text = sql.Identifier(copy.name), sql.Literal(comment)
        server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, text))
        assert restoring.standing(own.address).restored is None
