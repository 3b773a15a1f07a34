"""An incident in figures: how long it took, whom it touched, what was done about it.

They are plain JSON, so that they can be kept as they were when it was closed. Amounts are in
minor units by currency, times ISO 8601 in UTC, spans in seconds.
"""

from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Func, IntegerField, Max, Min, Sum
from django.utils import timezone

from billing.formatting import iso_time
from billing.incidents.scope import MISSED, Scope, scope
from billing.incidents.told import Told, told
from billing.models import (
    BulkItem,
    Incident,
    IncidentEntry,
    MissedEvent,
    OperationRecord,
    Recovery,
)

LISTED = 20  # runs and recoveries
ABOUT_ITSELF = (
    "open_incident", "hand_over_incident", "note_incident", "tell_of_incident", "close_incident",
)  # fmt: skip

Figures = dict[str, Any]


def figures(incident: Incident, *, ended_at: datetime | None = None) -> Figures:
    """What the report says in figures, so far; `ended_at` is the end that is about to be noted."""
    end = ended_at or incident.ended_at
    incident = copy(incident)
    incident.ended_at = end
    now, worst = scope(incident), scope(incident, ever=True)
    times = moments(incident)
    return {
        "as_of": iso_time(timezone.now()),
        **{name: iso_time(at) if at else None for name, at in times.items()},
        "ended_at": iso_time(end) if end else None,
        "seconds": _spans(incident, times, end or timezone.now()),
        "worst": _stake(worst),
        "now": _stake(now),
        "events": _events(incident, now),
        "operations": _operations(incident),
        "bulk": _bulk(incident),
        "recoveries": _recoveries(incident),
        "runs": _runs(incident),
        "told": [_told(each) for each in reversed(told(incident))],
        "notes": incident.entries.filter(kind=IncidentEntry.Kind.NOTE).count(),
    }


def kept_or_now(incident: Incident) -> Figures:
    """As they were when it was closed; while it is open, as they are."""
    return incident.figures or figures(incident)


def moments(incident: Incident) -> dict[str, datetime | None]:
    """When it began, was noticed, was acted upon for the first time, and was mended last."""
    acts = incident.operations.exclude(name__in=ABOUT_ITSELF)
    alert = incident.alert
    recovered = incident.recoveries.filter(status=Recovery.Status.DONE)
    return {
        "started_at": incident.started_at,
        "detected_at": min(alert.opened_at, incident.opened_at) if alert else incident.opened_at,
        "opened_at": incident.opened_at,
        "first_action_at": _first(acts.aggregate(at=Min("created_at"))["at"], incident),
        "recovered_at": recovered.aggregate(at=Max("finished_at"))["at"],
    }


def _first(acted: datetime | None, incident: Incident) -> datetime | None:
    """The first operation or the first recovery, whichever came first."""
    recovered: datetime | None = incident.recoveries.aggregate(at=Min("started_at"))["at"]
    return min((at for at in (acted, recovered) if at), default=None)


def _spans(
    incident: Incident, times: Mapping[str, datetime | None], until: datetime
) -> dict[str, float | None]:
    """How long each took from the start of the trouble, in seconds."""
    named = {
        "lasted": until,
        "to_detection": times["detected_at"],
        "to_first_action": times["first_action_at"],
        "to_recovery": times["recovered_at"],
    }
    start = incident.started_at
    return {
        name: max(0, round((at - start).total_seconds())) if at else None
        for name, at in named.items()
    }


def _stake(found: Scope) -> Figures:
    return {
        "customers": found.customers,
        "access": found.access,
        "purchases": found.purchases,
        "ungranted": found.ungranted,
        "money": dict(found.amounts),
        "credits": found.credits,
        "findings": found.findings,
    }


def _events(incident: Incident, now: Scope) -> dict[str, int]:
    """Those that its recoveries have listed, what became of them, and what else waits."""
    status = MissedEvent.Status
    return {
        "missed": sum(now.missed.values()),
        "recovered": now.missed.get(status.DONE, 0),
        "not_recovered": sum(now.missed.get(each, 0) for each in MISSED),
        "replayed": _replayed(incident),
        "waiting": sum(now.waiting.values()),
    }


def _replayed(incident: Incident) -> int:
    """How many events people have replayed meanwhile."""
    length = Func(
        F("result__details__events"), function="jsonb_array_length", output_field=IntegerField()
    )
    applied = incident.operations.filter(
        name="replay_events",
        status=OperationRecord.Status.APPLIED,
        result__details__events__isnull=False,
    )
    return applied.aggregate(sum=Sum(length))["sum"] or 0


def _operations(incident: Incident) -> dict[str, dict[str, int]]:
    """What people did about it, by kind and by what became of it."""
    counted = incident.operations.exclude(name__in=ABOUT_ITSELF).order_by("name", "status")
    found: dict[str, dict[str, int]] = {}
    for name, status, count in counted.values_list("name", "status").annotate(Count("id")):
        found.setdefault(name, {})[status] = count
    return found


def _bulk(incident: Incident) -> dict[str, int]:
    """The targets of its bulk jobs, by what became of them."""
    items = BulkItem.objects.filter(job__incident=incident).order_by("status")
    return dict(items.values_list("status").annotate(Count("id")))


def _recoveries(incident: Incident) -> list[Figures]:
    rows = incident.recoveries.order_by("-started_at")[:LISTED]
    listed = MissedEvent.objects.filter(recovery__incident=incident).order_by()
    missed = dict(listed.values_list("recovery").annotate(Count("id")))
    return [
        {
            "id": row.pk,
            "kind": row.kind,
            "status": row.status,
            "since": iso_time(row.since),
            "until": iso_time(row.until),
            "seconds": round(row.seconds, 1),
            "missed": missed.get(row.pk, 0),
            "api_calls": row.api_calls,
        }
        for row in reversed(rows)
    ]


def _runs(incident: Incident) -> list[Figures]:
    rows = incident.runs.defer("counts", "measures", "report").order_by("-started_at")[:LISTED]
    return [
        {
            "id": row.pk,
            "kind": row.kind,
            "status": row.status,
            "started_at": iso_time(row.started_at),
            "found": row.found,
            "at_stake": row.at_stake,
        }
        for row in reversed(rows)
    ]


def _told(each: Told) -> Figures:
    return {
        "at": iso_time(each.at),
        "whom": each.whom,
        "way": each.way,
        "state": each.state,
        "what": each.what[:200],
    }
