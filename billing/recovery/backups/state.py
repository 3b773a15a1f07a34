"""Whether there are good backups, as our rows have it, and whether the folder says the same."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from billing.formatting import format_age
from billing.models import Backup
from billing.operations.backups import own_database
from billing.recovery.backups import folder
from billing.recovery.backups.folder import BackupError

OVERDUE = timedelta(hours=26)  # a day, and time to make one
SHOWN = 3  # names


@dataclass(frozen=True, slots=True)
class State:
    """Where backups are, '' for nowhere, the newest good one, and the last one that was tried."""

    folder: str
    good: Backup | None
    last: Backup | None

    def is_overdue(self, now: datetime) -> bool:
        """Whether there is no good one of the past day."""
        return bool(self.folder) and (self.good is None or now - self.good.taken_at > OVERDUE)

    @property
    def failure(self) -> str:
        """Why the last one could not be made, or is not good; '' where neither is so."""
        return self.last.error if self.folder and self.last else ""

    def verdict(self, now: datetime) -> tuple[str, str]:
        """How it stands in a sentence, and its tone: success, warning or danger."""
        if not self.folder:
            return "No backups are made: BACKUP_FOLDER is not set.", "warning"
        if self.good is None:
            return "There is no verified backup yet.", "danger"
        age = format_age(self.good.taken_at, now)
        said = f"The newest verified backup was taken {age}: {self.good.name}."
        if self.failure:
            return f"{said} The last one is not good: {self.failure}", "danger"
        if self.is_overdue(now):
            return f"{said} That is more than a day.", "danger"
        return said, "success"


def state() -> State:
    """How the backups stand, in two queries."""
    rows = Backup.objects.defer("manifest").order_by("-taken_at", "-id")
    good = rows.filter(deleted_at=None, verified_at__isnull=False).first()
    return State(settings.BACKUP_FOLDER, good, rows.first())


def differences() -> list[str]:
    """How the folder differs from our rows, as far as this process can read it."""
    if not settings.BACKUP_FOLDER:
        return []
    try:
        found = folder.listing()
    except BackupError as error:
        return [f"The folder cannot be compared with this list from here. {error}"]
    there = {each.name for each in found.manifests if each.database == own_database()}
    here = set(Backup.objects.filter(deleted_at=None).values_list("name", flat=True))
    said = list(found.problems)
    if unknown := there - here:
        said.append(
            f"The folder has backups that are not listed here, such as {_some(unknown)}: this"
            " database was restored since, or does not know of them yet. The next one lists them."
        )
    if gone := here - there:
        said.append(f"The files of some that are listed here are gone: {_some(gone)}.")
    return said


def _some(names: set[str]) -> str:
    listed = sorted(names, reverse=True)
    return ", ".join([*listed[:SHOWN], *(["…"] if len(listed) > SHOWN else [])])
