"""Credits by hand: a grant, for a purchase or for none, and a balance set to a value."""

from typing import Any

from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    Purchase,
)
from billing.operations import inputs, limits
from billing.operations.base import (
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.permissions import CORRECT, GRANT, TAKE_BACK
from billing.projection import ledger, named, settlement
from billing.projection.ledger import Entry, LedgerError, Posted
from billing.projection.named import AlreadyGrantedError, NamedPurchase, NotAPurchaseError

PURCHASES = ("cs_", "in_", "pi_")
MOST_GRANTED = 1_000_000  # credits at once; anything above is a slip
MOST_HELD = 1_000_000_000  # credits that a balance can be set to


class CreditAdjustment(Operation):
    """What the two have in common: a user, a balance before and after, the audit event."""

    audit_type = "manual.credit_adjustment"
    target = "user_id"
    user_id: str

    @property
    def subject(self) -> str:
        return self.user_id

    @property
    def source(self) -> str:
        """What the ledger's entry is keyed by: one operation, one entry."""
        return f"operation:{self.key}"

    def balance(self) -> tuple[int, int]:
        """The user's credits now, and what they owe; no row means 0."""
        row = LeadCredits.objects.filter(user_id=self.user_id).values_list("balance", "owed")
        return row.first() or (0, 0)

    def changes(self, before: tuple[int, int], after: tuple[int, int]) -> list[Change]:
        pairs = zip(("Balance", "Owed"), before, after, strict=True)
        return [Change(name, str(old), str(new)) for name, old, new in pairs if old != new]

    def audit_payload(self, result: Result) -> dict[str, Any]:
        """With the fields of the runbook's own audit statement: user_id, amount."""
        return {"user_id": self.user_id, **result.details}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        """What was given is taken back, what was taken is given back: the same amount."""
        details = record.result.get("details", {})
        amount = details.get("amount")
        if not isinstance(amount, int):
            raise CannotUndoError("Its record does not say how many credits it moved.")
        return TakeBackCredits(
            user_id=details.get("user_id") or record.subject,
            amount=-amount,
            purchase=details.get("purchase"),
            undoes=record,
            **common,
        )


class GrantCredits(CreditAdjustment):
    """Gives a user credits, once; for a named purchase also once for that purchase.

    What the user owes is paid from the grant first. `purchase` is a checkout session,
    an invoice or a payment intent: no webhook, replay or sync grants it again.
    """

    name = "grant_credits"
    title = "Grant credits"
    permission = GRANT

    def __init__(
        self,
        *,
        user_id: str,
        amount: int | str,
        purchase: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.user_id = inputs.user_id(user_id)
        self.amount = inputs.whole_number(amount, "The amount", least=1, most=MOST_GRANTED)
        self.purchase_id = inputs.stripe_id(purchase, *PURCHASES) if purchase else None

    def parameters(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "amount": self.amount, "purchase": self.purchase_id}

    def plan(self) -> Plan:
        balance, owed = self.balance()
        pays = min(owed, self.amount)
        plan = Plan(
            f"Grant {self.amount:,} credits to user {self.user_id}",
            self.changes((balance, owed), (balance + self.amount - pays, owed - pays)),
        )
        plan.approval = limits.approval(self.actor, self.amount)
        if pays:
            plan.warnings.append(f"{pays:,} of them pay what the user owes.")
        plan.warnings += [*unknown(self.user_id), *self.under_way()]
        self.bought = self._look_up()
        if self.bought:
            plan.summary += f" for {self.bought.purchase.source}"
            plan.warnings += differences(self.bought, self.user_id, self.amount)
            if self.bought.granted_by or self.bought.purchase.status == Purchase.Status.GRANTED:
                by = ", ".join(self.bought.granted_by) or "see the ledger"
                plan.blocked = f"{self.bought.purchase.source} has its credits already ({by})."
        plan.summary += "."
        return plan

    def run(self, record: OperationRecord) -> Result:
        try:
            with self.committing(record) as commit:
                commit.result = result = self._result(self._grant())
        except (AlreadyGrantedError, LedgerError) as error:
            raise OperationError(str(error)) from error
        return result

    def _look_up(self) -> NamedPurchase | None:
        """The purchase that was named, as it is here or else at Stripe."""
        try:
            return named.look_up(self.purchase_id) if self.purchase_id else None
        except NotAPurchaseError as error:
            raise OperationError(str(error)) from error

    def _grant(self) -> Posted:
        if self.bought:
            purchase = self.bought.purchase
            return named.grant_by_hand(purchase, self.user_id, self.amount, self.reason)
        entry = Entry(self.user_id, self.amount, CreditEntry.Kind.GRANT, self.source, self.reason)
        [posted] = ledger.post([entry])
        return posted

    def _result(self, posted: Posted) -> Result:
        before = (posted.balance_after - posted.delta, posted.owed_after - posted.owed_delta)
        after = self.balance()  # a refund of the purchase may have taken some back at once
        source = self.bought.purchase.source if self.bought else None
        suffix = f" for {source}" if source else ""
        return Result(
            f"Granted {self.amount:,} credits to user {self.user_id}{suffix}.",
            self.changes(before, after),
            details={
                "amount": self.amount,
                "purchase": source,
                "balance_before": before[0],
                "balance_after": after[0],
                "owed_before": before[1],
                "owed_after": after[1],
            },
        )


class CorrectBalance(CreditAdjustment):
    """Sets a user's balance to a value; the difference is computed under the row's lock."""

    name = "correct_balance"
    title = "Correct balance"
    permission = CORRECT

    def __init__(
        self,
        *,
        user_id: str,
        balance: int | str,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.user_id = inputs.user_id(user_id)
        self.wanted = inputs.whole_number(balance, "The balance", least=0, most=MOST_HELD)

    def parameters(self) -> dict[str, Any]:
        return {"user_id": self.user_id, "balance": self.wanted}

    def plan(self) -> Plan:
        balance, owed = self.balance()
        plan = Plan(
            f"Set the balance of user {self.user_id} to {self.wanted:,} credits.",
            self.changes((balance, owed), (self.wanted, owed)),
        )
        plan.approval = limits.approval(self.actor, abs(self.wanted - balance))
        if balance == self.wanted:
            plan.blocked = f"The balance of user {self.user_id} is {balance:,} already."
        if owed:
            plan.warnings.append(f"The {owed:,} credits that the user owes stay owed.")
        plan.warnings += [*unknown(self.user_id), *self.under_way()]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            posted = ledger.correct(
                self.user_id, self.wanted, reason=self.reason, source=self.source
            )
            commit.result = result = self._result(posted.delta if posted else 0)
        return result

    def _result(self, delta: int) -> Result:
        balance, owed = self.balance()
        before = balance - delta
        return Result(
            f"The balance of user {self.user_id} is {balance:,} credits ({delta:+,}).",
            self.changes((before, owed), (balance, owed)),
            details={"amount": delta, "balance_before": before, "balance_after": balance},
        )


class TakeBackCredits(CreditAdjustment):
    """Undoes a grant or a correction by as many credits the other way.

    Only while the balance still has them: credits that were spent are not made a debt of
    the user's by an undo. A `purchase` (cs_ or in_) that was granted stays without credits.
    `grant` is the key of the operation that it undoes, where that is not given as `undoes`.
    """

    name = "take_back_credits"
    title = "Take back credits"
    permission = TAKE_BACK

    def __init__(
        self,
        *,
        user_id: str,
        amount: int | str,
        purchase: str | None = None,
        grant: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.user_id = inputs.user_id(user_id)
        self.amount = inputs.whole_number(amount, "The amount", least=-MOST_HELD, most=MOST_HELD)
        self.purchase_id = inputs.stripe_id(purchase, *PURCHASES) if purchase else None
        self.grant = inputs.words(grant, "The operation", most=inputs.MAX_ID) if grant else None
        if self.grant:
            self.undoes = applied(self.grant)

    @property
    def source(self) -> str:
        """What the ledger's entry is keyed by: one operation is undone once."""
        return f"undo:{self.undoes.key}" if self.undoes else super().source

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("It is an undo itself: grant the credits anew.")

    def parameters(self) -> dict[str, Any]:
        asked = {"user_id": self.user_id, "amount": self.amount, "purchase": self.purchase_id}
        return {**asked, "grant": self.grant} if self.grant else asked

    def plan(self) -> Plan:
        balance, owed = self.balance()
        plan = Plan(
            f"Change the credits of user {self.user_id} by {self.amount:+,}.",
            self.changes((balance, owed), ledger.settled(balance, owed, self.amount)),
            warnings=self.under_way(),
        )
        if balance + self.amount < 0:
            plan.blocked = (
                f"User {self.user_id} has {balance:,} credits left of the {-self.amount:,}: the"
                " others were spent. Correct the balance instead."
            )
        purchase = self._purchase()
        if purchase and settlement.taken_back(purchase):
            plan.blocked = (
                f"{purchase.source} was refunded or disputed meanwhile, which took credits back."
                " Correct the balance instead."
            )
        plan.blocked = self._mismatch() or plan.blocked
        return plan

    def run(self, record: OperationRecord) -> Result:
        try:
            return self._take_back(record)
        except LedgerError as error:
            raise OperationError(f"{error} Nothing was taken back.") from error

    def _mismatch(self) -> str:
        """Why the operation that was named cannot be undone by this; '' where none was."""
        if self.grant is None or self.undoes is None:
            return ""
        if done := self.undoes.undone_by.filter(status=OperationRecord.Status.APPLIED).first():
            return f"{done.actor} has taken it back already."
        details = self.undoes.result.get("details", {})
        moved = (details.get("user_id") or self.undoes.subject, details.get("amount"))
        if self.undoes.name != GrantCredits.name or moved != (self.user_id, -self.amount):
            return (
                f"Operation {self.grant} did not grant {-self.amount:,} credits to user"
                f" {self.user_id}: look it up under Operations, and take back what it granted."
            )
        if details.get("purchase") != self.purchase_id:
            return f"Operation {self.grant} was for a purchase: undo it on its own page."
        return ""

    def _purchase(self) -> Purchase | None:
        return Purchase.objects.filter(source=self.purchase_id or "").first()

    def _post(self) -> Posted:
        if purchase := self._purchase():
            return named.take_back(purchase, self.user_id, -self.amount, self.reason)
        kind = CreditEntry.Kind.CORRECTION
        posted = ledger.post([Entry(self.user_id, self.amount, kind, self.source, self.reason)])
        if not posted:
            raise LedgerError("It was undone just before.")
        if posted[0].owed_delta > 0:
            raise LedgerError("The credits were spent just now.")
        return posted[0]

    def _take_back(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            posted = self._post()
            commit.result = result = Result(
                f"The credits of user {self.user_id} changed by {self.amount:+,}.",
                self.changes(
                    (posted.balance_after - posted.delta, posted.owed_after - posted.owed_delta),
                    (posted.balance_after, posted.owed_after),
                ),
                details={
                    "amount": self.amount,
                    "purchase": self.purchase_id,
                    "balance_before": posted.balance_after - posted.delta,
                    "balance_after": posted.balance_after,
                },
            )
        return result


def applied(key: str) -> OperationRecord:
    """The applied operation with this key. Raises InvalidInputError where there is none."""
    status = OperationRecord.Status.APPLIED
    record = OperationRecord.objects.filter(key=key, status=status).first()
    if record is None:
        raise InvalidInputError(f"No operation {key[:60]} was applied: look under Operations.")
    return record


def differences(bought: NamedPurchase, user_id: str, amount: int) -> list[str]:
    """How a purchase differs from what is to be granted for it."""
    found = []
    if bought.purchase.user_id and bought.purchase.user_id != user_id:
        found.append(f"It was bought by user {bought.purchase.user_id}, not by {user_id}.")
    if bought.worth is not None and bought.worth != amount:
        found.append(f"By its prices it is worth {bought.worth:,} credits, not {amount:,}.")
    return found


def unknown(user_id: str) -> list[str]:
    """A warning where no row of ours names this user.

    No error: users are the application's, and one who never bought may be given credits.
    """
    tables = (
        LeadCredits, BillingCustomer, BillingSubscription, BillingInvoice, Purchase, LeadClaim
    )  # fmt: skip
    if any(table.objects.filter(user_id=user_id).exists() for table in tables):
        return []
    return [f"Nothing here knows a user {user_id}: check the id for a slip."]
