"""The work on findings: taken, put off, accepted as they are, opened again.

None of it touches what is wrong: a finding closes when it is true no more, and what mends it is
an operation of its own (billing.operations.fixing).
"""

from abc import abstractmethod
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from billing.formatting import format_money, format_time
from billing.models import FindingRecord, OperationRecord
from billing.operations import inputs, owners
from billing.operations.base import (
    Change,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.permissions import ACCEPT_FINDING, REOPEN_FINDING, SNOOZE_FINDING, TAKE_FINDING

PREFIX = "finding:"  # of a finding's number, where other ids stand beside it
MOST_DAYS = 90  # for which a finding is put off
NOBODY = "nobody"

State = FindingRecord.State


def number_of(finding_id: int | str) -> int:
    """A finding's number, with or without its prefix. Raises InvalidInputError."""
    return inputs.whole_number(
        str(finding_id).strip().removeprefix(PREFIX),
        "The number of the finding",
        least=1,
        most=2**63 - 1,
    )


def in_words(row: FindingRecord) -> str:
    """A finding's state, as people say it."""
    if row.state == State.SNOOZED and row.snoozed_until:
        return f"Put off until {format_time(row.snoozed_until)}"
    return str(State(row.state).label)


def worth(row: FindingRecord) -> str:
    """What is at stake in words; '' where it is not known."""
    amount = [] if row.amount is None else [format_money(row.amount, row.currency)]
    counted = [] if row.credits is None else [f"{row.credits:,} credits"]
    return " and ".join(amount + counted)


class FindingOperation(Operation):
    """One step of the work on one finding: it changes the finding's own row, and nothing else."""

    target = "finding_id"

    def __init__(self, *, finding_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        self.finding_id = number_of(finding_id)

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.finding_id}"

    def parameters(self) -> dict[str, Any]:
        return {"finding_id": self.finding_id}

    @abstractmethod
    def values(self, row: FindingRecord) -> dict[str, Any]:
        """The row's fields as they are to be."""

    @abstractmethod
    def summary(self, row: FindingRecord) -> str:
        """What is to be done, in a sentence."""

    def objection(self, row: FindingRecord) -> str:
        """Why it makes no sense for the row as it is; '' where it does."""
        return "It is resolved: nothing is left to do." if row.state == State.RESOLVED else ""

    def changes(self, row: FindingRecord) -> list[Change]:
        after = FindingRecord(state=row.state, snoozed_until=row.snoozed_until)
        for name, value in self.values(row).items():
            setattr(after, name, value)
        return [Change("State", in_words(row), in_words(after))]

    def plan(self) -> Plan:
        row = FindingRecord.objects.filter(pk=self.finding_id).first()
        if row is None:
            nothing = f"There is no finding {self.finding_id}."
            return Plan(nothing, blocked=nothing)
        plan = Plan(self.summary(row), blocked=self.objection(row))
        if not plan.blocked:
            plan.changes = self.changes(row)
            plan.warnings = self.warnings(row)
        return plan

    def warnings(self, row: FindingRecord) -> list[str]:
        return self.under_way()

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = FindingRecord.objects.select_for_update().get(pk=self.finding_id)
            if objection := self.objection(row):
                raise OperationError(objection)
            changes, before = self.changes(row), as_before(row)
            FindingRecord.objects.filter(pk=row.pk).update(**self.values(row))
            commit.result = result = Result(
                f"Finding {row.pk}: {', '.join(change.after for change in changes)}.",
                changes,
                details={
                    "finding": row.pk,
                    "kind": row.kind,
                    "about": row.subject,
                    "customer": row.stripe_customer_id,
                    "user_id": row.user_id,
                    "before": before,
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        """The operation that brings back the state from before."""
        before, finding_id = record.result["details"]["before"], record.parameters["finding_id"]
        common = {"finding_id": finding_id, "undoes": record, **common}
        if before["state"] == State.SNOOZED:
            return SnoozeFinding(until=before["snoozed_until"], **common)
        return (
            AcceptFinding(**common)
            if before["state"] == State.ACCEPTED
            else ReopenFinding(**common)
        )


def as_before(row: FindingRecord) -> dict[str, Any]:
    """What an undo brings back."""
    return {
        "owner": row.owner,
        "state": row.state,
        "snoozed_until": row.snoozed_until.isoformat() if row.snoozed_until else None,
        "state_reason": row.state_reason,
        "state_by": row.state_by,
    }


class TakeFinding(FindingOperation):
    """Makes somebody the owner: who asks for it, or the active user that `owner` names.

    With `owner` empty nobody owns it any more.
    """

    name = "take_finding"
    title = "Take finding"
    permission = TAKE_FINDING
    audit_type = "manual.finding_taken"

    def __init__(self, *, owner: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.owner = owners.named_or(self.actor, owner)

    def parameters(self) -> dict[str, Any]:
        return {"finding_id": self.finding_id, "owner": self.owner}

    def summary(self, row: FindingRecord) -> str:
        return f"{self.owner or NOBODY} owns finding {row.pk} from now on."

    def objection(self, row: FindingRecord) -> str:
        if row.owner == self.owner:
            return f"{row.owner or NOBODY} owns it already."
        missing = owners.objection(self.owner) if self.owner else ""
        return missing or super().objection(row)

    def values(self, row: FindingRecord) -> dict[str, Any]:
        return {"owner": self.owner}

    def changes(self, row: FindingRecord) -> list[Change]:
        return [Change("Owner", row.owner or NOBODY, self.owner or NOBODY)]

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        before = record.result["details"]["before"]["owner"]
        finding_id = record.parameters["finding_id"]
        return cls(finding_id=finding_id, owner=before, undoes=record, **common)


class SnoozeFinding(FindingOperation):
    """Puts a finding off until a time (UTC), when it is open again by itself."""

    name = "snooze_finding"
    title = "Put finding off"
    permission = SNOOZE_FINDING
    audit_type = "manual.finding_snoozed"

    def __init__(self, *, until: str, **common: Any) -> None:
        super().__init__(**common)
        self.until: datetime = inputs.moment(until)

    def parameters(self) -> dict[str, Any]:
        return {"finding_id": self.finding_id, "until": self.until.isoformat()}

    def summary(self, row: FindingRecord) -> str:
        return f"Put finding {row.pk} off until {format_time(self.until)}."

    def objection(self, row: FindingRecord) -> str:
        now = timezone.now()
        if self.until <= now:
            return f"{format_time(self.until)} is over: name a time to come."
        if self.until > now + timedelta(days=MOST_DAYS):
            return f"That is too long: a finding is put off for {MOST_DAYS} days at most."
        return super().objection(row)

    def values(self, row: FindingRecord) -> dict[str, Any]:
        return {
            "state": State.SNOOZED,
            "snoozed_until": self.until,
            "state_reason": self.reason,
            "state_by": self.actor.name,
        }


class AcceptFinding(FindingOperation):
    """Accepts a finding as it is, with the reason. It holds for what is at stake now."""

    name = "accept_finding"
    title = "Accept finding"
    permission = ACCEPT_FINDING
    audit_type = "manual.finding_accepted"

    def summary(self, row: FindingRecord) -> str:
        stake = worth(row)
        at = f", with {stake} at stake" if stake else ""
        return f"Accept finding {row.pk} as it is{at}. It opens again when more is at stake."

    def objection(self, row: FindingRecord) -> str:
        if row.state == State.ACCEPTED:
            return f"{row.state_by} has accepted it already: {row.state_reason}"
        return super().objection(row)

    def values(self, row: FindingRecord) -> dict[str, Any]:
        return {
            "state": State.ACCEPTED,
            "snoozed_until": None,
            "state_reason": self.reason,
            "state_by": self.actor.name,
        }


class ReopenFinding(FindingOperation):
    """Opens a finding that was put off or accepted."""

    name = "reopen_finding"
    title = "Reopen finding"
    permission = REOPEN_FINDING
    audit_type = "manual.finding_reopened"

    def summary(self, row: FindingRecord) -> str:
        return f"Open finding {row.pk} again."

    def objection(self, row: FindingRecord) -> str:
        if row.state == State.RESOLVED:
            return "It is resolved. It opens by itself when the same is found again."
        return "It is open already." if row.state == State.OPEN else ""

    def values(self, row: FindingRecord) -> dict[str, Any]:
        return {
            "state": State.OPEN,
            "snoozed_until": None,
            "state_reason": self.reason,
            "state_by": self.actor.name,
        }
