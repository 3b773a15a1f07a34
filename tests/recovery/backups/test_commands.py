"""`backup` and `restore`, as people and programs call them."""

import json
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from billing import tasks
from billing.models import Backup, BillingEvent, OperationRecord
from billing.operations.backups import MakeBackup
from billing.operations.base import Actor, BlockedError, InvalidInputError
from billing.recovery.backups import folder
from billing.recovery.backups.checks import has_a_place_for_backups
from tests.commands.conftest import Run, run
from tests.recovery.backups.conftest import Saved, beside
from tests.support.back_office import run_manage
from tests.support.databases import Database

__all__ = ["run"]  # the fixture


def test_a_backup_by_hand_is_an_operation_as_any(run: Run, own: Saved) -> None:
    asked = ("backup", "--reason", "Before the migration", "--actor", "sue", "--key", "op_1")
    ran = run(*asked, "--json")
    assert ran.code == 0, ran.error
    backup = ran.document["backup"]
    assert backup["verified_at"]
    assert folder.manifests()[0].name == backup["name"]
    event = BillingEvent.objects.get(type="manual.backup_started")
    assert event.payload["reason"] == "Before the migration"
    assert event.payload["admin"] == backup["actor"] == "cli:sue"
    assert OperationRecord.objects.get(key="op_1").status == "applied"
    again = run(*asked)
    assert "Done by an earlier try" in again.stdout
    assert Backup.objects.count() == 2


def test_a_backup_needs_a_reason_and_shows_what_it_would_do(run: Run, own: Saved) -> None:
    without = run("backup")
    assert (without.code, "Give a reason" in without.error) == (2, True)
    planned = run("backup", "--reason", "x", "--dry-run", "--no-verify")
    assert planned.code == 0
    assert str(own.where) in planned.stdout
    assert "nobody knows then whether it can be restored" in planned.stdout
    assert Backup.objects.count() == 1


def test_what_there_is_can_be_listed_without_any_database(
    run: Run, own: Saved, settings: Settings, environment: dict[str, str]
) -> None:
    (own.where / "billing-20260301T023005123Z.json").write_text("{")
    (own.where / "billing-20260301T023005123Z.dump").write_text("")
    ran = run("backup", "--list")
    assert ran.code == 1
    assert "no manifest that can be read" in ran.error
    assert f"{own.manifest.name}  " in ran.stdout
    assert "just now" in ran.stdout
    assert "; verified 20" in ran.stdout
    nowhere = {**environment, "DATABASE_URL": "postgres://billing@127.0.0.1:9/billing"}
    listed = json.loads(run_manage("backup", "--list", "--json", env=nowhere, check=False).stdout)
    assert [each["name"] for each in listed["backups"]] == [own.manifest.name]


@pytest.mark.django_db
@pytest.mark.parametrize("call", [("backup", "--reason", "x"), ("backup", "--list"),
                                  ("restore", "latest")])  # fmt: skip
def test_without_a_folder_the_commands_say_what_to_set(run: Run, call: tuple[str, ...]) -> None:
    ran = run(*call)
    assert (ran.code, "BACKUP_FOLDER is not set" in ran.error) == (2, True)
    assert not OperationRecord.objects.exists()


def test_a_restore_says_first_what_it_would_do(
    run: Run, own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    own.change(verified_at=None, database="other")
    with psycopg.connect(copy.url):
        ran = run("restore", own.manifest.name, "--dry-run")
    assert ran.code == 0
    for said in (
        f"in the place of the database {copy.name}",
        "warning: Stop the worker and the web server first",
        "warning: It is a backup of another database: other.",
        "warning: It is not verified.",
        "The file is as it was written. Nothing was done.",
    ):
        assert said in ran.stdout
    own.dump.write_bytes(b"")
    assert "is damaged" in run("restore", own.manifest.name, "--dry-run").error
    assert beside(server, copy) == {}


def test_a_restore_is_confirmed_by_the_databases_name(
    run: Run, own: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal:
        """Somebody who types."""

        def __init__(self, typed: str) -> None:
            self.typed = typed

        def isatty(self) -> bool:
            return bool(self.typed)

        def readline(self) -> str:
            return self.typed

    for typed, said in (("", "add --yes"), ("yes\n", "That is not billing")):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        ran = run("restore", "latest")
        assert (ran.code, said in ran.error) == (2, True)
    connection.close()
    monkeypatch.setattr("sys.stdin", Terminal(f"{own.address.database}\n"))
    assert "recover_restore" in run("restore", "latest").stdout


def test_a_restore_answers_with_what_comes_next(
    run: Run, own: Saved, copy: Database, server: psycopg.Connection
) -> None:
    connection.close()
    ran = run("restore", "latest", "--yes", "--json", "--actor", "sue")
    assert ran.code == 0, ran.error
    restored = ran.document["restored"]
    assert restored["damaged"] == beside(server, copy)["damaged"]
    assert (restored["actor"], restored["backup"]) == ("cli:sue", own.manifest.name)
    assert ran.document["next"] == ["recover_restore", "smoke"]
    note = folder.newest_restore(copy.name)
    assert note is not None
    assert note.as_json() == restored


def test_the_worker_makes_what_was_asked_for_on_the_page(own: Saved) -> None:
    common = {"actor": Actor("sue"), "reason": "Try"}
    result = MakeBackup(**common).apply()
    assert "as soon as the worker is free" in result.summary
    with pytest.raises(BlockedError, match="waits for the worker already"):
        MakeBackup(**common).apply()
    tasks.backup(actor="sue", verifying=False)
    assert Backup.objects.latest("taken_at").actor == "sue"


def test_every_night_the_schedule_makes_one_where_there_is_a_place(
    own: Saved, settings: Settings
) -> None:
    settings.BACKUP_FOLDER = ""
    tasks.backup_daily(0)
    assert waiting_jobs() == []
    settings.BACKUP_FOLDER = str(own.where)
    tasks.backup_daily(0)
    assert waiting_jobs() == [{"actor": "schedule"}]


def waiting_jobs() -> list[object]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM procrastinate_jobs WHERE task_name = 'billing.backup'")
        return [json.loads(args) if isinstance(args, str) else args for (args,) in cursor]


@pytest.mark.django_db
def test_only_the_database_can_be_backed_up() -> None:
    with pytest.raises(InvalidInputError, match="only the database can"):
        MakeBackup(what="the office", actor=Actor("sue"), reason="Try")


def test_the_deployment_check_warns_where_there_is_no_place_for_backups(settings: Settings) -> None:
    settings.DEBUG = False
    [warning] = has_a_place_for_backups()
    assert "BACKUP_FOLDER" in warning.msg
    settings.BACKUP_FOLDER = "/srv/backups"
    assert has_a_place_for_backups() == []
    settings.BACKUP_FOLDER, settings.DEBUG = "", True
    assert has_a_place_for_backups() == []
