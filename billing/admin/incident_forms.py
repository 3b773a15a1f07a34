"""The forms of the work on incidents."""

from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.finding_forms import ME, chosen_user, users
from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.incidents import (
    CloseIncident,
    HandOverIncident,
    OpenIncident,
    last_good_event,
)

INCIDENT_HELP = "The incident's number."
TIME_HELP = "UTC, such as 2026-03-01T09:30."


def proposed_start() -> str:
    """The last good event's time, else now, as the field takes it: UTC, to the second."""
    return f"{last_good_event() or timezone.now():%Y-%m-%dT%H:%M:%S}"


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


class CloseIncidentForm(OperationForm):
    operation = CloseIncident
    intro = (
        "Ends the incident for good. The report is what people read afterwards: what happened,"
        " whom it touched, what was done, and what is to be done yet."
    )

    target = TargetsField(label="Incident", help_text=INCIDENT_HELP)
    report = forms.CharField(
        label="Closing report", widget=UnfoldAdminTextareaWidget(attrs={"rows": 8})
    )
    ended_at = forms.CharField(
        label="End of the trouble",
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text=f"{TIME_HELP} Now, where it is left empty.",
    )
    field_order = ("target", "report", "ended_at")

    def arguments(self) -> dict[str, Any]:
        return {
            "report": self.cleaned_data["report"],
            "ended_at": self.cleaned_data["ended_at"] or None,
        }
