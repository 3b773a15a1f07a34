"""A backup is made whole, of one moment, and is good only once it was restored and compared."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg.conninfo import conninfo_to_dict
from pytest_django import Settings

from billing.models import Backup
from billing.recovery.backups import contents, dumping, folder, keeping, making, servers, verifying
from billing.recovery.backups.folder import BackupError, BackupUsageError, Contents
from billing.recovery.backups.programs import find
from billing.recovery.backups.servers import Address
from tests.recovery.backups.conftest import USERS, Saved, beside
from tests.recovery.backups.test_folder import a_manifest, put
from tests.support.databases import Database


def silent(said: str) -> None:
    """Tells nobody."""


def measured(address: Address) -> Contents:
    with address.connect() as held:
        return contents.measure(held)


def test_the_manifest_says_what_the_database_held(saved: Saved) -> None:
    manifest, held = saved.manifest, saved.manifest.contents
    assert manifest.verified_at is not None
    assert held.rows["credit_entries"] == USERS == held.highest["credit_entries"]
    assert held.ledger == {
        "delta": 10 * USERS, "owed_delta": 0, "balance": 10 * USERS, "owed": 0,
    }  # fmt: skip
    assert held.audit_head is not None
    assert held.audit_head.position == held.rows["billing_audit_chain"] == 1
    assert held.newest_event == folder.NewestEvent("evt_1", datetime(2026, 3, 1, tzinfo=UTC))
    assert "billing.0001_initial" in held.migrations
    assert manifest.size == saved.dump.stat().st_size
    assert folder.digest(saved.dump) == manifest.sha256
    assert folder.manifests(saved.where) == [manifest]


def test_only_we_may_read_it_and_nothing_else_is_left(
    original: tuple[Database, Saved], server: psycopg.Connection
) -> None:
    database, saved = original
    assert saved.where.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in saved.where.iterdir()} == {0o600}
    assert len(list(saved.where.iterdir())) == 2
    assert beside(server, database) == {}


def test_its_row_says_the_same_as_its_files(own: Saved) -> None:
    row = Backup.objects.get()
    assert (row.name, row.actor, row.error) == (own.manifest.name, "cli:sue", "")
    assert row.manifest["contents"] == own.manifest.as_json()["contents"]
    assert row.verified_at == own.manifest.verified_at


def test_it_is_of_one_moment_while_others_write(own: Saved) -> None:
    """Rows come all the while; the dump and the figures share one snapshot."""
    over = threading.Event()

    def write() -> None:
        with own.address.connect() as other:
            for number in range(1_000_000):
                other.execute(
                    "INSERT INTO lead_claims (user_id, lead_id) VALUES ('u', %s)",
                    [str(number)],
                )
                if over.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = making.make(actor="schedule")
    finally:
        over.set()
        writer.join()
    assert made.manifest.error == ""
    claims = made.manifest.contents.rows["lead_claims"]
    assert 0 <= claims < measured(own.address).rows["lead_claims"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:-100], "bytes instead of"),
        (lambda data: data + b"\0", "bytes instead of"),
        (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "are not those that"),
    ],
    ids=["truncated", "longer", "one bit"],
)
def test_a_damaged_file_is_told(saved: Saved, spoil: object, said: str) -> None:
    saved.dump.write_bytes(spoil(saved.dump.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BackupError, match=f"is damaged: .*{said}.*--list"):
        verifying.verify(saved.address, saved.manifest, saved.where, silent)
    saved.dump.unlink()
    with pytest.raises(BackupError, match="no such file"):
        verifying.check(saved.manifest, saved.where, silent)


def test_what_cannot_be_restored_is_not_good(
    saved: Saved, original: tuple[Database, Saved], server: psycopg.Connection
) -> None:
    """As if it had been damaged before its digest was taken."""
    data = bytearray(saved.dump.read_bytes())
    for place in range(len(data) // 4, len(data), len(data) // 50):
        data[place : place + 8] = b"\xff" * 8
    saved.dump.write_bytes(data)
    saved.change(sha256=folder.digest(saved.dump))
    with pytest.raises(BackupError, match=r"pg_restore (failed|was ended)|differs"):
        verifying.verify(saved.address, saved.manifest, saved.where, silent)
    assert beside(server, original[0]) == {}


def test_what_comes_out_differently_is_not_good(
    saved: Saved, original: tuple[Database, Saved], server: psycopg.Connection
) -> None:
    held = saved.manifest.contents
    saved.change(
        contents=replace(
            held,
            rows={**held.rows, "lead_credits": USERS + 1},
            ledger={**held.ledger, "balance": 7},
            audit_head=None,
        )
    )
    with pytest.raises(BackupError) as told:
        verifying.verify(saved.address, saved.manifest, saved.where, silent)
    assert f"{USERS} rows in lead_credits instead of {USERS + 1}" in str(told.value)
    assert "300 as sum of balance in the ledger instead of 7" in str(told.value)
    assert "the audit chain's newest link is another one" in str(told.value)
    assert beside(server, original[0]) == {}


def test_one_that_is_not_verified_is_not_good(own: Saved) -> None:
    made = making.make(actor="cli:sue", verifying=False)
    assert made.manifest.verified_at is None
    assert Backup.objects.get(name=made.manifest.name).verified_at is None
    assert folder.named("latest", own.address.database) == own.manifest


@pytest.fixture
def role(server: psycopg.Connection, copy: Database) -> Iterator[str]:
    """A user of the database who may read and write, and make no database."""
    name = f"{copy.name}_clerk"
    server.execute(f"CREATE ROLE {name} IN ROLE pg_read_all_data, pg_write_all_data")
    connection.close()
    connection.settings_dict["OPTIONS"] = {"options": f"-c role={name}"}
    yield name
    connection.close()
    connection.settings_dict["OPTIONS"] = {}
    server.execute(f"DROP ROLE {name}")


def test_one_that_cannot_be_verified_is_there_and_says_why(own: Saved, role: str) -> None:
    made = making.make(actor="schedule")
    assert f"ALTER ROLE {role} CREATEDB" in made.manifest.error
    assert Backup.objects.get(name=made.manifest.name).error == made.manifest.error
    assert folder.manifests()[0] == made.manifest


def test_two_are_not_made_at_once(own: Saved) -> None:
    with (
        making.alone(own.address),
        pytest.raises(making.AlreadyRunningError, match="being made already"),
    ):
        making.make(actor="cli:bob")
    assert Backup.objects.count() == 1


def test_a_folder_that_cannot_be_made_is_named_and_the_failure_kept(
    own: Saved, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings.BACKUP_FOLDER = str(tmp_path / "file" / "folder")
    with pytest.raises(BackupError, match=r"Cannot make .*folder: not a directory"):
        making.make(actor="schedule")
    row = Backup.objects.latest("taken_at")
    assert "Cannot make" in row.error
    assert row.deleted_at is not None  # there is no file


def test_a_program_that_is_too_old_is_not_used(settings: Settings, tmp_path: Path) -> None:
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 12.1'\n")
        program.chmod(0o755)
    settings.POSTGRES_BIN = str(tmp_path)
    assert find(120005) == tmp_path
    with pytest.raises(
        BackupUsageError, match=f"PostgreSQL 18.*only 12 in {tmp_path}.*POSTGRES_BI"
    ):
        find(180001)
    shutil.rmtree(tmp_path)
    with pytest.raises(BackupUsageError, match="none at all"):
        find(180001)


def test_passwords_stand_in_no_command_line(own: Saved, settings: Settings, tmp_path: Path) -> None:
    with own.address.connect() as held:
        real = find(held.info.server_version)
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\necho "$PGPASSWORD" >> {tmp_path}/told\n'
            f'exec {real}/{name} "$@"\n'
        )
        program.chmod(0o755)
    settings.POSTGRES_BIN = str(tmp_path)
    connection.close()
    connection.settings_dict["PASSWORD"] = "correct-horse"
    try:
        made = making.make(actor="schedule")
        assert "correct-horse" not in repr(servers.of_django())
    finally:
        connection.settings_dict["PASSWORD"] = ""
    assert made.manifest.error == ""
    assert "correct-horse" in (tmp_path / "told").read_text()
    assert "correct-horse" not in (tmp_path / "arguments").read_text()


def test_the_programs_are_told_all_that_leads_to_a_database() -> None:
    address = Address(
        "billing", {"host": "db.example.com", "port": "6432", "sslmode": "verify-full"}
    )
    said = address.environment()
    assert said["PGHOST"] == "db.example.com"
    assert (said["PGPORT"], said["PGDATABASE"]) == ("6432", "billing")
    assert said["PGSSLMODE"] == "verify-full"


def test_djangos_settings_lead_to_the_same_server(original: tuple[Database, Saved]) -> None:
    database, saved = original
    expected = conninfo_to_dict(database.url)
    assert saved.address.database == expected.pop("dbname")
    assert dict(saved.address.parameters) == expected


def test_a_database_without_our_tables_is_none_of_ours(saved: Saved) -> None:
    with pytest.raises(BackupError, match=r"no database of the back office's.*migrate"):
        measured(saved.address.at("postgres"))


def test_backups_that_are_too_old_are_deleted(own: Saved, settings: Settings) -> None:
    settings.BACKUP_KEEP_DAYS = 10
    now = datetime.now(UTC)
    database = own.address.database
    ages = [20, 30, 40, 50, 60]
    old = [
        put(own.where, a_manifest(database=database, taken_at=now - timedelta(days=n)))
        for n in ages
    ]
    other = put(own.where, a_manifest(database="other", taken_at=now - timedelta(days=90)))
    for each in old[2:]:
        making.write_down(each, own.where)
    made = making.make(actor="schedule", verifying=False)
    # The newest three verified ones: today's, of 20 and of 30 days.
    assert made.deleted == [each.name for each in old[2:]]
    assert {each.name for each in folder.manifests()} == {
        made.manifest.name, own.manifest.name, old[0].name, old[1].name, other.name,
    }  # fmt: skip
    assert not list(own.where.glob("*.partial"))
    assert set(Backup.objects.exclude(deleted_at=None).values_list("name", flat=True)) == set(
        made.deleted
    )
    # Rows were made for those that this database did not know.
    assert Backup.objects.filter(deleted_at=None).count() == 4


@pytest.mark.parametrize(
    ("ages", "verified", "deleted"),
    [
        ([1, 2, 3, 29], [1, 1, 1, 1], []),
        ([31, 40, 50, 60], [1, 1, 1, 1], [60]),
        ([31, 40, 50, 60], [0, 1, 1, 1], [31]),
        ([1, 2, 3, 31], [1, 1, 1, 0], [31]),
        ([1, 31, 32, 33], [0, 0, 0, 0], [31, 32, 33]),
        ([], [], []),
    ],
)
def test_all_of_the_last_days_and_three_good_ones_are_kept(
    ages: list[int], verified: list[int], deleted: list[int]
) -> None:
    now = datetime.now(UTC)
    every = {}
    for age, is_good in zip(ages, verified, strict=True):
        made = a_manifest(taken_at=now - timedelta(days=age))
        every[age] = made if is_good else replace(made, verified_at=None)
    found = keeping.too_old(every.values(), now, 30)
    assert found == [every[age] for age in deleted]


def test_a_name_that_is_taken_is_not_written_over(saved: Saved) -> None:
    file = folder.partial_file(saved.manifest.name, saved.where)
    file.write_text("somebody's")
    with pytest.raises(BackupError, match="file exists"), dumping.partial(file):
        pass
    assert file.read_text() == "somebody's"
