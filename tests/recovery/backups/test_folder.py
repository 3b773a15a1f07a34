"""The folder of backups is read without any database, whatever lies in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.recovery.backups import folder
from billing.recovery.backups.folder import (
    AuditHead,
    BackupError,
    BackupUsageError,
    Contents,
    Manifest,
    NewestEvent,
    Restored,
)

TAKEN = datetime(2026, 3, 1, 2, 30, 5, 123456, tzinfo=UTC)


def a_manifest(*, taken_at: datetime = TAKEN, database: str = "billing") -> Manifest:
    return Manifest(
        name=folder.name_of(database, taken_at),
        taken_at=taken_at,
        database=database,
        server_version="18.1",
        actor="schedule",
        size=4,
        sha256="9f2c",
        seconds=1.5,
        contents=Contents(
            rows={"credit_entries": 3, "lead_credits": 2},
            highest={"credit_entries": 3},
            ledger={"delta": 10, "owed_delta": 0, "balance": 10, "owed": 0},
            audit_head=AuditHead(7, "ab12"),
            newest_event=NewestEvent("evt_1", TAKEN - timedelta(minutes=1)),
            migrations=["billing.0001_initial"],
        ),
        verified_at=taken_at + timedelta(seconds=9),
    )


def put(where: Path, manifest: Manifest) -> Manifest:
    """The two files of a backup."""
    folder.dump_file(manifest.name, where).write_bytes(b"dump")
    folder.write(folder.manifest_file(manifest.name, where), manifest.as_json())
    return manifest


def test_what_was_written_is_read_back_newest_first(tmp_path: Path) -> None:
    old = put(tmp_path, a_manifest(taken_at=TAKEN - timedelta(days=1)))
    new = put(tmp_path, a_manifest())
    bare = replace(a_manifest().contents, audit_head=None, newest_event=None)
    oldest = replace(
        a_manifest(taken_at=TAKEN - timedelta(days=2)), contents=bare, verified_at=None, error="No"
    )
    put(tmp_path, oldest)
    assert folder.manifests(tmp_path) == [new, old, oldest]
    assert new.name == "billing-20260301T023005123Z"
    assert folder.manifest_file(new.name, tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_backup_is_there_only_with_both_of_its_files(tmp_path: Path) -> None:
    manifest = put(tmp_path, a_manifest())
    dump = folder.dump_file(manifest.name, tmp_path)
    dump.rename(folder.partial_file(manifest.name, tmp_path))
    assert folder.listing(tmp_path) == folder.Listing()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "name": "x"}', "\xff"]
)
def test_a_damaged_manifest_is_told_and_hides_no_other(tmp_path: Path, text: str) -> None:
    good = put(tmp_path, a_manifest())
    bad = put(tmp_path, a_manifest(taken_at=TAKEN + timedelta(days=1)))
    folder.manifest_file(bad.name, tmp_path).write_text(text, encoding="latin-1")
    found = folder.listing(tmp_path)
    assert found.manifests == [good]
    assert bad.name in found.problems[0]
    with pytest.raises(BackupUsageError, match=f"no backup {bad.name}.*no manifest"):
        folder.named(bad.name, "billing", tmp_path)


def test_a_manifest_under_another_name_is_told(tmp_path: Path) -> None:
    manifest = put(tmp_path, a_manifest())
    for file in tmp_path.iterdir():
        file.rename(file.with_name(file.name.replace("billing", "other")))
    [problem] = folder.listing(tmp_path).problems
    assert manifest.name in problem


def test_latest_is_the_newest_verified_one_of_the_database(tmp_path: Path) -> None:
    good = put(tmp_path, a_manifest())
    unverified = a_manifest(taken_at=TAKEN + timedelta(days=1))
    put(tmp_path, replace(unverified, verified_at=None))
    put(tmp_path, a_manifest(database="other", taken_at=TAKEN + timedelta(days=2)))
    assert folder.named("latest", "billing", tmp_path) == good
    assert folder.named(f"{unverified.name}.dump", "billing", tmp_path).verified_at is None
    with pytest.raises(BackupUsageError, match="no verified backup of nothing"):
        folder.named("latest", "nothing", tmp_path)
    with pytest.raises(BackupUsageError, match="no backup yesterday's"):
        folder.named("yesterday's", "billing", tmp_path)


def test_the_newest_restore_of_a_database(tmp_path: Path) -> None:
    first = Restored(
        backup="billing-20260301T023005123Z",
        taken_at=TAKEN,
        restored_at=TAKEN + timedelta(hours=5),
        database="billing",
        damaged="billing_damaged_20260301T073005",
        actor="cli:sue",
        audit_head=AuditHead(7, "ab12"),
        newest_event=None,
    )
    second = replace(first, restored_at=TAKEN + timedelta(hours=6), damaged="", migrated=["a.1"])
    other = replace(first, restored_at=TAKEN + timedelta(hours=7), database="other")
    for note in (second, first, other):
        folder.write(tmp_path / note.file_name, note.as_json())
    (tmp_path / "restored-nothing.json").write_text("?")
    put(tmp_path, a_manifest())
    assert folder.newest_restore("billing", tmp_path) == second
    assert folder.newest_restore("nothing", tmp_path) is None
    assert folder.restores(tmp_path) == [other, second, first]
    assert len(folder.manifests(tmp_path)) == 1


def test_names_tell_databases_apart() -> None:
    name = folder.name_of("my billing/db", TAKEN)
    assert name == "my_billing_db-20260301T023005123Z"
    assert folder.is_name_of("my billing/db", name)
    assert not folder.is_name_of("billing", folder.name_of("billing_2", TAKEN))


def test_without_a_folder_it_says_what_to_set(settings: Settings) -> None:
    with pytest.raises(BackupUsageError, match="BACKUP_FOLDER is not set"):
        folder.manifests()


def test_a_folder_that_was_never_made_holds_nothing_and_a_file_is_none(tmp_path: Path) -> None:
    assert folder.manifests(tmp_path / "to come") == []
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BackupError, match=r"Cannot read .*file: not a directory"):
        folder.manifests(file)
    with pytest.raises(BackupError, match=r"Cannot make .*file"):
        folder.prepare(file)
