"""The alert on backups: no fresh one that is good, or the last one is not."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from billing.models import Backup
from tests.admin import rows
from tests.alerts.looking import fired

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def place(settings: Settings) -> None:
    settings.BACKUP_FOLDER = "/srv/backups"


def test_there_is_no_backup_at_all(settings: Settings) -> None:
    found = fired("backup")["overdue"]
    assert "There is none at all" in found.detail
    assert found.page.endswith("/billing/backup/")
    settings.BACKUP_FOLDER = ""
    assert not fired("backup")


def test_the_newest_good_one_is_older_than_26_hours() -> None:
    row = rows.backup()
    assert not fired("backup", row.taken_at + timedelta(hours=26))
    late = row.taken_at + timedelta(hours=26, seconds=1)
    assert "1 day ago" in fired("backup", late)["overdue"].detail
    rows.backup(name="unverified", taken_at=late, verified_at=None)
    assert "overdue" in fired("backup", late)
    Backup.objects.update(deleted_at=late)
    assert "none at all" in fired("backup", late)["overdue"].detail


def test_the_last_one_failed() -> None:
    rows.backup(1)
    now = timezone.now()
    failed = rows.backup(verified_at=None, error="No space left on device.", deleted_at=now)
    [found] = fired("backup").values()
    assert (found.key, "No space left on device" in found.detail) == ("failed", True)
    rows.backup(name="after", taken_at=failed.taken_at + timedelta(minutes=1))
    assert not fired("backup")
