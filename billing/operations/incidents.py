"""The work on incidents: opened, handed over, closed with a report.

None of it touches what is wrong. An incident's scope and its timeline are computed from what
happened meanwhile (billing.reconciliation.incidents), and are never written down.
"""

from abc import abstractmethod
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from billing.formatting import format_time
from billing.models import Alert, InboxEvent, Incident, OperationRecord
from billing.operations import inputs, owners
from billing.operations.base import (
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
    plain,
)
from billing.permissions import CLOSE_INCIDENT, HAND_OVER_INCIDENT, OPEN_INCIDENT

PREFIX = "incident:"  # of an incident's number, where other ids stand beside it
MAX_TITLE = 200  # characters
MAX_REPORT = 10_000  # characters
MOST = 2**63 - 1


def open_incidents() -> QuerySet[Incident]:
    """Those that are open, the latest trouble first."""
    return Incident.objects.filter(ended_at=None)


def last_good_event() -> datetime | None:
    """When the newest event happened at Stripe that was processed here; None without one.

    Where the trouble is with events, it began after that.
    """
    processed = InboxEvent.objects.filter(status=InboxEvent.Status.PROCESSED)
    newest = processed.order_by("-stripe_created_at").values_list("stripe_created_at", flat=True)
    return newest.first()


def of_alert(alert_id: int) -> str:
    """Which incident is open for an alert, in a sentence; '' where none is."""
    row = open_incidents().filter(alert_id=alert_id).first()
    return f"“{row}” is open for this alert already." if row else ""


