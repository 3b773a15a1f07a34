"""Closing a month: checked against Stripe, signed by one person, reviewed by another, reopened."""

from abc import abstractmethod
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.formatting import format_money
from billing.ingress.queue import defer_once
from billing.models import MonthClose, OperationRecord
from billing.operations import inputs
from billing.operations.base import (
    CLI,
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
    plain,
)
from billing.permissions import CHECK_MONTH, REOPEN_MONTH, REVIEW_MONTH, SIGN_MONTH
from billing.revenue import closing, month_rows
from billing.revenue.asked import InvalidReportError
from billing.revenue.checklist import checklist
from billing.revenue.months import Month

PREFIX = "month:"  # of a month, where other ids stand beside it
CHECK_TASK = "billing.check_month"
MOST_EXPLANATION = 2000  # characters

State = MonthClose.State


class MonthOperation(Operation):
    """One step on a month's way to its close."""

    target = "month"

    def __init__(self, *, month: str, **common: Any) -> None:
        super().__init__(**common)
        text = month.strip().removeprefix(PREFIX)
        try:
            self.month = Month.parsed(text, settings.REPORT_TIME_ZONE)
        except InvalidReportError as error:
            raise InvalidInputError(str(error)) from error

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.month}"

    def parameters(self) -> dict[str, Any]:
        return {"month": str(self.month)}

    def row(self) -> MonthClose:
        """The month's row as it goes on; a new one, not saved yet, where there is none."""
        found = month_rows.current(self.month)
        return found or MonthClose(
            month=self.month.first, timezone=self.month.timezone, state=State.OPEN
        )

    def locked(self) -> MonthClose:
        """The month's row, made now where there is none, and locked."""
        row, _ = MonthClose.objects.exclude(state=State.REOPENED).get_or_create(
            month=self.month.first, defaults={"timezone": self.month.timezone}
        )
        return MonthClose.objects.select_for_update().get(pk=row.pk)

    @property
    def own(self) -> Month:
        """The month in the zone that its row was begun with."""
        return closing.month_of(self.row())

    @abstractmethod
    def objection(self, row: MonthClose) -> str:
        """Why it cannot be done to the month as it is; '' where it can."""

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details


class CheckMonth(MonthOperation):
    """Has the worker read a month's days from Stripe. It changes nothing there."""

    name = "check_month"
    title = "Check against Stripe"
    permission = CHECK_MONTH
    audit_type = "manual.month_checked"
    again = "Check it again"

    @property
    def _once(self) -> str:
        """Of a month, one check waits at most; of all, one runs at a time."""
        return f"{CHECK_TASK}.{self.month}"

    def objection(self, row: MonthClose) -> str:
        if self.own.since > timezone.now():
            return f"{self.month} has not begun."
        waiting = ProcrastinateJob.objects.filter(queueing_lock=self._once, status="todo")
        return "A check waits for the worker. Is it running?" if waiting.exists() else ""

    def plan(self) -> Plan:
        said = f"Read Stripe's lists of {self.month} in the background. It changes nothing."
        return Plan(said, blocked=self.objection(self.row()))

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = self.locked()
            with transaction.atomic():
                defer_once(CHECK_TASK, self._once, lock=CHECK_TASK, close_id=row.pk)
            commit.result = result = Result(
                f"{self.month} is read from Stripe as soon as the worker is free.",
                details={"month": str(self.month)},
            )
        return result

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A check changes nothing: there is nothing to take back.")


