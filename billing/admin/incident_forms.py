"""The forms of the work on incidents."""

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.finding_forms import ME, chosen_user, users
from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.incidents.figures import figures
from billing.incidents.scope import scope
from billing.incidents.told import TEAM
from billing.incidents.wording import draft, short
from billing.models import Incident
from billing.operations.incidents import (
    MAX_MESSAGE,
    MAX_NAME,
    MAX_NOTE,
    MAX_REPORT,
    MOST,
    PREFIX,
    CloseIncident,
    HandOverIncident,
    NoteIncident,
    OpenIncident,
    TellOfIncident,
    last_good_event,
)

INCIDENT_HELP = "The incident's number."
TIME_HELP = "UTC, such as 2026-03-01T09:30."


def proposed_start() -> str:
    """The last good event's time, else now, as the field takes it: UTC, to the second."""
    return f"{last_good_event() or timezone.now():%Y-%m-%dT%H:%M:%S}"


def asked_about(answers: QueryDict) -> Incident | None:
    """The incident that a form's address names, if it names one that there is."""
    number = answers.get("target", "").strip().removeprefix(PREFIX)
    if not (number.isascii() and number.isdecimal() and int(number) <= MOST):
        return None
    return Incident.objects.filter(pk=int(number)).first()


class OwnerField(forms.ChoiceField):
    """A user who looks after it: oneself, where nobody else is chosen."""

    def __init__(self) -> None:
        super().__init__(
            label="Owner",
            required=False,
            choices=users,
            initial=ME,
            widget=UnfoldAdminSelectWidget,
        )


class OpenIncidentForm(OperationForm):
    operation = OpenIncident
    intro = (
        "Says on every page that something is wrong as a whole, since when, and who looks after"
        " it. Nothing else changes."
    )
    usual = {"reason": "Something is wrong as a whole", "reason_code": "incident"}

    target = TargetsField(label="Title", help_text="What is wrong, in a few words.")
    started_at = forms.CharField(
        label="Start of the trouble",
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        initial=proposed_start,
        help_text=f"{TIME_HELP} Proposed: when the last event happened that was processed.",
    )
    owner = OwnerField()
    alert = forms.CharField(
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="The number of the alert that it is opened from, if there is one.",
    )
    field_order = ("target", "started_at", "owner", "alert")

    def arguments(self) -> dict[str, Any]:
        return {
            "started_at": self.cleaned_data["started_at"],
            "owner": chosen_user(self.cleaned_data["owner"]),
            "alert_id": self.cleaned_data["alert"] or None,
        }


class HandOverIncidentForm(OperationForm):
    operation = HandOverIncident
    intro = "Says who looks after it from now on. Nothing else changes."

    target = TargetsField(label="Incident", help_text=INCIDENT_HELP)
    owner = OwnerField()
    field_order = ("target", "owner")

    def arguments(self) -> dict[str, Any]:
        return {"owner": chosen_user(self.cleaned_data["owner"])}


class NoteIncidentForm(OperationForm):
    operation = NoteIncident
    intro = "Stands in the incident's timeline and in its report, for good."
    usual = {"reason": "A note on the incident", "reason_code": "incident"}

    target = TargetsField(label="Incident", help_text=INCIDENT_HELP)
    text = forms.CharField(
        label="Note", max_length=MAX_NOTE, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4})
    )
    field_order = ("target", "text")

    def arguments(self) -> dict[str, Any]:
        return {"text": self.cleaned_data["text"]}


class TellOfIncidentForm(OperationForm):
    operation = TellOfIncident
    intro = (
        "Sends the message, with the address of the incident's page, or notes that you told"
        " somebody otherwise. The incident's page says whether it arrived."
    )
    usual = {"reason": "They have to know", "reason_code": "incident"}

    target = TargetsField(label="Incident", help_text=INCIDENT_HELP)
    to = forms.CharField(
        label="Whom",
        max_length=2_000,
        initial=TEAM,
        widget=UnfoldAdminTextInputWidget,
        help_text=(
            f"Email addresses with commas between; {TEAM} for those whom the alerts tell."
            " Names, if you told them otherwise."
        ),
    )
    by = forms.CharField(
        label="How you told them, if nothing is to be sent",
        required=False,
        max_length=MAX_NAME,
        widget=UnfoldAdminTextInputWidget,
        help_text="Such as: by phone, or: on the status page.",
    )
    message = forms.CharField(
        max_length=MAX_MESSAGE, widget=UnfoldAdminTextareaWidget(attrs={"rows": 5})
    )
    field_order = ("target", "to", "by", "message")

    @classmethod
    def asking(cls, answers: QueryDict) -> OperationForm:
        """With a message that says what is known."""
        form, row = super().asking(answers), asked_about(answers)
        if row and not form.initial.get("message"):
            form.initial["message"] = short(row, scope(row))
        return form

    def arguments(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("to", "by", "message")}


class CloseIncidentForm(OperationForm):
    operation = CloseIncident
    intro = (
        "Ends the incident for good. The report is what people read afterwards: what happened,"
        " whom it touched, what was done, and what is to be done yet. Its figures are kept as they"
        " are now."
    )
    usual = {"reason": "It is over", "reason_code": "incident"}

    target = TargetsField(label="Incident", help_text=INCIDENT_HELP)
    report = forms.CharField(
        label="Closing report",
        max_length=MAX_REPORT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24}),
        help_text="A draft from what is known. Change it, and write what no figure says.",
    )
    ended_at = forms.CharField(
        label="End of the trouble",
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text=f"{TIME_HELP} Now, where it is left empty.",
    )
    field_order = ("target", "report", "ended_at")

    @classmethod
    def asking(cls, answers: QueryDict) -> OperationForm:
        """With a draft of the report."""
        form, row = super().asking(answers), asked_about(answers)
        if row and not row.ended_at and not form.initial.get("report"):
            form.initial["report"] = draft(row, figures(row, ended_at=timezone.now()))[:MAX_REPORT]
        return form

    def arguments(self) -> dict[str, Any]:
        return {
            "report": self.cleaned_data["report"],
            "ended_at": self.cleaned_data["ended_at"] or None,
        }
