"""Could we come back? A rule on the backups of the database."""

from collections.abc import Iterator

from billing.alerts.firing import Firing, Look, list_page
from billing.formatting import format_age, format_time
from billing.models import Backup
from billing.recovery.backups.state import state


def backup(look: Look) -> Iterator[Firing]:
    """No verified backup of the past 26 hours, or the last one could not be made or is not good.

    Neither is said where backups have no place: a check of the settings says so.
    """
    found = state()
    if found.is_overdue(look.now):
        good = found.good
        when = (
            f"The newest one is of {format_time(good.taken_at)},"
            f" {format_age(good.taken_at, look.now)}."
            if good
            else "There is none at all."
        )
        yield Firing(
            "There is no fresh backup",
            f"{when} What happened since would have to come back from Stripe and the export. The"
            " worker makes one every night: is one running? By hand: manage.py backup.",
            list_page(Backup),
            key="overdue",
        )
    if found.failure and found.last:
        yield Firing(
            "The last backup is not good",
            f"{format_time(found.last.taken_at)}: {found.failure[:300].rstrip('. ')}. Then make"
            " another one: manage.py backup.",
            list_page(Backup),
            key="failed",
        )
