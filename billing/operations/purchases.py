"""What was paid for and did not arrive: a purchase granted, a payment attributed."""

from collections.abc import Callable, Iterable
from typing import Any

from billing.formatting import format_money, format_time
from billing.gateway.client import gateway
from billing.gateway.observation import Observation
from billing.gateway.shapes import dig, id_of
from billing.models import BillingCustomer, CreditEntry, OperationRecord, PaymentReversal, Purchase
from billing.operations import inputs
from billing.operations.base import CannotUndoError, Operation, OperationError, Plan, Result
from billing.operations.comparison import Scope, credit_changes, row_changes, rows
from billing.operations.credits import PURCHASES, CreditAdjustment, unknown
from billing.operations.ownership import give_back, moved, owners, rehearsed
from billing.permissions import ATTRIBUTE, GRANT_PURCHASE
from billing.projection import accounts, named, purchases, settlement
from billing.projection.intake import Intake, bring_in
from billing.projection.ledger import LedgerError, Posted
from billing.projection.named import (
    AlreadyGrantedError,
    BoughtByAnotherError,
    NamedPurchase,
    NotAPurchaseError,
)

Granted = Purchase.Status.GRANTED


class GrantPurchase(CreditAdjustment):
    """Grants a purchase exactly what our prices say that it is worth, once.

    It goes to the user who bought it, or to `user_id` where nobody knows who that was.
    Stripe is asked what was refunded or disputed of it: that share is taken back at once.
    """

    name = "grant_purchase"
    title = "Grant a purchase"
    permission = GRANT_PURCHASE
    target = "purchase_id"

    def __init__(self, *, purchase_id: str, user_id: str | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.purchase_id = inputs.stripe_id(purchase_id, *PURCHASES)
        self.named_user = inputs.user_id(user_id) if user_id else None

    @property
    def subject(self) -> str:
        return self.purchase_id

    def parameters(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "user_id": self.named_user}

    def plan(self) -> Plan:
        plan = Plan(f"Grant {self.purchase_id} what it is worth.")
        try:
            self.bought = bought = named.look_up(self.purchase_id)
        except NotAPurchaseError as error:
            plan.blocked = f"{error} There is nothing to grant."
            return plan
        plan.summary = f"Grant {described(bought)}."
        plan.blocked = already(bought) or self._nobodys(bought.purchase) or priceless(bought)
        if plan.blocked:
            return plan
        self.user_id = bought.purchase.user_id or self.named_user or ""
        self.reversed = reversals_at_stripe(bought.purchase)
        plan.blocked = refunded(bought.purchase, self.reversed)
        if plan.blocked:
            return plan
        plan.summary = f"Grant user {self.user_id} {described(bought)}."
        plan.changes = self._rehearse().changes
        plan.warnings = [*self._warnings(bought.purchase), *self.under_way()]
        return plan

    def run(self, record: OperationRecord) -> Result:
        results: list[Result] = []

        def commit(intake: Intake) -> None:
            with self.committing(record) as done:
                done.result = self._grant(intake)
            results.append(done.result)

        self._bring_in(commit)
        return results[-1]

    def _rehearse(self) -> Result:
        """What granting it would do, rolled back."""

        def look(intake: Intake) -> None:
            raise _SeenError(self._grant(intake))

        try:
            self._bring_in(look)
        except _SeenError as seen:
            return seen.result
        raise RuntimeError("The rehearsal was not rolled back.")

    def _bring_in(self, within: Callable[[Intake], None]) -> None:
        """Brings in what was refunded, and does more in the same transaction."""
        try:
            bring_in(self.reversed, actor=self.actor.name, within=within)
        except (AlreadyGrantedError, LedgerError) as error:
            raise OperationError(str(error)) from error

    def _grant(self, intake: Intake) -> Result:
        """Grants it, unless what was brought in of it has: its price may be mapped by now."""
        purchase, worth = self.bought.purchase, self.bought.worth or 0
        scope = Scope(frozenset([purchase.source]), frozenset())
        known = rows(scope)
        sources = settlement.grant_sources(purchase)
        settled = (item for item in intake.posted if item.entry.source in sources)
        posted = next(settled, None) or named.grant_by_hand(
            purchase, self.user_id, worth, self.reason
        )
        before = (posted.balance_after - posted.delta, posted.owed_after - posted.owed_delta)
        after = self.balance()  # what was refunded of it was taken back at once
        return Result(
            f"Granted {worth:,} credits to user {self.user_id} for {purchase.source}.",
            self.changes(before, after) + row_changes(known, rows(scope)),
            details={
                "user_id": self.user_id,
                "amount": worth,
                "purchase": purchase.source,
                "customer": purchase.stripe_customer_id,
                "balance_before": before[0],
                "balance_after": after[0],
                "owed_before": before[1],
                "owed_after": after[1],
            },
        )

    def _nobodys(self, purchase: Purchase) -> str:
        """Why it cannot go to the user who was named, or to nobody; '' if it can."""
        if purchase.user_id and self.named_user not in (None, purchase.user_id):
            return (
                f"{purchase.source} was bought by user {purchase.user_id}, not by"
                f" {self.named_user}: leave the user out. If both are one person, merge their"
                " customers."
            )
        if not purchase.user_id and not self.named_user:
            email = f" (they typed {purchase.email})" if purchase.email else ""
            return f"Nobody knows who bought {purchase.source}{email}: name the user."
        return ""

    def _warnings(self, purchase: Purchase) -> list[str]:
        if purchase.user_id:
            return []
        found = [*hints(purchase.email, self.user_id), *unknown(self.user_id)]
        if purchase.stripe_customer_id:
            found.append(
                f"Customer {purchase.stripe_customer_id} stays without a user: attribute the"
                " payment instead, and what else they buy is granted too."
            )
        return found


class AttributePayment(Operation):
    """Says whose a payment is that nobody is known for, and lets it be granted as any other.

    The Stripe customer becomes that user's too, if it was nobody's, with what else they
    bought. With `undoes` it takes such a word back.
    """

    name = "attribute_payment"
    title = "Attribute payment"
    permission = ATTRIBUTE
    audit_type = "manual.payment_attribution"
    target = "purchase_id"

    def __init__(self, *, purchase_id: str, user_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.purchase_id = inputs.stripe_id(purchase_id, *PURCHASES)
        self.user_id = inputs.user_id(user_id)

    @property
    def subject(self) -> str:
        return self.purchase_id

    def parameters(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "user_id": self.user_id}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        if record.undoes_id:
            raise CannotUndoError("It is an undo itself: attribute the payment anew.")
        if refusal := granted_since(record.result["details"]):
            raise CannotUndoError(refusal)
        return cls(**record.parameters, undoes=record, **common)

    def plan(self) -> Plan:
        if self.undoes:
            return self._undo_plan(self.undoes.result["details"])
        plan = Plan(f"Say that {self.purchase_id} was bought by user {self.user_id}.")
        try:
            self.bought = bought = named.look_up(self.purchase_id)
        except NotAPurchaseError as error:
            plan.blocked = f"{error} There is nothing to attribute."
            return plan
        purchase = bought.purchase
        plan.blocked = self._objection(bought)
        if plan.blocked:
            return plan
        plan.changes = rehearsed(self._attribute, actor=self.actor.name).changes
        if unpriced := priceless(bought):
            plan.warnings.append(f"{unpriced} Nothing is granted until then.")
        plan.warnings += [*hints(purchase.email, self.user_id), *unknown(self.user_id)]
        plan.warnings += self.under_way()
        return plan

    def run(self, record: OperationRecord) -> Result:
        act = self._detach if self.undoes else self._attribute
        with self.committing(record) as commit:
            commit.result = result = act()
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _objection(self, bought: NamedPurchase) -> str:
        """Why there is nothing to attribute, and what to do instead; '' if there is."""
        purchase, buyer = bought.purchase, bought.purchase.user_id
        if buyer and buyer != self.user_id:
            return (
                f"{purchase.source} is user {buyer}'s. If they and {self.user_id} are one person,"
                f" merge their customers; if not, take the credits back from {buyer} and grant"
                f" them to {self.user_id}."
            )
        if buyer:
            return already(bought) or (
                f"{purchase.source} names user {buyer} already: grant the purchase instead."
            )
        return ""

    def _attribute(self) -> Result:
        purchase = self.bought.purchase
        customers = {purchase.stripe_customer_id} - {""}
        scope = Scope(frozenset([purchase.source]), frozenset(customers))
        known, whose = rows(scope), owners(customers, sources=[purchase.source])
        try:
            posted = named.attribute_by_hand(purchase, self.user_id)
        except (BoughtByAnotherError, LedgerError) as error:
            raise OperationError(f"{error} Nothing was attributed.") from error
        return Result(
            f"{purchase.source} was bought by user {self.user_id}{in_credits(posted)}.",
            row_changes(known, rows(scope)) + credit_changes(posted),
            details={
                "user_id": self.user_id,
                "purchase": purchase.source,
                "customer": purchase.stripe_customer_id,
                "granted": sum(item.entry.amount for item in posted),
                "owners": moved(whose, owners(customers, sources=[purchase.source])),
            },
        )

    def _undo_plan(self, details: dict[str, Any]) -> Plan:
        plan = Plan(f"Say that nobody knows who bought {details['purchase']}.")
        plan.blocked = granted_since(details)
        if not plan.blocked:
            plan.changes = rehearsed(self._detach, actor=self.actor.name).changes
            plan.warnings = self.under_way()
        return plan

    def _detach(self) -> Result:
        """Takes the word back that `undoes` gave. Needs an open transaction."""
        assert self.undoes  # noqa: S101  (narrows the type)
        details = self.undoes.result["details"]
        customers = {details["customer"]} - {""}
        purchases.lock_keys({details["purchase"], *customers})
        if refusal := granted_since(details):
            raise OperationError(refusal)
        scope = Scope(frozenset([details["purchase"]]), frozenset(customers))
        known = rows(scope)
        give_back(details["owners"])
        BillingCustomer.objects.filter(
            stripe_customer_id__in=details["owners"].get("Customer", {}),
            attributed_by=accounts.OPERATOR,
            user_id=None,
        ).update(attributed_by="", attributed_at=None)
        return Result(
            f"Nobody is known to have bought {details['purchase']}.",
            row_changes(known, rows(scope)),
            details={**details, "granted": 0},
        )


class _SeenError(Exception):
    """Rolls a rehearsal back, and carries what was seen in it."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def described(bought: NamedPurchase) -> str:
    """What was bought, for how much, and what that is worth."""
    purchase = bought.purchase
    worth = "no known number of" if bought.worth is None else f"{bought.worth:,}"
    return (
        f"{worth} credits of {purchase.source}, {purchase.get_kind_display().lower()},"
        f" {format_money(purchase.amount, purchase.currency)} paid on"
        f" {format_time(purchase.created_at)}"
    )


def already(bought: NamedPurchase) -> str:
    """That it has its credits, and by which entry; '' if it has not."""
    purchase = bought.purchase
    if settlement.undo_source(purchase) in bought.granted_by:
        return (
            f"{purchase.source} was granted by hand, and that was taken back: grant the user"
            " credits without naming it."
        )
    entry = CreditEntry.objects.filter(source__in=bought.granted_by).order_by("id").first()
    if entry:
        return (
            f"{purchase.source} has its credits already: user {entry.user_id} got them on"
            f" {format_time(entry.created_at)} from {entry.actor} ({entry.source})."
        )
    if purchase.status == Granted and not purchase.credits:
        return f"{purchase.source} was settled already: by our prices it was worth nothing."
    return ""


def priceless(bought: NamedPurchase) -> str:
    """Which price is not mapped to credits, or to none; '' where it is worth some."""
    prices = sorted({line["price"] for line in bought.purchase.lines if line["price"]})
    named_prices = ", ".join(prices) or "no price at all"
    if bought.worth is None:
        return (
            f"No price of {bought.purchase.source} is mapped to credits: map {named_prices} under"
            " “Prices to credits” first."
        )
    if bought.worth == 0:
        return f"By our prices ({named_prices}) {bought.purchase.source} is worth no credits."
    return ""


def refunded(purchase: Purchase, observed: Iterable[Observation]) -> str:
    """That all of it was refunded or disputed; '' where something is left."""
    active = [r for r in purchases.read(observed, {}).reversals if r.active]
    if not active or sum(r.amount for r in active) < purchase.amount:
        return ""
    names = ", ".join(f"{PaymentReversal.Kind(r.kind).label.lower()} {r.stripe_id}" for r in active)
    return f"All of {purchase.source} was paid back ({names}): there is nothing left to grant."


def reversals_at_stripe(purchase: Purchase) -> list[Observation]:
    """Refunds and disputes of its payments as Stripe has them now, and what they paid.

    Raises a GatewayError.
    """
    stripe, found = gateway(), []
    intents = {purchase.payment_intent_id} - {""}
    if purchase.kind == Purchase.Kind.SUBSCRIPTION:
        for page in stripe.pages("/v1/invoice_payments", {"invoice": purchase.source}):
            found += page.observations()
        intents |= {id_of(dig(item.data, "payment", "payment_intent")) for item in found} - {""}
    for intent in sorted(intents):
        for path in ("/v1/refunds", "/v1/disputes"):
            for page in stripe.pages(path, {"payment_intent": intent}):
                found += page.observations()
    return found


def hints(email: str, user_id: str) -> list[str]:
    """A warning where the buyer's email is another user's: a hint, and no more."""
    if not email:
        return []
    others = BillingCustomer.objects.filter(email__iexact=email, user_id__isnull=False)
    known = {str(other.user_id) for other in others.exclude(user_id=user_id)[:50]}
    if not known:
        return []
    return [f"The buyer typed {email}, which is the email of user {', '.join(sorted(known))}."]


def granted_since(details: dict[str, Any]) -> str:
    """Why an attribution cannot be taken back, and what can be done; '' where it can."""
    sources = details["owners"].get("Purchase", {})
    if not details["granted"] and not (
        Purchase.objects.filter(source__in=sources, status=Granted).exists()
    ):
        return ""
    return (
        f"Credits were granted to user {details['user_id']} for what they bought. Correct their"
        " balance, and grant the credits to whom they belong."
    )


def in_credits(posted: Iterable[Posted]) -> str:
    """How many credits came of it, as the end of a sentence."""
    total = sum(item.entry.amount for item in posted)
    return f", who got {total:,} credits" if total else ""
