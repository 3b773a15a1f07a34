"""What was done about an incident, and what else happened in its time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, Model, Q, QuerySet
from django.db.models.functions import Coalesce

from billing.incidents.scope import span
from billing.models import (
    Alert,
    BulkJob,
    Incident,
    IncidentEntry,
    OperationRecord,
    ReconciliationRun,
    Recovery,
)

SHOWN = 50  # of what happened
OF_ENTRIES = ("note_incident", "tell_of_incident")
LONG = ("counts", "measures", "report")  # of a run


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened at a time (UTC): what kind of thing, what, and its row."""

    at: datetime
    kind: str
    title: str
    detail: str
    row: Model


def belonging(incident: Incident, most: int = SHOWN) -> list[Happening]:
    """The newest of what belongs to it: notes, who was told, and what was done about it."""
    return _newest(incident, most, belongs=True)


def meanwhile(incident: Incident, most: int = SHOWN) -> list[Happening]:
    """The newest of what else happened in its time."""
    return _newest(incident, most, belongs=False)


def _newest(incident: Incident, most: int, *, belongs: bool) -> list[Happening]:
    since, until = span(incident)

    def rows(model: type[Model], *fields: str) -> QuerySet[Any]:
        """The newest of a table's rows by the times in these fields, the last to come first."""
        found = model._default_manager.filter(incident=incident)
        if not belongs:
            within = Q(*((f"{field}__range", (since, until)) for field in fields), _connector=Q.OR)
            others = Q(incident=None) | ~Q(incident=incident)
            found = model._default_manager.filter(others, within)
        newest = Coalesce(*fields) if len(fields) > 1 else F(fields[0])
        return found.order_by(newest.desc(), "-pk")

    found = [
        *map(_operation, _operations(rows(OperationRecord, "created_at"))[:most]),
        *(each for row in rows(Alert, "resolved_at", "opened_at")[:most] for each in _alert(row)),
        *map(_run, rows(ReconciliationRun, "started_at").defer(*LONG)[:most]),
        *map(_job, rows(BulkJob, "created_at")[:most]),
        *map(_recovery, rows(Recovery, "started_at").defer("report")[:most]),
    ]
    if belongs:
        found += _entries(incident, most)
    else:
        found = [each for each in found if since <= each.at <= until]
    return sorted(found, key=lambda each: each.at, reverse=True)[:most]


def _operations(found: QuerySet[Any]) -> QuerySet[Any]:
    """All but those whose effect is an entry that stands there itself."""
    entries = Q(name__in=OF_ENTRIES, status=OperationRecord.Status.APPLIED)
    return found.exclude(entries).defer("plan", "parameters")


def _operation(row: OperationRecord) -> Happening:
    said = str(row.result.get("summary") or row.error or row.reason)
    title = f"{row.name.replace('_', ' ').capitalize()}, {row.get_status_display().lower()}"
    return Happening(row.created_at, "Operation", title, f"{row.actor}: {said}", row)


def _alert(row: Alert) -> Iterator[Happening]:
    """Its beginning, and its end if that has come."""
    yield Happening(row.opened_at, "Alert opened", row.title, row.detail, row)
    if row.resolved_at:
        yield Happening(row.resolved_at, "Alert over", row.title, row.detail, row)


def _run(row: ReconciliationRun) -> Happening:
    detail = f"{row.get_status_display()}; {row.found:,} found."
    title = f"{row.get_kind_display()} run"
    return Happening(row.started_at, "Reconciliation", title, detail, row)


def _job(row: BulkJob) -> Happening:
    title = f"{row.name.replace('_', ' ').capitalize()}, {row.get_status_display().lower()}"
    return Happening(row.created_at, "Bulk job", title, f"{row.actor}: {row.reason}", row)


def _recovery(row: Recovery) -> Happening:
    title = f"{row.get_kind_display()} recovery, {row.get_status_display().lower()}"
    return Happening(row.started_at, "Recovery", title, f"{row.actor}. {row.error}".strip(), row)


def _entries(incident: Incident, most: int) -> Iterator[Happening]:
    kinds = IncidentEntry.Kind
    for row in incident.entries.all()[:most]:
        title = f"By {row.actor}"
        if row.kind == kinds.TOLD:
            how = f", {row.by}" if row.by else ""
            title = f"{row.actor} told {', '.join(row.told)}{how}"
        yield Happening(row.created_at, row.get_kind_display(), title, row.text, row)
