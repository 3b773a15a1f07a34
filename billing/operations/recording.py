"""Recording a subscription whose webhook never came: the runbook's INSERT, made safe."""

from collections import Counter
from typing import Any

from django.utils import timezone

from billing.gateway.client import StripeNotFoundError, gateway
from billing.gateway.observation import Observation
from billing.gateway.shapes import id_of
from billing.models import BillingCustomer, BillingSubscription, OperationRecord
from billing.operations import inputs
from billing.operations.base import (
    CannotUndoError,
    Change,
    NotPermittedError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.operations.comparison import bring_in_for, preview
from billing.operations.subscriptions import FINAL
from billing.operations.sync import of_subscription
from billing.permissions import ATTRIBUTE, RECORD
from billing.projection import settlement
from billing.projection.accounts import Attribution, attribute
from billing.projection.intake import Intake


class RecordSubscription(Operation):
    """Writes a subscription as Stripe has it, with its customer, invoices and credits.

    Nothing of it is typed by hand but its id and, where Stripe does not tell whose it is,
    our own id of the user: the customer is theirs from then on.
    """

    name = "record_subscription"
    title = "Record subscription"
    permission = RECORD
    audit_type = "manual.subscription_recorded"
    target = "subscription_id"

    def __init__(self, *, subscription_id: str, user_id: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.subscription_id = inputs.stripe_id(subscription_id, "sub_")
        self.user_id = inputs.user_id(user_id) if user_id else None

    @property
    def subject(self) -> str:
        return self.subscription_id

    def parameters(self) -> dict[str, Any]:
        return {"subscription_id": self.subscription_id, "user_id": self.user_id}

    def check(self) -> None:
        super().check()
        if self.user_id and not self.actor.may(ATTRIBUTE):
            raise NotPermittedError(
                f"You may not say whose it is: that needs the permission “{ATTRIBUTE}”."
            )

    def plan(self) -> Plan:
        plan = Plan(f"Record subscription {self.subscription_id}.")
        try:
            found = {item.id: item for item in of_subscription(self.subscription_id, gateway())}
        except StripeNotFoundError as error:
            plan.blocked = f"{error}. Is it of the other mode (live or test), or another account's?"
            return plan
        self.observations = list(found.values())
        subscription = found[self.subscription_id]
        self.customer_id = id_of(subscription.data.get("customer"))
        plan.summary = described(self.observations, subscription)
        is_here = BillingSubscription.objects.filter(
            stripe_subscription_id=self.subscription_id
        ).exists()
        try:
            plan.changes = preview(
                self.observations, actor=self.actor.name, also=self._say_whose_it_is
            )
        except OperationError as error:
            plan.blocked = str(error)
            return plan
        if is_here and not plan.changes:
            plan.blocked = "It is here already, as Stripe has it: there is nothing to record."
        elif is_here:
            plan.warnings.append("It is here already: what differs is brought up to date.")
        plan.warnings += [*self._doubts(subscription), *self.under_way()]
        return plan

    def run(self, record: OperationRecord) -> Result:
        return bring_in_for(
            self, record, self.observations, self._result, also=self._say_whose_it_is
        )

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(
            "What was recorded is as Stripe has it, and the next sync would bring it again. Cancel"
            " the subscription, or correct the balance, if that is what is wrong."
        )

    def _say_whose_it_is(self, intake: Intake) -> None:
        """Notes the named user where Stripe tells none, and grants them what was paid.

        Raises OperationError where the customer is known to be another user.
        """
        customer = BillingCustomer.objects.filter(stripe_customer_id=self.customer_id)
        self.owner = customer.values_list("user_id", flat=True).first()
        if self.user_id in (None, self.owner):
            return
        if self.owner is not None:
            raise OperationError(
                f"Customer {self.customer_id} is user {self.owner}, not {self.user_id}: leave the"
                " user out, or find out who is right."
            )
        known = attribute([Attribution(self.customer_id, self.user_id, "operator", timezone.now())])
        intake.posted += settlement.settle((), known)
        self.owner = self.user_id

    def _doubts(self, subscription: Observation) -> list[str]:
        """What the operator should know before agreeing."""
        status = str(subscription.data.get("status"))
        doubts = [FINAL[status]] if status in FINAL else []
        if self.owner is None:
            doubts.append(
                "Nobody knows which user this is, so nobody gets its credits: name the user."
            )
        return doubts

    def _result(self, changes: list[Change]) -> Result:
        row = BillingSubscription.objects.get(stripe_subscription_id=self.subscription_id)
        whose = f"user {row.user_id}" if row.user_id else "nobody we know"
        details = {
            "subscription": self.subscription_id,
            "customer": self.customer_id,
            "user_id": row.user_id,
            "status": row.status,
            "fetched": dict(Counter(item.kind for item in self.observations)),
        }
        return Result(
            f"Recorded {self.subscription_id} of {whose}: it is {row.status}.",
            changes,
            details=details,
        )


def described(observations: list[Observation], subscription: Observation) -> str:
    """What was found at Stripe, in a sentence."""
    others = Counter(item.kind for item in observations if item is not subscription)
    with_it = ", ".join(f"{count} {kind}" for kind, count in others.items())
    status = subscription.data.get("status")
    return f"Record subscription {subscription.id}, which is {status} at Stripe, with {with_it}."
