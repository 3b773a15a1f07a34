"""Who was told of an incident, by what way, and whether it arrived."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from billing.models import Alert, AlertMessage, Incident, IncidentEntry

SHOWN = 50
TEAM = "team"  # those whom the alerts tell
Way = AlertMessage.Way


@dataclass(frozen=True, slots=True)
class Told:
    """One time somebody was told (UTC): whom, what, by what way. `error` is why not yet.

    `sent_at` is when it went out; null where it has not, and `failed` once it is given up. Who
    was told otherwise was told by a person, whose word it is.
    """

    at: datetime
    whom: str
    way: str
    what: str
    by: str
    sent_at: datetime | None
    error: str = ""
    failed: bool = False

    @property
    def state(self) -> str:
        if self.sent_at:
            return "Told"
        return "In vain" if self.failed else "Under way"


def told(incident: Incident, most: int = SHOWN) -> list[Told]:
    """The newest of it: what was written by hand, and what its alerts told by themselves."""
    entries = incident.entries.filter(kind=IncidentEntry.Kind.TOLD).exclude(by="")
    found = [_by_hand(row) for row in entries[:most]]
    messages = AlertMessage.objects.filter(
        Q(entry__incident=incident) | Q(alert__incident=incident)
    ).select_related("alert", "entry")
    for message in messages.order_by("-pk")[:most]:
        if message.entry:
            found.append(_of_entry(message.entry, message))
        elif message.alert:
            found.append(_of_alert(message.alert, message))
    return sorted(found, key=lambda each: each.at, reverse=True)[:most]


def _by_hand(row: IncidentEntry) -> Told:
    """What somebody says that they told."""
    whom = ", ".join(row.told)
    return Told(row.created_at, whom, row.by, row.text, row.actor, row.created_at)


def _of_entry(row: IncidentEntry, message: AlertMessage) -> Told:
    """What somebody wrote; by the alerts' webhook it goes to the team alone."""
    whom = [each for each in row.told if each == TEAM or message.way == Way.EMAIL]
    return Told(
        row.created_at,
        ", ".join(whom),
        message.get_way_display(),
        row.text,
        row.actor,
        message.sent_at,
        message.error,
        _is_given_up(message),
    )


def _of_alert(alert: Alert, message: AlertMessage) -> Told:
    """What an alert of its told by itself."""
    over = message.occasion == AlertMessage.Occasion.RESOLVED
    at = alert.resolved_at if over and alert.resolved_at else alert.opened_at
    what = f"Resolved: {alert.title}" if over else alert.title
    way = message.get_way_display()
    failed = _is_given_up(message)
    return Told(at, TEAM, way, what, "the alert", message.sent_at, message.error, failed)


def _is_given_up(message: AlertMessage) -> bool:
    return message.sent_at is None and message.next_attempt_at is None
