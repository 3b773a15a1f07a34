"""The incidents that are open, and the last one that was closed."""

from datetime import datetime

from django.http import HttpRequest

from billing.admin.banner import MOST, open_now
from billing.admin.cells import changelist_url, page_url
from billing.admin.home.figures import Figure, Section
from billing.formatting import format_age, format_time
from billing.models import Incident


def section(request: HttpRequest, now: datetime) -> Section:
    """Is something wrong as a whole, and who looks after it?"""
    found = open_now(request)
    made = Section(
        "Incidents", {"success": "No incident is open", "danger": "Somebody is at work on it"}
    )
    made.figures = [open_figure(row, now) for row in found[:MOST]]
    if not found:
        made.figures = [none_open(), *last_closed(now)]
    if len(found) > MOST:
        made.note = f"These are the latest {MOST}: the list has them all."
    return made


def open_figure(row: Incident, now: datetime) -> Figure:
    age = format_age(row.started_at, now)
    verdict = f"Owner: {row.owner}. It began at {format_time(row.started_at)}."
    return Figure(row.title, age, page_url(row), verdict, "danger")


def none_open() -> Figure:
    url = changelist_url(Incident, state="open")
    return Figure("Open incidents", "0", url, "No incident is open.")


def last_closed(now: datetime) -> list[Figure]:
    """The one that ended last; none where there never was one."""
    row = Incident.objects.exclude(ended_at=None).order_by("-ended_at", "-id").first()
    if row is None or row.ended_at is None:
        return []
    verdict = f"“{row}”, closed by {row.closed_by}."
    return [Figure("Last incident", format_age(row.ended_at, now), page_url(row), verdict)]
