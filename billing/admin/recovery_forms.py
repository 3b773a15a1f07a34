"""The form that starts a recovery."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.recoveries import ALL, CRITICAL, StartRecovery


class StartRecoveryForm(OperationForm):
    operation = StartRecovery
    intro = (
        "Lists what Stripe has and was not processed here, and processes it, in the background."
        " What it brings is granted once at most, whatever Stripe delivers meanwhile."
    )
    usual = {"reason": "Webhooks were lost", "reason_code": "webhook_missed"}

    target = TargetsField(
        label="Since",
        help_text="When the trouble began: UTC, such as 2026-03-01T09:30. Rather too early than"
        " too late.",
    )
    what = forms.ChoiceField(
        label="What",
        required=False,
        widget=UnfoldAdminSelectWidget,
        choices=[
            (ALL, "All that was missed, then objects, then a last look"),
            (CRITICAL, "Only what is critical, while webhooks fail"),
        ],
    )
    until = forms.CharField(
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="UTC. Up to now, where it is left empty.",
    )
    field_order = ("target", "what", "until")

    def arguments(self) -> dict[str, Any]:
        return {
            "until": self.cleaned_data["until"] or None,
            "critical": self.cleaned_data["what"] == CRITICAL,
        }
