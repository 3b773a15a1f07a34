"""The link to a customer's own billing page, which an agent makes and passes on."""

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from billing.formatting import format_time, iso_time
from billing.models import BillingCustomer, OperationRecord
from billing.operations import inputs
from billing.operations.base import CannotUndoError, InvalidInputError, Operation, Plan, Result
from billing.operations.links import CustomerLink
from billing.permissions import BILLING_LINK
from billing.signed_links import Link

MOST_HOURS = 168
DEFAULT_HOURS = 48
OPENS = (
    "Whoever has the link sees the customer's invoices and can open their billing portal: give it"
    " to nobody else."
)


class CreateBillingLink(CustomerLink):
    """Makes a link to the customer's own billing page, which needs no log-in and expires.

    Whoever has it reads the customer's invoices and can open their billing portal: it is shown
    once, and never stored. With `undoes` it calls such a link back. Stripe is not asked.
    """

    name = "create_billing_link"
    title = "Billing page link"
    permission = BILLING_LINK
    audit_type = "manual.billing_link"

    def __init__(self, *, customer: str, hours: int | str = DEFAULT_HOURS, **common: Any) -> None:
        super().__init__(customer=customer, **common)
        self.hours = inputs.whole_number(hours, "The hours", least=1, most=MOST_HOURS)

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "hours": self.hours}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        if record.undoes_id:
            raise CannotUndoError("The link was called back: make a new one instead.")
        expires = parse_datetime(record.result["details"]["expires_at"])
        if expires and expires <= timezone.now():
            raise CannotUndoError("The link has expired: it opens nothing any more.")
        return cls(**record.parameters, undoes=record, **common)

    def plan(self) -> Plan:
        if self.undoes:
            return Plan(
                f"Call back the link to the billing page of {self.named}, made by"
                f" {self.undoes.actor} at {format_time(self.undoes.created_at)}: it opens nothing"
                " any more."
            )
        self.row = row = self._row()
        plan = Plan(
            f"Make a link to the billing page of {described(row)}, good for {self.hours} hours.",
            warnings=[OPENS, "It is shown only once. Undo this operation to call it back."],
        )
        if row.deleted:
            plan.blocked = (
                f"{row.stripe_customer_id} was deleted at Stripe: there is nothing to manage any"
                " more. Only a checkout link can follow."
            )
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            commit.result = result = self._called_back() if self.undoes else self._made()
        return result

    def _made(self) -> Result:
        until = (timezone.now() + timedelta(hours=self.hours)).replace(microsecond=0)
        return Result(
            f"A link to the billing page of {described(self.row)} was made. It can be used until"
            f" {format_time(until)}. It is not kept here: make a new one if it is lost.",
            details={
                "customer": self.row.stripe_customer_id,
                "user_id": self.row.user_id,
                "expires_at": iso_time(until),
            },
            once=Link(self.key, until).url,
        )

    def _called_back(self) -> Result:
        assert self.undoes  # noqa: S101  (narrows the type)
        made = self.undoes.result["details"]
        return Result(
            f"The link to the billing page of {made['customer']} was called back: it opens nothing"
            " any more.",
            details={"customer": made["customer"], "user_id": made["user_id"]},
        )

    def _row(self) -> BillingCustomer:
        """The one customer who is meant. Raises InvalidInputError for none, or several."""
        by_user = Q(user_id=self.named, deleted=False)
        meant = Q(stripe_customer_id=self.named) if self.named.startswith("cus_") else by_user
        rows = list(BillingCustomer.objects.filter(meant).order_by("id")[:20])
        if len(rows) > 1:
            ids = ", ".join(row.stripe_customer_id for row in rows)
            raise InvalidInputError(f"User {self.named} has several customers: name one of {ids}.")
        if not rows:
            raise InvalidInputError(
                f"No customer {self.named} is known here: sync them from Stripe first."
            )
        return rows[0]


def described(row: BillingCustomer) -> str:
    """The customer's id, with the address that we know."""
    return f"{row.stripe_customer_id} ({row.email})" if row.email else row.stripe_customer_id