class SignMonth(MonthOperation):
    """Puts one person's name under a month's figures, and asks another one to review them.

    `explanation` says what explains the points of the checklist that are open; it is needed
    where any is.
    """

    name = "sign_month"
    title = "Sign month"
    permission = SIGN_MONTH
    audit_type = "manual.month_signed"

    def __init__(self, *, explanation: str = "", **common: Any) -> None:
        super().__init__(**common)
        text = explanation.strip()
        self.explanation = (
            inputs.words(text, "The explanation", most=MOST_EXPLANATION) if text else ""
        )

    def parameters(self) -> dict[str, Any]:
        return {"month": str(self.month), "explanation": self.explanation}

    def objection(self, row: MonthClose) -> str:
        return no_signature(row)

    def plan(self) -> Plan:
        row = self.row()
        plan = Plan(f"Sign {self.month}. Another person reviews it.", blocked=self.objection(row))
        if plan.blocked:
            return plan
        figures = plain(closing.figures(self.own))
        points = checklist(self.own, figures)
        open_ = [point for point in points if not point.done]
        plan.changes = [
            *net_changes(row.figures, figures),
            *(Change(point.title, point.said, self.explanation) for point in open_),
            Change("State", in_words(row), f"Signed by {self.actor.name}"),
        ]
        if row.state == State.SIGNED and row.figures == figures:
            plan.warnings = [f"{row.signed_by} has signed these figures already."]
        if open_ and not self.explanation:
            titles = "; ".join(f"{point.title}: {point.said}" for point in open_)
            plan.blocked = f"Not everything is done. Say what explains it. {titles}"
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = self.locked()
            if refusal := self.objection(row):
                raise OperationError(refusal)
            month = closing.month_of(row)
            before, row.figures = row.figures, plain(closing.figures(month))
            points = [point.as_dict() for point in checklist(month, row.figures)]
            if any(not point["done"] for point in points) and not self.explanation:
                raise OperationError("Not everything is done any more. Say what explains it.")
            was = in_words(row)
            row.state, row.checklist, row.explanation = State.SIGNED, points, self.explanation
            row.signed_by, row.signed_at, row.signed_word = (
                self.actor.name, timezone.now(), self.reason,
            )  # fmt: skip
            row.save()
            commit.result = result = Result(
                f"{self.month} is signed by {self.actor.name}. Another person reviews it.",
                [
                    *net_changes(before, row.figures),
                    Change("State", was, f"Signed by {self.actor.name}"),
                ],
                details={"month": str(self.month), "explanation": self.explanation},
            )
        return result

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A signature stands. Open the month again, and say why.")


class ReviewMonth(MonthOperation):
    """Closes a month that another person signed: its figures and rows are frozen."""

    name = "review_month"
    title = "Review and close"
    permission = REVIEW_MONTH
    audit_type = "manual.month_closed"

    def objection(self, row: MonthClose) -> str:
        if refusal := no_review(row):
            return refusal
        if same_person(self.actor.name, row.signed_by):
            return "You have signed it yourself: another person has to review it."
        return ""

    def plan(self) -> Plan:
        row = self.row()
        plan = Plan(
            f"Close {self.month}, which {row.signed_by or 'nobody'} signed: its figures and rows"
            " are frozen.",
            blocked=self.objection(row),
        )
        if plan.blocked:
            return plan
        plan.blocked = changed_since_signed(row, plain(closing.figures(self.own)))
        plan.changes = [
            *net_changes({}, row.figures),
            Change("State", in_words(row), f"Closed by {self.actor.name}"),
        ]
        plan.warnings = [
            f"{point['title']}: {point['said']} {row.signed_by}: {row.explanation}"
            for point in row.checklist
            if not point["done"]
        ]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = self.locked()
            if refusal := self.objection(row):
                raise OperationError(refusal)
            was, figures = in_words(row), plain(closing.freeze(row))
            if refusal := changed_since_signed(row, figures):
                raise OperationError(refusal)
            row.entries, row.hash = closing.fingerprint(row, figures)
            row.state, row.reviewed_by = State.CLOSED, self.actor.name
            row.reviewed_at, row.reviewed_word = timezone.now(), self.reason
            row.save()
            commit.result = result = Result(
                f"{self.month} is closed: {row.entries:,} entries are frozen.",
                [Change("State", was, f"Closed by {self.actor.name}")],
                details={"month": str(self.month), "entries": row.entries, "hash": row.hash,
                         "signed_by": row.signed_by},
            )  # fmt: skip
        return result

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        return ReopenMonth(month=record.parameters["month"], undoes=record, **common)


