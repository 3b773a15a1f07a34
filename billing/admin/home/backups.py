"""The newest backup, on the home page."""

from datetime import datetime

from billing.admin.cells import changelist_url, page_url
from billing.admin.home.figures import Figure, Section
from billing.formatting import format_age
from billing.models import Backup
from billing.recovery.backups.state import state


def section(now: datetime) -> Section:
    """Could we come back, if the database were gone?"""
    found = state()
    verdict, tone = found.verdict(now)
    value = format_age(found.good.taken_at, now) if found.good else "none"
    url = page_url(found.good) if found.good else changelist_url(Backup)
    made = Section(
        "Backups",
        {"success": "There is a fresh one", "warning": "None are made", "danger": "Look at them"},
    )
    made.figures = [Figure("Newest backup", value, url, verdict, tone)]
    return made
