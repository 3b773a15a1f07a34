"""The forms of notes on customers."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.notes import AddNote, WithdrawNote


class AddNoteForm(OperationForm):
    operation = AddNote
    intro = "Writes down what everybody who opens this customer's page should know."

    target = TargetsField(
        label="Customer", help_text="Stripe's id of the customer, cus_, or our own id of the user."
    )
    text = forms.CharField(label="Note", widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}))
    field_order = ("target", "text")

    def arguments(self) -> dict[str, Any]:
        return {"text": self.cleaned_data["text"]}


class WithdrawNoteForm(OperationForm):
    operation = WithdrawNote
    intro = "Marks a note as withdrawn. It stays to be read, struck through."

    target = TargetsField(label="Note", help_text="The note's number.")
