"""Two customers at Stripe that are one person: the user of one becomes the user of both."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from billing.models import (
    BillingCustomer,
    CreditEntry,
    LeadClaim,
    OperationRecord,
    Purchase,
)
from billing.operations import inputs
from billing.operations.base import (
    CannotUndoError,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.operations.comparison import Scope, credit_changes, row_changes, rows
from billing.operations.ownership import (
    TABLES,
    current,
    give_back,
    moved,
    owners,
    rehearsed,
)
from billing.permissions import MERGE
from billing.projection import accounts, ledger, purchases, settlement
from billing.projection.ledger import LedgerError

NOT_AT_STRIPE = (
    "Nothing changes at Stripe: both customers stay there, each with its own cards,"
    " subscriptions and invoices."
)
APPROVAL = "Two people's rows and credits become one person's: another person has to approve it."


class MergeCustomers(Operation):
    """Makes two customers one user's: the kept one's. Rows and credits of both follow.

    If the other one had a user of its own, all that is that user's comes along: further
    customers, the balance and what is owed. With `undoes` it takes such a merge back,
    as long as no credits have moved since.
    """

    name = "merge_customers"
    title = "Merge customers"
    permission = MERGE
    audit_type = "manual.customer_merge"
    target = "kept"

    def __init__(self, *, kept: str, gone: str, **common: Any) -> None:
        super().__init__(**common)
        self.kept = inputs.stripe_id(kept, "cus_")
        self.gone = inputs.stripe_id(gone, "cus_")
        if self.kept == self.gone:
            raise InvalidInputError("Name two customers: these are the same one.")

    @property
    def subject(self) -> str:
        return self.kept

    def parameters(self) -> dict[str, Any]:
        return {"kept": self.kept, "gone": self.gone}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        if record.undoes_id:
            raise CannotUndoError("It is an undo itself: merge the customers anew.")
        if refusal := credits_moved(record.result["details"]):
            raise CannotUndoError(refusal)
        return cls(**record.parameters, undoes=record, **common)

    def plan(self) -> Plan:
        if self.undoes:
            return self._undo_plan(self.undoes.result["details"])
        plan = Plan(f"Make {self.gone} the same person as {self.kept}.")
        plan.blocked = self._objection()
        if plan.blocked:
            return plan
        kept, gone = self._customers()
        plan.summary = f"Make {self.gone} user {kept.user_id}'s, as {self.kept} is."
        plan.changes = rehearsed(self._merge, actor=self.actor.name).changes
        plan.warnings = [NOT_AT_STRIPE, *self._warnings(kept, gone), *self.under_way()]
        plan.approval = APPROVAL
        return plan

    def run(self, record: OperationRecord) -> Result:
        act = self._separate if self.undoes else self._merge
        with self.committing(record) as commit:
            commit.result = result = act()
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _customers(self) -> tuple[BillingCustomer, BillingCustomer]:
        """The kept one and the other. Raises OperationError where one is not here."""
        found = BillingCustomer.objects.in_bulk(
            [self.kept, self.gone], field_name="stripe_customer_id"
        )
        for customer_id in (self.kept, self.gone):
            if customer_id not in found:
                raise OperationError(
                    f"Customer {customer_id} is not here: sync it from Stripe first."
                )
        return found[self.kept], found[self.gone]

    def _objection(self) -> str:
        """Why they cannot be merged, and what to do instead; '' if they can."""
        kept, gone = self._customers()
        if kept.livemode != gone.livemode:
            return "One of them is of Stripe's live mode and the other one of its test mode."
        if kept.user_id is None:
            return (
                f"Nobody knows which user {self.kept} is: keep the other one, or attribute a"
                " payment of theirs first."
            )
        if kept.user_id == gone.user_id:
            return f"Both are user {kept.user_id}'s already."
        return ""

    def _warnings(self, kept: BillingCustomer, gone: BillingCustomer) -> list[str]:
        """What the merge brings along, or leaves behind."""
        if gone.user_id is None:
            return []
        found = []
        if others := sorted(set(self._moving(gone)) - {self.gone}):
            found.append(f"User {gone.user_id} has other customers, which come along: {others}.")
        if LeadClaim.objects.filter(user_id=gone.user_id).exists():
            found.append(f"The lead claims of user {gone.user_id} stay in that name.")
        found.append(
            f"The application still knows user {gone.user_id}: have that account closed there,"
            f" or its claims will find no credits. {kept.user_id} has them now."
        )
        return found

    def _moving(self, gone: BillingCustomer) -> list[str]:
        """The customers that become the kept one's user's."""
        if gone.user_id is None:
            return [self.gone]
        theirs = BillingCustomer.objects.filter(user_id=gone.user_id)
        return sorted(theirs.values_list("stripe_customer_id", flat=True))

    def _merge(self) -> Result:
        """Does it. Needs an open transaction; `_objection` is asked again under the locks."""
        purchases.lock_keys([self.kept, self.gone, *self._moving(self._customers()[1])])
        if refusal := self._objection():
            raise OperationError(refusal)
        kept, gone = self._customers()
        user, other = str(kept.user_id), gone.user_id
        customers = self._moving(gone)
        whose, attributed = owners(customers, user=other), attributions(customers)
        scope = everything(whose, self.kept)
        known = rows(scope)
        granted = settlement.settle(self._hand_over(customers, user, other))
        handed = (
            ledger.move(other, user, reason=self.reason, sources=self._sources()) if other else []
        )
        return Result(
            f"{self.gone} is user {user}'s now, as {self.kept} is.",
            row_changes(known, rows(scope)) + credit_changes([*granted, *handed]),
            details={
                "user_id": user,
                "customer": self.kept,
                "merged_customer": self.gone,
                "merged_user_id": other,
                "owners": moved(whose, current(whose)),
                "attributions": attributed,
                "granted": [item.entry.source for item in granted],
                "moved": [item.entry.source for item in handed],
                "last_entry": last_entry([user, other]),
            },
        )

    def _sources(self) -> tuple[str, str]:
        """What the two entries of the ledger are keyed by."""
        return f"merge:{self.key}:from", f"merge:{self.key}:to"

    def _hand_over(self, customers: list[str], user: str, other: str | None) -> list[str]:
        """Makes what is the other user's, and what is nobody's of these customers, `user`'s.

        Returns the purchases that nobody was known for: they can be granted now.
        """
        nobodys = Q(stripe_customer_id__in=customers, user_id=None)
        unattributed = list(Purchase.objects.filter(nobodys).values_list("source", flat=True))
        theirs = nobodys | Q(user_id=other) if other else nobodys
        for model, _ in TABLES.values():
            model._default_manager.filter(theirs).update(user_id=user, updated_at=Now())
        BillingCustomer.objects.filter(stripe_customer_id__in=customers).update(
            attributed_by=accounts.OPERATOR, attributed_at=Now()
        )
        return unattributed

    def _undo_plan(self, details: dict[str, Any]) -> Plan:
        plan = Plan(f"Make {self.gone} another person than {self.kept} again.")
        plan.blocked = credits_moved(details)
        if plan.blocked:
            return plan
        plan.changes = rehearsed(self._separate, actor=self.actor.name).changes
        plan.warnings = [NOT_AT_STRIPE, *self.under_way()]
        plan.approval = APPROVAL
        return plan

    def _separate(self) -> Result:
        """Takes the merge back that `undoes` did. Needs an open transaction."""
        assert self.undoes  # noqa: S101  (narrows the type)
        details = self.undoes.result["details"]
        customers = [self.kept, *details["attributions"]]
        purchases.lock_keys(customers)
        if refusal := credits_moved(details):
            raise OperationError(refusal)
        scope = everything(details["owners"], self.kept)
        known = rows(scope)
        give_back(details["owners"])
        for customer_id, (by, at) in details["attributions"].items():
            BillingCustomer.objects.filter(stripe_customer_id=customer_id).update(
                attributed_by=by, attributed_at=datetime.fromisoformat(at) if at else None
            )
        try:
            posted = ledger.reverse(details["moved"], reason=self.reason)
        except LedgerError as error:
            raise OperationError(f"{error} Nothing was taken back.") from error
        return Result(
            f"{self.gone} is another person than {self.kept} again.",
            row_changes(known, rows(scope)) + credit_changes(posted),
            details={name: details[name] for name in ("user_id", "customer", "merged_customer")},
        )


def everything(found: Mapping[str, Mapping[str, Any]], kept: str) -> Scope:
    """What these rows' changes are shown of, with the kept customer."""
    ids = {id_ for rows_ in found.values() for id_ in rows_}
    return Scope(frozenset(ids), frozenset({kept, *found.get("Customer", {})}))


def attributions(customer_ids: list[str]) -> dict[str, tuple[str, str | None]]:
    """How we know who these customers are, and since when (ISO 8601, UTC)."""
    found = BillingCustomer.objects.filter(stripe_customer_id__in=customer_ids)
    return {
        customer.stripe_customer_id: (
            customer.attributed_by,
            customer.attributed_at.isoformat() if customer.attributed_at else None,
        )
        for customer in found
    }


def last_entry(user_ids: list[str | None]) -> int:
    """The newest ledger entry of these users; 0 where they have none."""
    entries = CreditEntry.objects.filter(user_id__in=[user for user in user_ids if user])
    return entries.order_by("-id").values_list("id", flat=True).first() or 0


def credits_moved(details: dict[str, Any]) -> str:
    """Why a merge cannot be taken back, and what can be done; '' where it can."""
    if details["granted"]:
        return (
            f"The merge granted user {details['user_id']} what {details['merged_customer']} had"
            " bought: correct the balances instead."
        )
    if last_entry([details["user_id"], details["merged_user_id"]]) > details["last_entry"]:
        return (
            "Credits have come or gone since: nobody can tell any more whose they were. Correct"
            " the balances instead."
        )
    return ""