class OpenIncident(Operation):
    """Opens an incident. What is not said is proposed: the trouble began with the last good
    event, and who opens it owns it.

    `started_at` is a time in UTC, `alert_id` the number of the alert that it is opened from.
    """

    name = "open_incident"
    title = "Open an incident"
    permission = OPEN_INCIDENT
    audit_type = "manual.incident_opened"
    target = "incident_title"

    def __init__(
        self,
        *,
        incident_title: str,
        started_at: str | None = None,
        owner: str | None = None,
        alert_id: int | str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.incident_title = inputs.words(incident_title, "The title", most=MAX_TITLE)
        if not self.incident_title.isprintable():
            raise InvalidInputError("The title is one line of printable characters.")
        self.started_at = inputs.moment(started_at) if started_at else None
        self.owner = owners.named_or(self.actor, owner)
        self.alert_id = (
            inputs.whole_number(alert_id, "The number of the alert", least=1, most=MOST)
            if alert_id
            else None
        )

    @property
    def subject(self) -> str:
        return self.incident_title

    @property
    def turn(self) -> str:
        return "opening an incident"

    def parameters(self) -> dict[str, Any]:
        return {
            "incident_title": self.incident_title,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "owner": self.owner,
            "alert_id": self.alert_id,
        }

    def plan(self) -> Plan:
        start = self._start_of_trouble()
        return Plan(
            f"Open the incident “{self.incident_title}”. Every page says so until it is closed.",
            self._changes(start),
            warnings=[
                f"Another one is open: “{row}”, since {format_time(row.started_at)}."
                for row in open_incidents()[:3]
            ],
            blocked=self._objection(start),
        )

    def run(self, record: OperationRecord) -> Result:
        start = self._start_of_trouble()
        with self.committing(record) as commit:
            row = Incident.objects.create(
                title=self.incident_title,
                started_at=start,
                owner=self.owner,
                opened_by=self.actor.name,
                alert_id=self.alert_id,
                operation_key=self.key,
            )
            commit.result = result = Result(
                f"Incident {row.pk} is open: {row}.",
                self._changes(start),
                details={"incident": row.pk, "alert": self.alert_id},
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("An incident stays: close it, and say in the report what it was.")

    def _start_of_trouble(self) -> datetime:
        return self.started_at or last_good_event() or timezone.now()

    def _changes(self, start: datetime) -> list[Change]:
        return [
            Change("Incident", "", self.incident_title),
            Change("Start of the trouble", "", format_time(start)),
            Change("Owner", "", self.owner),
        ]

    def _objection(self, start: datetime) -> str:
        if start > timezone.now():
            return f"{format_time(start)} is to come: name when the trouble began."
        if self.alert_id and not Alert.objects.filter(pk=self.alert_id).exists():
            return f"There is no alert {self.alert_id}."
        if self.alert_id and (open_already := of_alert(self.alert_id)):
            return open_already
        return owners.objection(self.owner)


class IncidentOperation(Operation):
    """One step of the work on an open incident."""

    target = "incident_id"

    def __init__(self, *, incident_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        self.incident_id = inputs.whole_number(
            str(incident_id).strip().removeprefix(PREFIX),
            "The number of the incident",
            least=1,
            most=MOST,
        )

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.incident_id}"

    @abstractmethod
    def values(self, row: Incident) -> dict[str, Any]:
        """The row's fields as they are to be."""

    @abstractmethod
    def changes(self, row: Incident) -> list[Change]:
        """The same as it is shown."""

    @abstractmethod
    def summary(self, row: Incident) -> str:
        """What is to be done, in a sentence."""

    @abstractmethod
    def done(self, row: Incident) -> str:
        """What was done, in a sentence."""

    def objection(self, row: Incident) -> str:
        """Why it makes no sense for the row as it is; '' where it does."""
        return closed(row)

    def warnings(self) -> list[str]:
        return self.under_way()

    def plan(self) -> Plan:
        row = Incident.objects.filter(pk=self.incident_id).first()
        if row is None:
            nothing = f"There is no incident {self.incident_id}."
            return Plan(nothing, blocked=nothing)
        plan = Plan(self.summary(row), blocked=self.objection(row))
        if not plan.blocked:
            plan.changes, plan.warnings = self.changes(row), self.warnings()
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = Incident.objects.select_for_update().get(pk=self.incident_id)
            if objection := self.objection(row):
                raise OperationError(objection)
            values = self.values(row)
            Incident.objects.filter(pk=row.pk).update(**values)
            commit.result = result = Result(
                self.done(row),
                self.changes(row),
                details={
                    "incident": row.pk,
                    "title": row.title,
                    "owner_before": row.owner,
                    "set": plain(values),
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details


def closed(row: Incident) -> str:
    """That it is closed, in a sentence; '' while it is open."""
    return f"{row.closed_by} has closed it already." if row.ended_at else ""


class HandOverIncident(IncidentOperation):
    """Makes another user the owner: who asks for it, where none is named."""

    name = "hand_over_incident"
    title = "Hand over incident"
    permission = HAND_OVER_INCIDENT
    audit_type = "manual.incident_handed_over"

    def __init__(self, *, owner: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.owner = owners.named_or(self.actor, owner)

    def parameters(self) -> dict[str, Any]:
        return {"incident_id": self.incident_id, "owner": self.owner}

    def summary(self, row: Incident) -> str:
        return f"{self.owner} looks after “{row}” from now on."

    def done(self, row: Incident) -> str:
        return f"{self.owner} looks after incident {row.pk} now."

    def objection(self, row: Incident) -> str:
        if row.owner == self.owner:
            return f"{self.owner} owns it already."
        return super().objection(row) or owners.objection(self.owner)

    def values(self, row: Incident) -> dict[str, Any]:
        return {"owner": self.owner}

    def changes(self, row: Incident) -> list[Change]:
        return [Change("Owner", row.owner, self.owner)]

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        return cls(
            incident_id=record.parameters["incident_id"],
            owner=record.result["details"]["owner_before"],
            undoes=record,
            **common,
        )


class CloseIncident(IncidentOperation):
    """Closes an incident for good, with a report. `ended_at` (UTC) is now where it is not said."""

    name = "close_incident"
    title = "Close incident"
    permission = CLOSE_INCIDENT
    audit_type = "manual.incident_closed"

    def __init__(self, *, report: str, ended_at: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.report_text = inputs.words(
            report.replace("\r\n", "\n"), "The closing report", most=MAX_REPORT
        )
        self.ended_at = inputs.moment(ended_at) if ended_at else None

    def parameters(self) -> dict[str, Any]:
        return {
            "incident_id": self.incident_id,
            "report": self.report_text,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }

    def summary(self, row: Incident) -> str:
        return f"Close “{row}”, open since {format_time(row.started_at)}, for good."

    def done(self, row: Incident) -> str:
        return f"Incident {row.pk} is closed: {row}."

    def objection(self, row: Incident) -> str:
        if self.ended_at and self.ended_at > timezone.now():
            return f"{format_time(self.ended_at)} is to come: close it when it is over."
        if self.ended_at and self.ended_at < row.started_at:
            return f"It began at {format_time(row.started_at)}: it cannot have ended before."
        return super().objection(row)

    def warnings(self) -> list[str]:
        said = (
            "This cannot be undone: the incident is never opened again, and its report stands as"
            " it is. Open another one if the trouble comes back."
        )
        return [said, *super().warnings()]

    def values(self, row: Incident) -> dict[str, Any]:
        return {
            "ended_at": self.ended_at or timezone.now(),
            "closed_by": self.actor.name,
            "closing_report": self.report_text,
        }

    def changes(self, row: Incident) -> list[Change]:
        end = format_time(self.ended_at) if self.ended_at else "now"
        return [Change("Ended", "no", end), Change("Closing report", "", self.report_text)]

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A closed incident stays closed: open another one.")
