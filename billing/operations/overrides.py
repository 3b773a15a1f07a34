"""A status set by hand while Stripe cannot be asked: the last resort, and for hours only.

The status here is never set against what Stripe says (STRIPE.md, What "reactivate" may
mean). Where Stripe answers, its word counts and a sync brings it. Where it cannot be
reached, or does not know the subscription, a person may answer for a status until Stripe's
own word comes in, or the time is over.
"""

import logging
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from billing.formatting import format_time
from billing.gateway.client import (
    StripeNotFoundError,
    StripeUnavailableError,
    giving_up_on_silence,
)
from billing.gateway.observation import Observation
from billing.models import BillingSubscription, OperationRecord, StatusOverride, acting_as
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
from billing.operations.comparison import bring_in_for, preview
from billing.operations.subscriptions import FINAL
from billing.permissions import END_OVERRIDE, OVERRIDE
from billing.projection import overrides
from billing.projection.intake import Intake, bring_in, fetch

logger = logging.getLogger(__name__)

MOST_HOURS = 72
STATUSES = (
    "active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired",
    "canceled",
)  # fmt: skip
LABEL = "Status here"
APPROVAL = (
    "A status that Stripe has not confirmed gives or takes access to what was paid for: a"
    " second person has to agree."
)


class OverrideStatus(Operation):
    """Sets a subscription's status here for some hours, where Stripe cannot be asked."""

    name = "override_status"
    title = "Override status"
    permission = OVERRIDE
    audit_type = "manual.status_override"
    target = "subscription_id"

    def __init__(
        self, *, subscription_id: str, status: str, hours: int | str, **common: Any
    ) -> None:
        super().__init__(**common)
        self.subscription_id = inputs.stripe_id(subscription_id, "sub_")
        if status not in STATUSES:
            raise InvalidInputError(
                f"“{status[:60]}” is no status of Stripe's. There are: {', '.join(STATUSES)}."
            )
        self.status = status
        self.hours = inputs.whole_number(hours, "The hours", least=1, most=MOST_HOURS)

    @property
    def subject(self) -> str:
        return self.subscription_id

    def parameters(self) -> dict[str, Any]:
        return {
            "subscription_id": self.subscription_id,
            "status": self.status,
            "hours": self.hours,
        }

    def plan(self) -> Plan:
        plan = Plan(
            f"Set the status of {self.subscription_id} to {self.status} by hand, for"
            f" {self.hours} hours or until Stripe's own word comes in.",
            approval=APPROVAL,
        )
        row = BillingSubscription.objects.filter(
            stripe_subscription_id=self.subscription_id
        ).first()
        plan.blocked = self._objection(row)
        if row is None or plan.blocked:
            return plan
        self.before = row.status
        plan.changes = [Change(LABEL, row.status, self.status)]
        try:
            there = fetch("subscription", self.subscription_id)
        except (StripeUnavailableError, StripeNotFoundError) as error:
            plan.warnings = [f"{error}. Nothing confirms this status.", *self.under_way()]
        else:
            plan.blocked = (
                f"Stripe can be asked, and says {there.data.get('status')}: sync the subscription"
                " from Stripe instead. The status here is never set against Stripe's."
            )
        if row.status in FINAL:
            plan.warnings.append(f"It is {row.status} here, which is final at Stripe.")
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            row = BillingSubscription.objects.select_for_update().get(
                stripe_subscription_id=self.subscription_id
            )
            if row.status != self.before:
                raise OperationError(
                    f"{self.subscription_id} became {row.status} meanwhile. Nothing was done:"
                    " look at it again."
                )
            override = self._set(row)
            commit.result = result = Result(
                f"{self.subscription_id} is {self.status} here until"
                f" {format_time(override.expires_at)} or until Stripe's own word comes in.",
                [Change(LABEL, row.status, self.status)],
                details={
                    "subscription": self.subscription_id,
                    "customer": row.stripe_customer_id,
                    "user_id": row.user_id,
                    "status_before": row.status,
                    "status": self.status,
                    "hours": self.hours,
                    "expires_at": override.expires_at,
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        if not StatusOverride.objects.filter(operation_key=record.key, ended_at=None).exists():
            raise CannotUndoError(
                "This override has ended already: the status here is Stripe's again, or what it"
                " was before."
            )
        return EndOverride(subscription_id=record.subject, undoes=record, **common)

    def _objection(self, row: BillingSubscription | None) -> str:
        """Why there is nothing to override, before Stripe is asked; '' where there is."""
        if row is None:
            return (
                f"{self.subscription_id} is not here: record it once Stripe can be asked, and grant"
                " credits meanwhile."
            )
        if overrides.in_force([self.subscription_id]).exists():
            return "Its status is set by hand already: end that override first."
        if row.status == self.status:
            return f"It is {self.status} here already."
        return ""

    def _set(self, row: BillingSubscription) -> StatusOverride:
        """Writes the status and until when it stands, under the row's lock."""
        BillingSubscription.objects.filter(pk=row.pk).update(status=self.status, updated_at=Now())
        override = StatusOverride.objects.create(
            stripe_subscription_id=self.subscription_id,
            status_before=row.status,
            status=self.status,
            actor=self.actor.name,
            reason=self.reason,
            operation_key=self.key,
            expires_at=Now() + timedelta(hours=self.hours),
        )
        override.refresh_from_db()
        return override


class EndOverride(Operation):
    """Ends a status set by hand: with Stripe's word, or the status from before without it."""

    name = "end_override"
    title = "End status override"
    permission = END_OVERRIDE
    audit_type = "manual.status_override_ended"
    target = "subscription_id"

    def __init__(self, *, subscription_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.subscription_id = inputs.stripe_id(subscription_id, "sub_")

    @property
    def subject(self) -> str:
        return self.subscription_id

    def parameters(self) -> dict[str, Any]:
        return {"subscription_id": self.subscription_id}

    def plan(self) -> Plan:
        plan = Plan(f"End the override of the status of {self.subscription_id}.")
        override = overrides.in_force([self.subscription_id]).first()
        if override is None:
            plan.blocked = (
                f"No status of {self.subscription_id} is set by hand: there is nothing to end."
            )
            return plan
        ended = Change("Override", f"{override.status}, set by {override.actor}", "ended")
        self.observed: list[Observation] = []
        try:
            self.observed = [fetch("subscription", self.subscription_id)]
            back = preview(self.observed, actor=self.actor.name)
        except (StripeUnavailableError, StripeNotFoundError) as error:
            back = [Change(LABEL, override.status, override.status_before)]
            plan.warnings = [f"{error}. So the status from before comes back."]
        plan.changes = [ended, *back]
        plan.warnings += self.under_way()
        return plan

    def run(self, record: OperationRecord) -> Result:
        if self.observed:
            return bring_in_for(self, record, self.observed, self._result, also=self._put_back)
        with self.committing(record) as commit:
            override = overrides.in_force([self.subscription_id]).first()
            if override is None:
                raise OperationError("The override has ended meanwhile: look at it again.")
            self._put_back(Intake())
            commit.result = result = self._result(
                [Change(LABEL, override.status, override.status_before)]
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _put_back(self, intake: Intake) -> None:
        """For what Stripe's word has not ended."""
        overrides.put_back([self.subscription_id], self.actor.name)

    def _result(self, changes: list[Change]) -> Result:
        row = BillingSubscription.objects.get(stripe_subscription_id=self.subscription_id)
        details = {
            "subscription": self.subscription_id,
            "customer": row.stripe_customer_id,
            "user_id": row.user_id,
            "status": row.status,
        }
        return Result(
            f"The override has ended: {self.subscription_id} is {row.status} here.",
            changes,
            details=details,
        )


def end_due() -> int:
    """Ends the overrides whose time is over: Stripe is asked, and where it does not say, the
    status from before comes back. How many there were.
    """
    due = StatusOverride.objects.filter(ended_at=None, expires_at__lte=Now())
    subscriptions = list(due.values_list("stripe_subscription_id", flat=True))
    with giving_up_on_silence():
        for subscription in subscriptions:
            _end_with_stripes_word(subscription)
    return len(subscriptions)


def _end_with_stripes_word(subscription: str) -> None:
    def put_back(intake: Intake) -> None:
        overrides.put_back([subscription], "expiry")

    try:
        found = fetch("subscription", subscription)
        bring_in([found], actor="system", within=put_back)
    except Exception:
        logger.info("Stripe did not say what %s is", subscription, exc_info=True)
        with transaction.atomic(), acting_as("system"):
            put_back(Intake())
