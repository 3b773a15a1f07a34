"""Recoveries as people handle them: started here, carried out by the worker."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing.formatting import format_time
from billing.gateway.history import lost_history
from billing.ingress.queue import defer_once, is_waiting
from billing.models import OperationRecord, Recovery
from billing.operations import inputs
from billing.operations.base import (
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    Plan,
    Result,
)
from billing.permissions import RECOVER

TASK = "billing.recover"
CRITICAL, ALL = "critical", "all"


class StartRecovery(Operation):
    """Has the worker recover what happened at Stripe since a time, up to another or now (UTC).

    `critical`: only what is critical, while webhooks fail.
    """

    name = "start_recovery"
    title = "Recover what was missed"
    permission = RECOVER
    audit_type = "manual.recovery_started"
    target = "since"
    again = "Start another one"

    def __init__(
        self, *, since: str, until: str | None = None, critical: bool = False, **common: Any
    ) -> None:
        super().__init__(**common)
        self.since = inputs.moment(since)
        self.until = inputs.moment(until) if until else None
        self.critical = bool(critical)
        check(self.since, self.until)

    @property
    def subject(self) -> str:
        what = "critical recovery" if self.critical else "recovery"
        return f"{what} since {format_time(self.since)}"

    @property
    def turn(self) -> str:
        return TASK

    def parameters(self) -> dict[str, Any]:
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat() if self.until else None,
            "critical": self.critical,
        }

    def plan(self) -> Plan:
        end = format_time(self.until) if self.until else "now"
        what = (
            "Only what is critical is processed, straight from Stripe, the most critical first"
            if self.critical
            else "All that was missed is processed, the oldest first; then objects are compared"
            " with Stripe's, what is safe is mended, and what is left is listed"
        )
        plan = Plan(
            f"Recover in the background what happened at Stripe from {format_time(self.since)} to"
            f" {end}. {what}. Nothing is granted twice, and nothing changes at Stripe.",
            [Change("Recovered", "", f"{format_time(self.since)} to {end}")],
            warnings=self._warnings(),
        )
        if is_waiting(TASK):
            plan.blocked = "One waits for the worker already. Is the worker running?"
        return plan

    def _warnings(self) -> list[str]:
        now = timezone.now()
        found = [
            f"The recovery of {format_time(row.started_at)} has not come to its end: if it was"
            " interrupted, this one goes on where it was, or takes its place where it is about"
            " another time. Two never run at once."
            for row in Recovery.objects.filter(status=Recovery.Status.RUNNING)[:1]
        ]
        if lost := lost_history(self.since, self.until or now, now):
            found.append(
                f"Stripe lists no events any more from {format_time(lost[0])} to"
                f" {format_time(lost[1])}: that time is recovered from objects, without its"
                " history."
            )
        return found

    def run(self, record: OperationRecord) -> Result:
        arguments = {**self.parameters(), "kind": Recovery.Kind.OUTAGE, "actor": self.actor.name}
        with self.committing(record) as commit:
            with transaction.atomic():
                defer_once(TASK, TASK, lock=TASK, **arguments)
            commit.result = result = Result(
                f"The {self.subject} starts as soon as the worker is free.",
                details=self.parameters(),
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(
            "What it brought is what happened at Stripe: there is nothing to take back."
        )


def check(since: datetime, until: datetime | None) -> None:
    """Raises InvalidInputError for a window that is to come, or ends before it begins."""
    if since > timezone.now():
        raise InvalidInputError(
            f"{format_time(since)} is to come: name when the trouble began, in UTC."
        )
    if until is not None and until < since:
        raise InvalidInputError(
            f"The window ends at {format_time(until)}, before it begins: name a later end, or none."
        )