class ReopenMonth(MonthOperation):
    """Opens a month that was signed or closed. What was signed and frozen is kept beside it."""

    name = "reopen_month"
    title = "Open month again"
    permission = REOPEN_MONTH
    audit_type = "manual.month_reopened"

    def objection(self, row: MonthClose) -> str:
        return no_reopening(row)

    def plan(self) -> Plan:
        row = self.row()
        plan = Plan(
            f"Open {self.month} again. It has to be signed and reviewed anew; what was signed is"
            " kept.",
            blocked=self.objection(row),
        )
        if not plan.blocked:
            plan.changes = [Change("State", in_words(row), "Open")]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = self.locked()
            if refusal := self.objection(row):
                raise OperationError(refusal)
            was = in_words(row)
            MonthClose.objects.filter(pk=row.pk).update(
                state=State.REOPENED, reopened_by=self.actor.name,
                reopened_at=timezone.now(), reopened_word=self.reason,
            )  # fmt: skip
            MonthClose.objects.create(
                month=row.month, timezone=row.timezone, checked_at=row.checked_at
            )
            commit.result = result = Result(
                f"{self.month} is open again.",
                [Change("State", was, "Open")],
                details={"month": str(self.month), "kept": row.pk, "hash": row.hash},
            )
        return result

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("Sign the month again, and have another person review it.")


def in_words(row: MonthClose) -> str:
    """A month's state, as people say it."""
    match row.state:
        case State.SIGNED:
            return f"Signed by {row.signed_by}"
        case State.CLOSED:
            return f"Closed by {row.signed_by} and {row.reviewed_by}"
    return str(State(row.state).label)


def no_signature(row: MonthClose) -> str:
    """Why a month cannot be signed; '' where it can."""
    if closing.month_of(row).until > timezone.now():
        return f"{row} is not over yet."
    return _stands(row)


def no_review(row: MonthClose) -> str:
    """Why a month cannot be reviewed by anybody; '' where it can."""
    return f"Nobody has signed {row} yet." if row.state == State.OPEN else _stands(row)


def no_reopening(row: MonthClose) -> str:
    """Why a month cannot be opened again; '' where it can."""
    if row.state == State.REOPENED:
        return _stands(row)
    return f"{row} is open already." if row.state == State.OPEN else ""


def _stands(row: MonthClose) -> str:
    """That a row is closed, or was; '' where it is not."""
    if row.state == State.REOPENED:
        return f"{row} was opened again: this is what was signed before."
    if row.state != State.CLOSED:
        return ""
    return f"{row} is closed, by {row.signed_by} and {row.reviewed_by}. Open it again, if need be."


def same_person(one: str, other: str) -> bool:
    """Whether two actors are one, in the admin and on the command line."""
    return one.removeprefix(CLI) == other.removeprefix(CLI)


def net_changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """The net revenue of each currency that is signed, as it was signed before."""
    signed = {row["currency"]: row["net"] for row in before.get("revenue", [])}
    return [
        Change(
            f"Net revenue in {row['currency'].upper()}",
            format_money(signed[row["currency"]], row["currency"])
            if row["currency"] in signed else "not signed",
            format_money(row["net"], row["currency"]),
        )
        for row in after.get("revenue", [])
    ]  # fmt: skip


def changed_since_signed(row: MonthClose, figures: dict[str, Any]) -> str:
    """That the figures are not those that were signed; '' where they are."""
    names = [name for name in figures if figures[name] != row.figures.get(name)]
    if not names:
        return ""
    return (
        f"Figures of {row} have changed since {row.signed_by} signed them ({', '.join(names)})."
        " Look at them, and have them signed again."
    )
