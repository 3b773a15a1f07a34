"""What a finding recommends, run for one finding or for many."""

from typing import Any

from billing.models import FindingRecord, OperationRecord
from billing.operations.base import AnyOperation, BlockedError, Plan, Result
from billing.operations.findings import PREFIX, number_of
from billing.permissions import FIX_FINDING


class FixFinding(AnyOperation):
    """Runs the operation that a finding recommends, exactly as it fills it in.

    What is planned, approved, recorded and audited is that operation, under this one's key and
    with its own permission besides: this one leaves no record.
    """

    name = "fix_finding"
    title = "Fix finding"
    permission = FIX_FINDING
    audit_type = "manual.finding_fixed"
    target = "finding_id"

    def __init__(self, *, finding_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        self.finding_id = number_of(finding_id)

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.finding_id}"

    def parameters(self) -> dict[str, Any]:
        return {"finding_id": self.finding_id}

    def plan(self) -> Plan:
        row = FindingRecord.objects.filter(pk=self.finding_id).first()
        if objection := self._objection(row):
            return Plan(f"Fix finding {self.finding_id}.", blocked=objection)
        assert row is not None  # noqa: S101  (narrows the type)
        recommended = self._recommended(row)
        plan = recommended.plan()
        if not self.actor.may(recommended.permission):
            plan.blocked = f"You may not: it needs the permission “{recommended.permission}”."
        return plan

    def apply(self, *, seen: str | None = None) -> Result:
        """As the recommended operation does. A key that was used finds what was done with it."""
        self.check()
        if record := OperationRecord.objects.filter(key=self.key).first():
            return self._noted(self._again(record).apply(seen=seen))
        row = FindingRecord.objects.filter(pk=self.finding_id).first()
        if objection := self._objection(row):
            raise BlockedError(objection)
        assert row is not None  # noqa: S101  (narrows the type)
        recommended = self._recommended(row)
        recommended.report = self.report
        return self._noted(recommended.apply(seen=seen))

    def _noted(self, result: Result) -> Result:
        """The finding names the operation that was done for it."""
        if not result.requested:
            FindingRecord.objects.filter(pk=self.finding_id).update(operation_key=self.key)
        return result

    def _objection(self, row: FindingRecord | None) -> str:
        if row is None:
            return f"There is no finding {self.finding_id}."
        if row.state == FindingRecord.State.RESOLVED:
            return "It is resolved: nothing is left to do."
        return "" if row.fix else "No operation mends it by itself: open it, and see."

    def _recommended(self, row: FindingRecord) -> AnyOperation:
        """Raises InvalidInputError, and OperationError for an operation that is no more."""
        from billing.operations.registry import named  # which lists this one, too

        name = str((row.fix or {}).get("operation"))
        return named(name)(**row.fix_params, **self._common())

    def _again(self, record: OperationRecord) -> AnyOperation:
        """The operation that an earlier try with this key began, whatever is recommended now."""
        from billing.operations.registry import named

        return named(record.name)(**record.parameters, **self._common())

    def _common(self) -> dict[str, Any]:
        return {
            "actor": self.actor,
            "reason": self.reason,
            "reason_code": self.reason_code,
            "ticket": self.ticket,
            "key": self.key,
        }
