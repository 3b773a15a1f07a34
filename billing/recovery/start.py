"""Since when webhooks are missing: what is proposed, and where that is from."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from billing.models import Recovery
from billing.models.incidents import open_incidents
from billing.operations.incidents import last_good_event

MARGIN = timedelta(hours=1)  # before the last good event: deliveries overtake one another
RECENT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Start:
    """A time (UTC) from which on to recover, and where it is from, in words."""

    at: datetime
    origin: str


def proposed() -> Start:
    """The recovery that is under way or was just worked, else the open incident's start, else an
    hour before the last good event; a day ago, where there was none.

    What a recovery brings in is good, too: after one, the last good event says nothing any more.
    """
    recent = Recovery.objects.filter(started_at__gte=timezone.now() - RECENT)
    unfinished = recent.exclude(status=Recovery.Status.DONE, critical_only=False)
    if (row := unfinished.filter(kind=Recovery.Kind.OUTAGE).first()) is not None:
        return Start(row.since, f"as {row.actor} recovered before")
    if (incident := open_incidents().first()) is not None:
        return Start(incident.started_at, f"the start of the incident “{incident}”")
    if good := last_good_event():
        return Start(good - MARGIN, "an hour before the last event that was processed")
    return Start(timezone.now() - RECENT, "a day ago: no event has been processed here yet")
