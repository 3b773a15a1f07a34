"""Whether the database is whole, as people ask for it: the worker looks."""

from typing import Any

from django.db import transaction

from billing.ingress.queue import defer_once, is_waiting
from billing.models import OperationRecord
from billing.operations.base import (
    CannotUndoError,
    InvalidInputError,
    Operation,
    Plan,
    Result,
)
from billing.permissions import ASSESS

TASK = "billing.assess"
WHOLE, QUICK = "whole", "quick"


class RunAssessment(Operation):
    """Has the worker look whether the database is whole. It changes nothing."""

    name = "run_assessment"
    title = "Assess the database"
    permission = ASSESS
    audit_type = "manual.assessment_started"
    target = "extent"
    again = "Assess once more"

    def __init__(self, *, extent: str = WHOLE, **common: Any) -> None:
        super().__init__(**common)
        if extent not in (WHOLE, QUICK):
            raise InvalidInputError(f"“{extent[:60]}” is not one of: {WHOLE}, {QUICK}.")
        self.extent = extent

    @property
    def subject(self) -> str:
        return f"{self.extent} assessment"

    def parameters(self) -> dict[str, Any]:
        return {"extent": self.extent}

    def plan(self) -> Plan:
        how = "Read every row" if self.extent == WHOLE else "Look without reading every row"
        plan = Plan(f"{how}, in the background: is the database whole? It changes nothing.")
        if is_waiting(TASK):
            plan.blocked = "One waits for the worker already. Is the worker running?"
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            with transaction.atomic():
                defer_once(TASK, TASK, lock=TASK, actor=self.actor.name, quick=self.extent == QUICK)
            commit.result = result = Result(
                "The assessment starts as soon as the worker is free: see Assessments.",
                details={"extent": self.extent},
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("An assessment changes nothing: there is nothing to take back.")
