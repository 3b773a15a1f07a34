"""The form that replays what was missed, found by when it happened and what it was about."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.base import AnyOperation
from billing.operations.replay import ReplayEvents
from billing.operations.selection import INBOX, MISSING, UNDELIVERED

AT_ONCE = 500  # events of one page, which has to answer before the browser gives up


def now() -> str:
    """The end of the window, so that the events that follow change nothing of what was shown."""
    return timezone.now().strftime("%Y-%m-%dT%H:%M:%S")


class ReplayMissedForm(OperationForm):
    operation = ReplayEvents
    intro = (
        "Finds the events of a span of time that were not processed here, fetches from Stripe"
        f" what the inbox lacks, and processes them: the oldest {AT_ONCE} at a time. What they"
        " bring is granted once at most."
    )

    target = TargetsField(widget=forms.HiddenInput, initial="missed")
    source = forms.ChoiceField(
        label="Which",
        widget=UnfoldAdminSelectWidget,
        choices=[
            (MISSING, "All that Stripe has and that were not processed here"),
            (UNDELIVERED, "Those of them that Stripe could not deliver"),
            (INBOX, "Those in the inbox that wait, failed or are dead"),
        ],
    )
    since = forms.CharField(
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="UTC, such as 2026-03-01T09:30. Stripe keeps events for 30 days.",
    )
    until = forms.CharField(
        required=False, max_length=MAX_ID, widget=UnfoldAdminTextInputWidget, initial=now
    )
    types = forms.CharField(
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextInputWidget,
        help_text="Such as invoice.paid or customer.subscription.*, with spaces between. All, if"
        " there are none.",
    )
    customer = forms.CharField(
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Only those of this customer, cus_. Optional.",
    )
    field_order = ("source", "since", "until", "types", "customer")

    def build(self, target: str, common: Mapping[str, Any]) -> AnyOperation:
        answers = self.cleaned_data
        selection = {
            "source": answers["source"],
            "since": answers["since"],
            "until": answers["until"] or None,
            "types": answers["types"].replace(",", " ").split(),
            "customer": answers["customer"],
            "most": AT_ONCE,
        }
        return ReplayEvents(selection=selection, **common)
