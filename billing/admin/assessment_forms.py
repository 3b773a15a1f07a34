"""The form that starts an assessment of the database."""

from typing import Any

from unfold.widgets import UnfoldAdminSelectWidget

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.assessment import QUICK, WHOLE, RunAssessment

CHOICES = (
    (WHOLE, "All of it: reads every row, minutes for millions of them"),
    (QUICK, "Quick: leaves out what reads every row"),
)


class RunAssessmentForm(OperationForm):
    operation = RunAssessment
    intro = "Looks whether the database is whole. It changes nothing."

    target = TargetsField(
        label="Extent", initial=WHOLE, widget=UnfoldAdminSelectWidget(choices=CHOICES)
    )

    def arguments(self) -> dict[str, Any]:
        return {}
