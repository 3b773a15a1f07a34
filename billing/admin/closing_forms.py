"""The forms of a month's close."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.closing import (
    MOST_EXPLANATION,
    CheckMonth,
    ReopenMonth,
    ReviewMonth,
    SignMonth,
)

MONTH_HELP = "The month, such as 2026-10."


class CheckMonthForm(OperationForm):
    operation = CheckMonth
    intro = (
        "Reads Stripe's lists of charges, refunds, disputes and balance transactions day by day in"
        " the background, and keeps what explains them. It changes nothing at Stripe."
    )
    usual = {"reason": "Before the month is closed", "reason_code": "data_repair"}

    target = TargetsField(label="Month", help_text=MONTH_HELP)


class SignMonthForm(OperationForm):
    operation = SignMonth
    intro = (
        "Puts your name under the month's figures as they are now. Another person reviews them,"
        " and closes the month."
    )

    target = TargetsField(label="Month", help_text=MONTH_HELP)
    explanation = forms.CharField(
        label="What explains the points that are not done",
        required=False,
        max_length=MOST_EXPLANATION,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Needed where any is not. The reviewer reads it.",
    )
    field_order = ("target", "explanation")

    def arguments(self) -> dict[str, Any]:
        return {"explanation": self.cleaned_data["explanation"]}


class ReviewMonthForm(OperationForm):
    operation = ReviewMonth
    intro = (
        "Closes a month that another person signed. Its figures and rows are frozen; what comes"
        " later counts in the month in which it happens."
    )

    target = TargetsField(label="Month", help_text=MONTH_HELP)


class ReopenMonthForm(OperationForm):
    operation = ReopenMonth
    intro = "Opens the month for a new signature. What was signed and frozen is kept beside it."

    target = TargetsField(label="Month", help_text=MONTH_HELP)
