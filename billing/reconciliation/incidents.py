"""What an incident touches and what happened meanwhile, computed from the rows of its time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Model, Q, Sum, Value
from django.db.models.functions import Coalesce, Concat, NullIf
from django.utils import timezone

from billing.models import Alert, InboxEvent, Incident, OperationRecord, ReconciliationRun
from billing.reconciliation.worklist import open_findings

SHOWN = 50  # of what happened

Status = InboxEvent.Status


def span(incident: Incident) -> tuple[datetime, datetime]:
    """From when to when the trouble lasted (UTC): until now, while it is open."""
    return incident.started_at, incident.ended_at or timezone.now()


def seen_in(incident: Incident) -> Q:
    """Findings that were first or last seen in the time of an incident."""
    return Q(first_seen_at__range=span(incident)) | Q(last_seen_at__range=span(incident))


@dataclass(frozen=True, slots=True)
class Scope:
    """How far an incident reaches: what was found in its time and is open now.

    `amounts` is the money at stake by currency, in minor units; `waiting` the number of events
    that came in that time and are pending, failed or dead now, by status.
    """

    customers: int
    findings: int
    amounts: Mapping[str, int]
    credits: int
    waiting: Mapping[str, int]


def scope(incident: Incident) -> Scope:
    """Three statements, whatever its size."""
    found = open_findings().filter(seen_in(incident)).order_by()
    whose = Coalesce(
        NullIf("user_id", Value("")),
        NullIf(Concat(Value("at Stripe: "), "stripe_customer_id"), Value("at Stripe: ")),
    )
    counted = found.aggregate(
        customers=Count(whose, distinct=True), findings=Count("id"), credits=Sum("credits")
    )
    money = found.exclude(amount=None).values_list("currency").annotate(Sum("amount"))
    came = InboxEvent.objects.filter(
        received_at__range=span(incident),
        status__in=(Status.PENDING, Status.FAILED, Status.DEAD),
    )
    return Scope(
        customers=counted["customers"],
        findings=counted["findings"],
        amounts=dict(money),
        credits=counted["credits"] or 0,
        waiting=dict(came.order_by().values_list("status").annotate(Count("id"))),
    )


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened at a time (UTC): what kind of thing, what, and its row."""

    at: datetime
    kind: str
    title: str
    detail: str
    row: Model


def happened(incident: Incident, most: int = SHOWN) -> list[Happening]:
    """The newest of what people did, what was told of, and what was compared meanwhile."""
    found = [
        *_operations(incident, most),
        *_alerts(incident, most, "opened_at", "opened"),
        *_alerts(incident, most, "resolved_at", "over"),
        *_runs(incident, most),
    ]
    return sorted(found, key=lambda each: each.at, reverse=True)[:most]


def _within(incident: Incident, field: str) -> dict[str, Any]:
    return {f"{field}__range": span(incident)}


def _operations(incident: Incident, most: int) -> Iterator[Happening]:
    rows = OperationRecord.objects.filter(**_within(incident, "created_at"))
    for row in rows.defer("plan", "parameters")[:most]:
        said = str(row.result.get("summary") or row.error or row.reason)
        title = f"{row.name.replace('_', ' ').capitalize()}, {row.get_status_display().lower()}"
        yield Happening(row.created_at, "Operation", title, f"{row.actor}: {said}", row)


def _alerts(incident: Incident, most: int, field: str, word: str) -> Iterator[Happening]:
    rows = Alert.objects.filter(**_within(incident, field)).order_by(f"-{field}", "-id")
    for row in rows[:most]:
        yield Happening(getattr(row, field), f"Alert {word}", row.title, row.detail, row)


def _runs(incident: Incident, most: int) -> Iterator[Happening]:
    rows = ReconciliationRun.objects.filter(**_within(incident, "started_at"))
    for row in rows.defer("counts", "measures", "report")[:most]:
        detail = f"{row.get_status_display()}; {row.found:,} found."
        yield Happening(
            row.started_at, "Reconciliation", f"{row.get_kind_display()} run", detail, row
        )
