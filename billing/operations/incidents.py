"""The work on incidents: opened, noted in, told of, handed over, closed with a report.

None of it touches what is wrong. An incident's scope and its timeline are computed from what
happened meanwhile (billing.incidents); its figures alone are written down, when it is closed.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.utils import timezone

from billing.formatting import format_time
from billing.incidents.figures import figures
from billing.incidents.told import TEAM
from billing.ingress.queue import defer_once
from billing.models import (
    Alert,
    AlertMessage,
    BulkJob,
    InboxEvent,
    Incident,
    IncidentEntry,
    OperationRecord,
    ReconciliationRun,
    Recovery,
)
from billing.models.incidents import open_incidents
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
from billing.permissions import (
    CLOSE_INCIDENT,
    HAND_OVER_INCIDENT,
    NOTE_INCIDENT,
    OPEN_INCIDENT,
    TELL_OF_INCIDENT,
)

PREFIX = "incident:"  # of an incident's number, where other ids stand beside it
MAX_TITLE = 200  # characters
MAX_REPORT = 10_000  # characters
MAX_NOTE = 5_000
MAX_MESSAGE = 2_000
MAX_NAME = 200  # of somebody who is told, and of how
MOST_TOLD = 50  # at once
MOST = 2**63 - 1
ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
TELL = "billing.tell"

Way = AlertMessage.Way


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
            OperationRecord.objects.filter(pk=record.pk).update(incident=row)
            self._attach(row)
            commit.result = result = Result(
                f"Incident {row.pk} is open: {row}.",
                self._changes(start),
                details={"incident": row.pk, "alert": self.alert_id},
            )
        return result

    def _attach(self, row: Incident) -> None:
        """What somebody began before he opened it, in its time, and its alerts belong to it."""
        began: tuple[tuple[type[Model], str], ...] = (
            (Alert, "opened_at"),
            (BulkJob, "created_at"),
            (ReconciliationRun, "started_at"),
            (Recovery, "started_at"),
        )
        for model, field in began:
            found = model._default_manager.filter(incident=None)
            found.filter(**{f"{field}__gte": row.started_at}).update(incident=row)
        if self.alert_id:
            Alert.objects.filter(pk=self.alert_id, incident=None).update(incident=row)

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
    """One step of the work on an incident."""

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

    def belongs_to(self) -> Incident | None:
        return Incident.objects.filter(pk=self.incident_id).first()

    @abstractmethod
    def write(self, row: Incident) -> dict[str, Any]:
        """Writes it, inside the transaction; what the audit event says of it besides."""

    @abstractmethod
    def changes(self, row: Incident) -> list[Change]:
        """What would change."""

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
            changes, written = self.changes(row), self.write(row)
            about = {"incident": row.pk, "title": row.title}
            commit.result = result = Result(self.done(row), changes, details=about | written)
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details


def closed(row: Incident) -> str:
    """That it is closed, in a sentence; '' while it is open."""
    return f"{row.closed_by} has closed it already." if row.ended_at else ""


def set_fields(row: Incident, **values: Any) -> dict[str, Any]:
    """Writes an incident's fields; what the audit event says of it."""
    Incident.objects.filter(pk=row.pk).update(**values)
    return {"set": plain(values)}


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

    def write(self, row: Incident) -> dict[str, Any]:
        return {"owner_before": row.owner, **set_fields(row, owner=self.owner)}

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
    """Closes an incident for good, with a report. `ended_at` (UTC) is now where it is not said.

    Its figures are kept as they are then.
    """

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

    def write(self, row: Incident) -> dict[str, Any]:
        ended_at = self.ended_at or timezone.now()
        return set_fields(
            row,
            ended_at=ended_at,
            closed_by=self.actor.name,
            closing_report=self.report_text,
            figures=figures(row, ended_at=ended_at),
        )

    def changes(self, row: Incident) -> list[Change]:
        end = format_time(self.ended_at) if self.ended_at else "now"
        return [Change("Ended", "no", end), Change("Closing report", "", self.report_text)]

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A closed incident stays closed: open another one.")


class EntryOperation(IncidentOperation):
    """Something that is written into an incident for good, be it open or closed."""

    def objection(self, row: Incident) -> str:
        return ""

    @abstractmethod
    def entry(self, row: Incident) -> IncidentEntry:
        """What is to be written, not saved yet."""

    def write(self, row: Incident) -> dict[str, Any]:
        made = self.entry(row)
        made.incident, made.actor, made.operation_key = row, self.actor.name, self.key
        made.save(force_insert=True)
        said = {"entry": made.pk, "text": made.text, "told": made.told, "by": made.by}
        return {name: value for name, value in said.items() if value}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("What stands in an incident stays there: write what is right.")


