"""Reconciliation runs as people handle them: started, and signed off by finance."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from billing.formatting import format_time
from billing.ingress.queue import defer_once, is_waiting
from billing.models import OperationRecord, ReconciliationRun
from billing.operations import inputs
from billing.operations.base import (
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.permissions import RECONCILE, SIGN_OFF

PREFIX = "run:"  # of a run's number, where other ids stand beside it
TASK = "billing.reconcile"

Status = ReconciliationRun.Status


class StartReconciliation(Operation):
    """Has the worker compare our books with Stripe's. It changes neither.

    `since` (UTC) is where it begins, instead of where the last one of its kind ended.
    """

    name = "start_reconciliation"
    title = "Start reconciliation"
    permission = RECONCILE
    audit_type = "manual.reconciliation_started"
    target = "kind"
    again = "Start another one"

    def __init__(self, *, kind: str, since: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.since = inputs.moment(since) if since else None
        if kind not in ReconciliationRun.Kind.values:
            raise InvalidInputError(
                f"“{kind[:60]}” is no kind of run. There are:"
                f" {', '.join(ReconciliationRun.Kind.values)}."
            )
        if self.since and kind == ReconciliationRun.Kind.FULL:
            raise InvalidInputError("A full run looks at everything: it has no beginning to name.")
        self.kind = kind

    @property
    def subject(self) -> str:
        return f"{self.kind} reconciliation"

    def parameters(self) -> dict[str, Any]:
        return {"kind": self.kind, **self._window()}

    def _window(self) -> dict[str, str]:
        """Where it begins, if that was said."""
        return {"since": self.since.isoformat()} if self.since else {}

    def plan(self) -> Plan:
        window = f" of what was made since {format_time(self.since)}" if self.since else ""
        plan = Plan(
            f"Start a {self.kind} reconciliation{window} in the background. It changes nothing."
        )
        if self.since and self.since > timezone.now():
            plan.blocked = f"{format_time(self.since)} is to come: there is nothing to compare."
        if is_waiting(TASK):
            plan.blocked = "One waits for the worker already. Is the worker running?"
        plan.warnings = [
            f"The {run.kind} run of {format_time(run.started_at)} has not come to its end: if it"
            " was interrupted, it goes on where it was. Two never run at once."
            for run in ReconciliationRun.objects.filter(status=Status.RUNNING)[:1]
        ]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            with transaction.atomic():
                defer_once(
                    TASK, TASK, lock=TASK, kind=self.kind, actor=self.actor.name, **self._window()
                )
            commit.result = result = Result(
                f"The {self.kind} reconciliation starts as soon as the worker is free.",
                details=self.parameters(),
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A reconciliation changes nothing: there is nothing to take back.")


class SignOffRun(Operation):
    """Signs a finished run off, once. Finance's own words are the reason."""

    name = "sign_off_run"
    title = "Sign off"
    permission = SIGN_OFF
    audit_type = "manual.run_signed_off"
    target = "run_id"

    def __init__(self, *, run_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        self.run_id = inputs.whole_number(
            str(run_id).strip().removeprefix(PREFIX),
            "The number of the run",
            least=1,
            most=2**63 - 1,
        )

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.run_id}"

    def parameters(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def plan(self) -> Plan:
        row = ReconciliationRun.objects.filter(pk=self.run_id).first()
        if row is None:
            nothing = f"There is no run {self.run_id}."
            return Plan(nothing, blocked=nothing)
        found = f"{row.found:,} findings" if row.found else "nothing that differs"
        plan = Plan(f"Sign off the run {row}, which found {found}.", blocked=objection(row))
        if not plan.blocked:
            plan.changes = [Change("Signed off", "no", f"by {self.actor.name}")]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = ReconciliationRun.objects.select_for_update().get(pk=self.run_id)
            if refusal := objection(row):
                raise OperationError(refusal)
            ReconciliationRun.objects.filter(pk=row.pk).update(
                signed_off_by=self.actor.name, signed_off_at=timezone.now(), sign_off=self.reason
            )
            commit.result = result = Result(
                f"The run {row} is signed off by {self.actor.name}.",
                [Change("Signed off", "no", f"by {self.actor.name}")],
                details={"run": row.pk, "kind": row.kind, "found": row.found},
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(
            "A signature stands. Start another run, and sign that one off when it is right."
        )


def objection(row: ReconciliationRun) -> str:
    """Why a run cannot be signed off; '' where it can."""
    if row.signed_off_by:
        return f"{row.signed_off_by} has signed it off already: {row.sign_off}"
    if row.status == Status.RUNNING:
        return "It is still running."
    return "" if row.status == Status.DONE else "It failed: there is nothing to sign off."
