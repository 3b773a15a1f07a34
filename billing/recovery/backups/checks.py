"""What `manage.py check --deploy` says of backups."""

from typing import Any

from django.conf import settings
from django.core import checks


def has_a_place_for_backups(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warns where no backup would ever be made."""
    if settings.BACKUP_FOLDER or settings.DEBUG:
        return []
    return [
        checks.Warning(
            "BACKUP_FOLDER is not set: no backups of the database are made.",
            hint="Give it the path of a folder on another disk than the database's.",
            id="billing.W001",
        )
    ]
