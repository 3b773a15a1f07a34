"""The page of backups: where they are, whether they are good, what to do with them."""

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings

from billing.admin.cells import changelist_url, page_url
from billing.models import Backup, ExportProgress
from billing.operations.backups import own_database
from billing.recovery.export.streams import NAMES
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.test_operations import apply, text_of
from tests.recovery.backups.test_folder import a_manifest, put

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Path:
    settings.BACKUP_FOLDER = str(tmp_path)
    return tmp_path


def listed(client: Client, **query: str) -> str:
    return text_of(client.get(changelist_url(Backup, **query)))


def test_where_there_is_no_folder_the_page_says_how_to_set_one(support: Client) -> None:
    text = listed(support)
    assert "No backups are made: BACKUP_FOLDER is not set." in text
    assert "Set BACKUP_FOLDER to the absolute path" in text
    assert "Make a backup" not in text


def test_how_old_the_newest_good_one_is(log_in: LogIn, place: Path) -> None:
    engineer = log_in("engineer")
    assert "There is no verified backup yet." in listed(engineer)
    rows.backup(2)
    assert "That is more than a day." in listed(engineer)
    rows.backup()
    text = listed(engineer)
    assert "The newest verified backup was taken 5 minutes ago: billing-0." in text
    assert "Verified" in text
    assert "12.3 MB" in text
    assert str(place) in text
    rows.backup(name="later", taken_at=a_moment_ago(), verified_at=None, error="The disk is full.")
    text = listed(engineer)
    assert "The last one is not good: The disk is full." in text
    assert "billing-0" in listed(engineer, state="good")
    assert "later" in listed(engineer, state="failed")


def a_moment_ago() -> object:
    return Backup.objects.latest("taken_at").verified_at


def test_what_to_run_when_the_database_is_damaged(support: Client, place: Path) -> None:
    rows.backup(3)
    row = rows.backup()
    for text in (listed(support), text_of(support.get(page_url(row)))):
        places = [
            text.index(command)
            for command in (
                "manage.py assess",
                "manage.py restore billing-0",
                "manage.py recover_restore",
            )
        ]
        assert places == sorted(places)
    row.deleted_at = row.verified_at
    row.save()
    assert "manage.py restore" not in text_of(support.get(page_url(row)))


def test_a_backup_says_what_it_holds(support: Client, place: Path) -> None:
    text = text_of(support.get(page_url(rows.backup())))
    for said in (
        "It was restored and found the same",
        "credit_entries 1,200 1,234",
        "lead_credits 7 –",
        "1 more table was empty.",
        "41 links, the last ab12ab12ab12ab12",
        "Owed, all users 2",
        "evt_9, 2026-03-01",
        "/srv/backups/billing-0.dump",
    ):
        assert said in text, said
    failed = rows.backup(1, verified_at=None, error="The disk is full.", manifest={})
    assert "It is not good. The disk is full." in text_of(support.get(page_url(failed)))
    other = rows.backup(2, verified_at=None)
    assert "Nobody knows whether it is good" in text_of(support.get(page_url(other)))


def test_where_the_folder_says_something_else_the_page_tells(support: Client, place: Path) -> None:
    rows.backup()
    there = put(place, a_manifest(database=own_database()))
    put(place, a_manifest(database="another"))
    text = listed(support)
    assert f"backups that are not listed here, such as {there.name}:" in text
    assert "The files of some that are listed here are gone: billing-0." in text
    assert "another" not in text


def test_a_folder_that_the_page_cannot_read(
    support: Client, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings.BACKUP_FOLDER = str(tmp_path / "file")
    assert "cannot be compared with this list from here" in listed(support)


def test_who_may_has_the_worker_make_one(log_in: LogIn, place: Path) -> None:
    for role in ("support", "finance"):
        assert "Make a backup" not in listed(log_in(role))
    engineer = log_in("engineer")
    assert "Make a backup" in listed(engineer)
    url = reverse("admin:billing_operation", args=["make-backup"])
    assert "It changes no row" in text_of(engineer.get(url, {"target": "database"}))
    for _ in range(2):
        response = apply(engineer, "make-backup", target="database", key="op_" + "1" * 32)
        assert "starts as soon as the worker is free" in text_of(response)
    [job] = ProcrastinateJob.objects.filter(task_name="billing.backup")
    assert job.args == {"actor": "engineer", "verifying": True}


def test_the_home_page_says_how_old_the_newest_one_is(support: Client, place: Path) -> None:
    assert "There is no verified backup yet." in text_of(support.get(reverse("admin:index")))
    rows.backup()
    assert "Newest backup 5 minutes ago" in text_of(support.get(reverse("admin:index")))


def test_how_far_the_export_is(support: Client, settings: Settings) -> None:
    assert "What only we know is not exported: EXPORT_URL is not set." in listed(support)
    settings.EXPORT_URL = "file:///mnt/books?secret=1"
    assert "to file:///mnt/books is about to begin." in listed(support)
    now = timezone.now()
    for name in NAMES:
        ExportProgress.objects.create(stream=name, noted_at=now, exported_at=now)
    assert "exported to file:///mnt/books, all of it up to" in listed(support)
    ExportProgress.objects.update(error="The disk is full.")
    assert "The export of the books fails. The disk is full." in listed(support)