class NoteIncident(EntryOperation):
    """Writes a note into an incident, which stands in its timeline and in its report."""

    name = "note_incident"
    title = "Note in incident"
    permission = NOTE_INCIDENT
    audit_type = "manual.incident_noted"

    def __init__(self, *, text: str, **common: Any) -> None:
        super().__init__(**common)
        self.text = inputs.words(text.replace("\r\n", "\n"), "The note", most=MAX_NOTE)

    def parameters(self) -> dict[str, Any]:
        return {"incident_id": self.incident_id, "text": self.text}

    def summary(self, row: Incident) -> str:
        return f"Write a note into “{row}”. It stands there for good."

    def done(self, row: Incident) -> str:
        return f"The note stands in incident {row.pk}."

    def changes(self, row: Incident) -> list[Change]:
        return [Change("Note", "", self.text)]

    def entry(self, row: Incident) -> IncidentEntry:
        return IncidentEntry(kind=IncidentEntry.Kind.NOTE, text=self.text)


class TellOfIncident(EntryOperation):
    """Tells people of an incident, or notes that somebody told them otherwise.

    `to` are email addresses, and `team` for those whom the alerts tell, by the same ways. With
    `by` (by phone, on the status page) they are names, and nothing is sent.
    """

    name = "tell_of_incident"
    title = "Tell of incident"
    permission = TELL_OF_INCIDENT
    audit_type = "manual.incident_told_of"

    def __init__(
        self, *, to: str | Iterable[str], message: str, by: str = "", **common: Any
    ) -> None:
        super().__init__(**common)
        self.by = one_line(by, "How they were told") if by.strip() else ""
        self.to = recipients(to, are_names=bool(self.by))
        self.message = inputs.words(message.replace("\r\n", "\n"), "The message", most=MAX_MESSAGE)

    def parameters(self) -> dict[str, Any]:
        named = {"to": self.to, "message": self.message, "by": self.by}
        return {"incident_id": self.incident_id, **named}

    def objection(self, row: Incident) -> str:
        if self.by:
            return ""
        if TEAM in self.to and not (settings.ALERT_EMAILS or settings.ALERT_WEBHOOK_URL):
            return (
                "Nobody can be told as the team: ALERT_EMAILS and ALERT_WEBHOOK_URL are not set."
                " Name email addresses, or say how you told them."
            )
        if Way.EMAIL in self.ways() and settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
            return "No letter would go out: EMAIL_URL is not set. Tell them, and say how you did."
        return ""

    def ways(self) -> list[str]:
        """By what the message goes out; none where somebody told them otherwise."""
        if self.by:
            return []
        is_team = TEAM in self.to
        by_email = set(self.to) > {TEAM} or not is_team or settings.ALERT_EMAILS
        ways = {Way.EMAIL: by_email, Way.WEBHOOK: is_team and settings.ALERT_WEBHOOK_URL}
        return [way.value for way, goes in ways.items() if goes]

    def summary(self, row: Incident) -> str:
        if self.by:
            return f"Note that {', '.join(self.to)} know of “{row}”: {self.by}. Nothing is sent."
        return f"Tell {', '.join(self.to)} of “{row}”."

    def done(self, row: Incident) -> str:
        if self.by:
            return f"It stands in incident {row.pk} that {', '.join(self.to)} were told: {self.by}."
        return f"{', '.join(self.to)} are told of incident {row.pk}: its page says when it arrived."

    def warnings(self) -> list[str]:
        said = "What goes out cannot be called back." if self.ways() else ""
        return [*([said] if said else []), *super().warnings()]

    def changes(self, row: Incident) -> list[Change]:
        return [
            Change("Told", "", ", ".join(self.to)),
            Change("How", "", self.by or ", ".join(self.ways())),
            Change("Message", "", self.message),
        ]

    def entry(self, row: Incident) -> IncidentEntry:
        told = IncidentEntry.Kind.TOLD
        return IncidentEntry(kind=told, text=self.message, told=self.to, by=self.by)

    def write(self, row: Incident) -> dict[str, Any]:
        """With the messages that go out once this is committed (billing.alerts.telling)."""
        written, ways = super().write(row), self.ways()
        AlertMessage.objects.bulk_create(
            AlertMessage(entry_id=written["entry"], occasion=AlertMessage.Occasion.WRITTEN, way=way)
            for way in ways
        )
        if ways:
            defer_once(TELL, TELL)
        return {**written, "ways": ways}


def one_line(text: str, what: str) -> str:
    """A short text of printable characters. Raises InvalidInputError."""
    cleaned = inputs.words(text, what, most=MAX_NAME)
    if not cleaned.isprintable():
        raise InvalidInputError(f"{what} is one line of printable characters.")
    return cleaned


def recipients(to: str | Iterable[str], *, are_names: bool) -> list[str]:
    """Who is told, each once, from a text with commas between. Raises InvalidInputError."""
    parts = re.split(r"[,;\n]", to) if isinstance(to, str) else to
    found = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not found:
        raise InvalidInputError(f"Say who is told: email addresses, or {TEAM}.")
    if len(found) > MOST_TOLD:
        raise InvalidInputError(f"That is too many at once: at most {MOST_TOLD}.")
    for each in found:
        one_line(each, "Who is told")
        if not (are_names or each == TEAM or ADDRESS.fullmatch(each)):
            raise InvalidInputError(
                f"“{each[:60]}” is no email address. Write {TEAM} for those whom the alerts tell,"
                " or say how you told them."
            )
    return found
