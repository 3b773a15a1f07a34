"""The forms of what is done to subscriptions here: recorded, and their status set by hand."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.overrides import MOST_HOURS, STATUSES, EndOverride, OverrideStatus
from billing.operations.recording import RecordSubscription


class RecordForm(OperationForm):
    operation = RecordSubscription
    intro = (
        "Writes a subscription whose webhook never came, as Stripe has it, with its customer,"
        " invoices and the credits that were paid for. Nothing changes at Stripe."
    )

    target = TargetsField(label="Subscription", help_text="Stripe's id, sub_.")
    user_id = forms.CharField(
        label="User",
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Our own id of the user, where Stripe does not tell it. Optional.",
    )
    field_order = ("target", "user_id")

    def arguments(self) -> dict[str, Any]:
        return {"user_id": self.cleaned_data["user_id"] or None}


class OverrideForm(OperationForm):
    operation = OverrideStatus
    intro = (
        "Sets a subscription's status here by hand, while Stripe cannot be asked. A second"
        " person has to approve it. It ends by itself as soon as Stripe's own word comes in, or"
        " when its time is over."
    )

    target = TargetsField(label="Subscription", help_text="Stripe's id, sub_.")
    status = forms.ChoiceField(
        widget=UnfoldAdminSelectWidget,
        choices=[("", "Choose…"), *((one, one.replace("_", " ")) for one in STATUSES)],
    )
    hours = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"How long it stands at most: from 1 to {MOST_HOURS} hours.",
    )
    field_order = ("target", "status", "hours")

    def arguments(self) -> dict[str, Any]:
        return {"status": self.cleaned_data["status"], "hours": self.cleaned_data["hours"]}


class EndOverrideForm(OperationForm):
    operation = EndOverride
    intro = (
        "Ends a status that was set by hand. Stripe is asked for its own; where it does not"
        " answer, the status from before comes back."
    )

    target = TargetsField(label="Subscription", help_text="Stripe's id, sub_.")
