"""The forms of the work on findings and on reconciliation runs."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.models import ReconciliationRun
from billing.operations.findings import (
    MOST_DAYS,
    AcceptFinding,
    ReopenFinding,
    SnoozeFinding,
    TakeFinding,
)
from billing.operations.fixing import FixFinding
from billing.operations.runs import SignOffRun, StartReconciliation

MOST_USERS = 200  # to hand a finding to, in a list
ME, NOBODY, USER = "me", "nobody", "user:"  # what the owner's field says
FINDING_HELP = "The finding's number."


def users() -> list[tuple[str, str]]:
    """Who may own something: oneself, or an active user."""
    active = get_user_model()._default_manager.filter(is_active=True, is_staff=True)
    names = active.order_by("username").values_list("username", flat=True)[:MOST_USERS]
    return [(ME, "Me"), *((f"{USER}{name}", str(name)) for name in names)]


def chosen_user(choice: str) -> str | None:
    """The user whom the owner's field names; None for oneself."""
    return choice.removeprefix(USER) if choice.startswith(USER) else None


def owners() -> list[tuple[str, str]]:
    """Who may own a finding: a user, or nobody."""
    return [*users(), (NOBODY, "Nobody: lay it down")]


def in_a_week() -> str:
    """What is usual, as the field takes it: UTC, to the minute."""
    return (timezone.now() + timedelta(days=7)).strftime("%Y-%m-%dT%H:%M")


class TakeFindingForm(OperationForm):
    operation = TakeFinding
    intro = "Says who looks after it. Nothing else changes."
    usual = {"reason": "Looking after it", "reason_code": "data_repair"}

    target = TargetsField(label="Finding", help_text=FINDING_HELP)
    owner = forms.ChoiceField(
        label="Owner",
        required=False,
        choices=owners,
        initial=ME,
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ("target", "owner")

    def arguments(self) -> dict[str, Any]:
        chosen = self.cleaned_data["owner"]
        return {"owner": "" if chosen == NOBODY else chosen_user(chosen)}


class SnoozeFindingForm(OperationForm):
    operation = SnoozeFinding
    intro = "Takes it off the list of what is open until then. It is open again by itself."

    target = TargetsField(label="Finding", help_text=FINDING_HELP)
    until = forms.CharField(
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        initial=in_a_week,
        help_text=f"UTC, such as 2026-03-01T09:30. At most {MOST_DAYS} days ahead.",
    )
    field_order = ("target", "until")

    def arguments(self) -> dict[str, Any]:
        return {"until": self.cleaned_data["until"]}


class AcceptFindingForm(OperationForm):
    operation = AcceptFinding
    intro = (
        "Leaves it as it is, for the reason that you give. It opens again when something else is"
        " at stake."
    )

    target = TargetsField(label="Finding", help_text=FINDING_HELP)


class ReopenFindingForm(OperationForm):
    operation = ReopenFinding
    intro = "Puts it back on the list of what is open."
    usual = {"reason": "It needs another look", "reason_code": "data_repair"}

    target = TargetsField(label="Finding", help_text=FINDING_HELP)


class FixFindingForm(OperationForm):
    operation = FixFinding
    intro = "Runs what the finding recommends, as if it had been filled in by hand."
    usual = {"reason": "Found by reconciliation", "reason_code": "data_repair"}

    target = TargetsField(label="Finding", help_text=FINDING_HELP)


class StartReconciliationForm(OperationForm):
    operation = StartReconciliation
    intro = (
        "Compares our books with Stripe's in the background, and keeps every difference as a"
        " finding. It changes nothing here or there."
    )
    usual = {"reason": "Started by hand", "reason_code": "data_repair"}

    target = TargetsField(
        label="Run", widget=UnfoldAdminSelectWidget(choices=ReconciliationRun.Kind.choices)
    )
    since = forms.CharField(
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="UTC, such as 2026-03-01T09:30: where it begins, instead of where the last one"
        " ended. Optional.",
    )
    field_order = ("target", "since")

    def arguments(self) -> dict[str, Any]:
        return {"since": self.cleaned_data["since"] or None}


class SignOffForm(OperationForm):
    operation = SignOffRun
    intro = "Puts your name under a finished run, once. Your own words stand beside it for good."
    usual = {"reason_code": "other"}

    target = TargetsField(label="Run", help_text="The run's number.")
