"""The forms of the operations on invoices, and of a cancellation."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.cancellation import CancelAtPeriodEnd
from billing.operations.inputs import MAX_EVIDENCE
from billing.operations.invoices import MarkInvoicePaid, PayInvoice, ResendInvoice, VoidInvoice


class InvoiceForm(OperationForm):
    target = TargetsField(label="Invoice", help_text="Stripe's id, in_.")


class ResendForm(InvoiceForm):
    operation = ResendInvoice
    intro = "Has Stripe email the open invoice to the customer again, with the link to pay it."


class PayForm(InvoiceForm):
    operation = PayInvoice
    intro = (
        "Charges the customer's default payment method for an invoice that is not paid, now,"
        " then brings our rows up to date."
    )


class MarkPaidForm(InvoiceForm):
    operation = MarkInvoicePaid
    intro = (
        "States at Stripe that the money came in another way. Nothing is charged, and what a"
        " payment brings (a subscription's status, its credits) follows."
    )

    evidence = forms.CharField(
        max_length=MAX_EVIDENCE,
        widget=UnfoldAdminTextInputWidget,
        help_text="What proves it: the number of the bank transfer, of the cheque, of the receipt.",
    )
    field_order = ("target", "evidence")

    def arguments(self) -> dict[str, Any]:
        return {"evidence": self.cleaned_data["evidence"]}


class VoidForm(InvoiceForm):
    operation = VoidInvoice
    intro = (
        "Voids an invoice for good: nobody owes it any more, and it cannot be paid. Another"
        " person has to approve it."
    )


class CancelForm(OperationForm):
    operation = CancelAtPeriodEnd
    intro = (
        "Lets a subscription end with the period that is paid for. Until then it works as before,"
        " and the cancellation can be taken back."
    )

    target = TargetsField(label="Subscription", help_text="Stripe's id, sub_.")
