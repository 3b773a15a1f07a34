"""Cancelling a subscription at the end of its period, which can be taken back until then."""

from typing import Any

from billing.formatting import format_time
from billing.gateway.client import gateway
from billing.gateway.observation import Observation, StripeDict, from_timestamp
from billing.gateway.shapes import subscription_period
from billing.models import BillingSubscription, OperationRecord
from billing.operations import inputs
from billing.operations.acting import acted_before, stripe_key
from billing.operations.base import CannotUndoError, Change, Operation, Plan, Result
from billing.operations.comparison import Scope, bring_in_for, preview, rows
from billing.operations.subscriptions import FINAL, LIVING, ReactivateSubscription, ending
from billing.permissions import CANCEL
from billing.projection.intake import fetch

NOT_YET = {
    "incomplete": "Its first payment is not through: it ends by itself after 23 hours without one.",
}


class CancelAtPeriodEnd(Operation):
    """Has a subscription end with the period that is paid for; it is used until then."""

    name = "cancel_at_period_end"
    title = "Cancel at period end"
    permission = CANCEL
    audit_type = "manual.subscription_cancellation"
    target = "subscription_id"

    def __init__(self, *, subscription_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.subscription_id = inputs.stripe_id(subscription_id, "sub_")

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        """Clears the cancellation, while that is all that reactivating would do."""
        ours = BillingSubscription.objects.filter(stripe_subscription_id=record.subject)
        status = ours.values_list("status", flat=True).first()
        if status in FINAL:
            raise CannotUndoError(f"{FINAL[status]} Send the customer a checkout link.")
        if status not in LIVING:
            raise CannotUndoError(
                f"It is {status} by now, so that more is needed than to keep it: reactivate it."
            )
        return ReactivateSubscription(subscription_id=record.subject, undoes=record, **common)

    @property
    def subject(self) -> str:
        return self.subscription_id

    def parameters(self) -> dict[str, Any]:
        return {"subscription_id": self.subscription_id}

    def plan(self) -> Plan:
        self.observed = observed = fetch("subscription", self.subscription_id)
        data, status = observed.data, str(observed.data.get("status"))
        plan = Plan(f"Cancel {self.subscription_id}, which is {status} at Stripe.")
        self.is_done = bool(ending(data)) and acted_before(self)
        if self.is_done:
            plan.summary = f"Stripe has scheduled it ({ending(data)}): bring our rows up to date."
            plan.changes = preview([observed], actor=self.actor.name)
            return plan
        plan.blocked = refusal(data)
        if not plan.blocked:
            plan.calls = [f"Let {self.subscription_id} end with its current period."]
            plan.changes = [Change("Ends", "does not end", f"at the end of the period{on(data)}")]
            plan.warnings = self.under_way()
        return plan

    def run(self, record: OperationRecord) -> Result:
        before = rows(Scope.of([self.observed]))
        if not self.is_done:
            gateway().post(
                f"/v1/subscriptions/{self.subscription_id}",
                {"cancel_at_period_end": True},
                idempotency_key=stripe_key(self, record, "cancel"),
            )
        fresh = fetch("subscription", self.subscription_id)
        return bring_in_for(
            self, record, [fresh], lambda changes: self._result(fresh, changes), before=before
        )

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _result(self, fresh: Observation, changes: list[Change]) -> Result:
        ours = BillingSubscription.objects.get(stripe_subscription_id=self.subscription_id)
        return Result(
            f"{self.subscription_id} ends {ending(fresh.data)}{on(fresh.data)}.",
            changes,
            details={
                "subscription": self.subscription_id,
                "customer": ours.stripe_customer_id,
                "user_id": ours.user_id,
                "stripe_status": str(fresh.data.get("status")),
            },
        )


def refusal(subscription: StripeDict) -> str:
    """Why it cannot be scheduled, and what to do instead; '' where it can."""
    status = str(subscription.get("status"))
    if why := FINAL.get(status) or NOT_YET.get(status):
        return why
    if when := ending(subscription):
        return f"It is set to end {when} already. Reactivate it to take that back."
    return ""


def on(subscription: StripeDict) -> str:
    """The end of the current period, as a clause; '' where Stripe does not tell."""
    end = from_timestamp(subscription_period(subscription)[1])
    return f", {format_time(end)}" if end else ""
