"""What can be done about an invoice: send it again, have it paid, say it was, void it.

Each is one request at Stripe, then our rows as Stripe has them. Which of them fits depends
on the invoice's status there, not here.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from billing.formatting import exponent, format_money, format_time
from billing.gateway.client import GatewayError, StripeDeclinedError, StripeRefusedError, gateway
from billing.gateway.observation import Observation, StripeDict, from_timestamp
from billing.gateway.shapes import dig, id_of
from billing.models import BillingCustomer, BillingInvoice, LeadCredits, OperationRecord
from billing.operations import inputs
from billing.operations.acting import acted_before, stripe_key
from billing.operations.base import (
    CannotUndoError,
    Change,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.operations.comparison import Scope, bring_in_for, preview, rows
from billing.operations.subscriptions import PAYABLE, can_pay
from billing.operations.sync import of_invoice
from billing.permissions import (
    MARK_PAID,
    PAID_ELSEWHERE_ALONE,
    PAY_INVOICE,
    RESEND_INVOICE,
    VOID_INVOICE,
)
from billing.projection import purchases
from billing.projection.intake import bring_in, lines_of
from billing.projection.prices import credits_by_price

logger = logging.getLogger(__name__)

SKEW = 60  # seconds by which our clock and Stripe's may differ
FINALISED_SOON = "It is a draft: Stripe finalises it within about an hour of its making. Wait"
VOID = "It is void: nobody owes it. What is owed after all needs a new invoice, at Stripe."
MONEY_BACK = "money goes back by a refund or a credit note, at Stripe."
PORTAL = "send the customer a link to the billing portal"


@dataclass(frozen=True, slots=True)
class Situation:
    """What Stripe says now of an invoice, its customer, its subscription and its payments."""

    observations: tuple[Observation, ...]

    @property
    def invoice(self) -> StripeDict:
        return self._one("invoice") or {}

    @property
    def subscription(self) -> StripeDict | None:
        return self._one("subscription")

    @property
    def customer(self) -> StripeDict | None:
        return self._one("customer")

    @property
    def status(self) -> str:
        return str(self.invoice.get("status"))

    @property
    def remaining(self) -> int:
        """What is still to be paid, in minor units."""
        return int(self.invoice.get("amount_remaining") or 0)

    @property
    def currency(self) -> str:
        return str(self.invoice.get("currency") or "")

    @property
    def amount(self) -> str:
        return format_money(self.remaining, self.currency)

    @property
    def page(self) -> str:
        """Where the customer can see and pay it."""
        return str(self.invoice.get("hosted_invoice_url") or "its page in the billing portal")

    @property
    def can_be_charged(self) -> bool:
        """Whether the invoice, its subscription or its customer has a default to charge."""
        own = self.invoice.get("default_payment_method") or self.invoice.get("default_source")
        return bool(own) or can_pay(self.subscription or {}, self.customer or {})

    def _one(self, kind: str) -> StripeDict | None:
        return next((item.data for item in self.observations if item.kind == kind), None)


class InvoiceOperation(Operation):
    """One request about one invoice. `refused` says of each status why it is not for it."""

    target = "invoice_id"
    refused: ClassVar[Mapping[str, str]]
    leads_to: ClassVar[str]  # the invoice's status when it is done
    cannot_undo: ClassVar[str]

    def __init__(self, *, invoice_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.invoice_id = inputs.stripe_id(invoice_id, "in_")

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(cls.cannot_undo)

    @property
    def subject(self) -> str:
        return self.invoice_id

    def parameters(self) -> dict[str, Any]:
        return {"invoice_id": self.invoice_id}

    def plan(self) -> Plan:
        self.situation = situation = look(self.invoice_id)
        self.request: Request | None = None
        plan = Plan(f"{self.title}: {self.invoice_id}, which is {situation.status} at Stripe.")
        if acted_before(self) and self.is_done(situation):
            plan.summary = f"Stripe has done it ({self.invoice_id}): bring our rows up to date."
            plan.changes = preview(situation.observations, actor=self.actor.name)
            return plan
        plan.blocked = self.refused.get(situation.status, "") or self.refusal(situation)
        if not plan.blocked:
            self.request = self.ask(situation)
            plan.calls = [self.request.sentence]
            self.foresee(plan, situation)
            plan.warnings += self.under_way()
        return plan

    def run(self, record: OperationRecord) -> Result:
        before = rows(Scope.of(self.situation.observations))
        if self.request:
            self._act(self.request, record)
        fresh = look(self.invoice_id)
        return bring_in_for(
            self,
            record,
            fresh.observations,
            lambda changes: self._result(fresh, changes),
            before=before,
        )

    def audit_payload(self, result: Result) -> dict[str, Any]:
        """With the invoice as `id` too, by which the log finds what is about an object."""
        return {"id": self.invoice_id, **result.details}

    def is_done(self, situation: Situation) -> bool:
        """Whether Stripe has it done by now."""
        return situation.status == self.leads_to

    def refusal(self, situation: Situation) -> str:
        """What else stands in the way, and what to do instead; '' for nothing."""
        return ""

    @abstractmethod
    def ask(self, situation: Situation) -> "Request":
        """The one request at Stripe."""

    @abstractmethod
    def foresee(self, plan: Plan, situation: Situation) -> None:
        """Adds what will change, and what to know before agreeing."""

    @abstractmethod
    def outcome(self, situation: Situation) -> tuple[str, list[str]]:
        """What was done, in a sentence, and what a person has to look at yet."""

    def _act(self, request: "Request", record: OperationRecord) -> None:
        """Sends the request. If Stripe refuses, our rows are still brought up to date."""
        path = f"/v1/invoices/{self.invoice_id}/{request.name}"
        key = stripe_key(self, record, request.name)
        try:
            gateway().post(path, request.params, idempotency_key=key)
        except StripeRefusedError as error:
            try:
                bring_in(look(self.invoice_id).observations, actor=self.actor.name)
            except GatewayError:
                logger.exception("%s was not synced after a refusal", self.invoice_id)
            if isinstance(error, StripeDeclinedError):
                raise OperationError(
                    f"{error} Nothing was paid: {PORTAL}, where they can pay or give another card."
                ) from error
            raise

    def _result(self, fresh: Situation, changes: list[Change]) -> Result:
        said, warnings = self.outcome(fresh)
        ours = BillingInvoice.objects.get(stripe_invoice_id=self.invoice_id)
        details = {
            "invoice": self.invoice_id,
            "customer": ours.stripe_customer_id,
            "subscription": ours.stripe_subscription_id,
            "user_id": ours.user_id,
            "amount": self.situation.remaining,
            "currency": ours.currency,
            "stripe_status_before": self.situation.status,
            "stripe_status": fresh.status,
            "stripe_request": self.request.sentence if self.request else "",
        }
        return Result(said, changes, warnings, details)


@dataclass(frozen=True, slots=True)
class Request:
    """A request on an invoice: the last part of its path, in words, and its parameters."""

    name: str
    sentence: str
    params: Mapping[str, Any]


class ResendInvoice(InvoiceOperation):
    """Emails an open invoice to its customer again."""

    name = "resend_invoice"
    title = "Send invoice again"
    permission = RESEND_INVOICE
    audit_type = "manual.invoice_sent"
    refused = {
        "draft": f"{FINALISED_SOON} until it is open, then send it.",
        "paid": "It is paid: there is nothing to ask the customer for.",
        "void": VOID,
        "uncollectible": "It was written off as uncollectible, and Stripe asks for it no more. It"
        " can still be paid: retry its payment, or mark it as paid elsewhere.",
    }
    leads_to = "open"
    cannot_undo = "A letter that was sent cannot be called back."

    def is_done(self, situation: Situation) -> bool:
        return super().is_done(situation) and self._was_sent()

    def refusal(self, situation: Situation) -> str:
        if situation.invoice.get("collection_method") != "send_invoice":
            return (
                "Stripe sends only invoices that the customer pays by hand, and this one is"
                " charged to their payment method. Retry its payment, or give the customer its"
                f" page, where they can pay it: {situation.page}"
            )
        if not situation.invoice.get("customer_email"):
            return "Stripe knows no address to send it to: give the customer one there, and sync."
        return ""

    def ask(self, situation: Situation) -> Request:
        address = situation.invoice.get("customer_email")
        return Request("send", f"Email {self.invoice_id} to {address}, {situation.amount}.", {})

    def foresee(self, plan: Plan, situation: Situation) -> None:
        if not situation.invoice.get("livemode"):
            plan.warnings.append(
                "This is test mode: Stripe notes that it was sent, and sends none."
            )

    def outcome(self, situation: Situation) -> tuple[str, list[str]]:
        return f"{self.invoice_id} was sent again; it is {situation.status}.", []

    def _was_sent(self) -> bool:
        """Whether Stripe sent it since this operation began.

        Nothing on the invoice tells, but its event does: a try that failed without an answer
        is not repeated where the letter has gone out.
        """
        started = OperationRecord.objects.filter(key=self.key).values_list("created_at", flat=True)
        return any(
            dig(event, "data", "object", "id") == self.invoice_id
            for moment in started
            for page in gateway().pages(
                "/v1/events",
                {"type": "invoice.sent", "created": {"gte": int(moment.timestamp()) - SKEW}},
            )
            for event in page.data
        )


class Settlement(InvoiceOperation):
    """What the two ways to get an invoice paid have in common."""

    leads_to = "paid"

    def foresee(self, plan: Plan, situation: Situation) -> None:
        plan.changes = list(when_paid(situation))
        plan.warnings = list(warnings(situation))


class PayInvoice(Settlement):
    """Charges the customer's default payment method for an invoice."""

    name = "pay_invoice"
    title = "Retry payment"
    permission = PAY_INVOICE
    audit_type = "manual.invoice_payment"
    refused = {
        "draft": f"{FINALISED_SOON}: it is charged by itself then.",
        "paid": "It is paid already. If that is not so here, sync it from Stripe.",
        "void": VOID,
    }
    cannot_undo = f"A payment cannot be called back: {MONEY_BACK}"

    def refusal(self, situation: Situation) -> str:
        if situation.can_be_charged:
            return ""
        return (
            f"The customer has no payment method to charge by default: {PORTAL}, where they can"
            " pay or add a card, then retry."
        )

    def ask(self, situation: Situation) -> Request:
        said = f"charge {situation.amount} to the customer's default payment method"
        return Request("pay", f"Pay {self.invoice_id}: {said}.", {})

    def foresee(self, plan: Plan, situation: Situation) -> None:
        super().foresee(plan, situation)
        if when := from_timestamp(situation.invoice.get("next_payment_attempt")):
            plan.warnings.append(f"Stripe tries again by itself on {format_time(when)}.")

    def outcome(self, situation: Situation) -> tuple[str, list[str]]:
        if situation.status == self.leads_to:
            return f"{self.invoice_id} is paid.", []
        return (
            f"Stripe took the request, but {self.invoice_id} is {situation.status}.",
            ["The payment is not through yet: a bank may take days. Sync it later."],
        )


class MarkInvoicePaid(Settlement):
    """States that an invoice was paid elsewhere. `evidence` names the proof of it."""

    name = "mark_invoice_paid"
    title = "Mark as paid elsewhere"
    permission = MARK_PAID
    audit_type = "manual.invoice_marked_paid"
    refused = {
        "draft": f"{FINALISED_SOON} until it is open, then mark it.",
        "paid": PayInvoice.refused["paid"],
        "void": VOID,
    }
    cannot_undo = (
        "Stripe keeps an invoice that was marked as paid: issue a credit note for it there, and"
        " correct the balance of the user if credits came with it."
    )

    def __init__(self, *, invoice_id: str, evidence: str, **common: Any) -> None:
        super().__init__(invoice_id=invoice_id, **common)
        self.evidence = inputs.evidence(evidence)

    def parameters(self) -> dict[str, Any]:
        return {"invoice_id": self.invoice_id, "evidence": self.evidence}

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return {**super().audit_payload(result), "evidence": self.evidence}

    def ask(self, situation: Situation) -> Request:
        return Request(
            "pay",
            f"Mark {self.invoice_id} as paid outside Stripe: {situation.amount}, nothing is"
            " charged.",
            {"paid_out_of_band": True},
        )

    def foresee(self, plan: Plan, situation: Situation) -> None:
        super().foresee(plan, situation)
        plan.warnings.insert(
            0,
            f"Nothing is charged: it is your statement that {situation.amount} came in, proved by"
            f" “{self.evidence}”. What a payment brings is granted.",
        )
        most = PAID_ELSEWHERE_ALONE * 10 ** exponent(situation.currency)
        if situation.remaining >= most:
            plan.approval = (
                f"{situation.amount} is stated to have come in elsewhere; from"
                f" {format_money(most, situation.currency)} another person has to approve it."
            )

    def outcome(self, situation: Situation) -> tuple[str, list[str]]:
        return f"{self.invoice_id} is {situation.status}, outside Stripe ({self.evidence}).", []


class VoidInvoice(InvoiceOperation):
    """Voids an invoice: nobody owes it any more. Always with a second person."""

    name = "void_invoice"
    title = "Void invoice"
    permission = VOID_INVOICE
    audit_type = "manual.invoice_voided"
    refused = {
        "draft": f"{FINALISED_SOON} until it is open, then void it.",
        "paid": f"It is paid: {MONEY_BACK}",
        "void": "It is void already.",
    }
    leads_to = "void"
    cannot_undo = "A void invoice stays void. What is owed after all needs a new one, at Stripe."

    def ask(self, situation: Situation) -> Request:
        return Request("void", f"Void {self.invoice_id}: {situation.amount} is given up.", {})

    def foresee(self, plan: Plan, situation: Situation) -> None:
        plan.changes = [Change(f"Invoice {self.invoice_id}: status", situation.status, "void")]
        plan.warnings = [f"This cannot be taken back. {self.cannot_undo}"]
        plan.approval = (
            f"To void an invoice gives up {situation.amount} for good: another person has to"
            " approve it."
        )

    def outcome(self, situation: Situation) -> tuple[str, list[str]]:
        return f"{self.invoice_id} is {situation.status}.", []


def look(invoice_id: str) -> Situation:
    """Asks Stripe how things are. Raises a GatewayError."""
    return Situation(tuple(of_invoice(invoice_id, gateway())))


def when_paid(situation: Situation) -> Iterator[Change]:
    """What the payment of an invoice changes, its credits included."""
    invoice, subscription = situation.invoice, situation.subscription
    title = f"Invoice {invoice['id']}"
    paid = int(invoice.get("amount_paid") or 0)
    yield Change(f"{title}: status", situation.status, "paid")
    yield Change(
        f"{title}: amount_paid",
        format_money(paid, situation.currency),
        format_money(paid + situation.remaining, situation.currency),
    )
    if subscription and holds_back(invoice, subscription):
        title = f"Subscription {subscription['id']}: status"
        yield Change(title, str(subscription.get("status")), "active")
    yield from credits_when_paid(situation)


def holds_back(invoice: StripeDict, subscription: StripeDict) -> bool:
    """Whether the subscription waits for the payment of this very invoice."""
    latest = id_of(subscription.get("latest_invoice")) == invoice["id"]
    return latest and str(subscription.get("status")) in PAYABLE


def credits_when_paid(situation: Situation) -> Iterator[Change]:
    """The balance that a payment leads to; what the user owes is paid first."""
    user_id = (
        BillingCustomer.objects.filter(
            stripe_customer_id=id_of(situation.invoice.get("customer")), user_id__isnull=False
        )
        .values_list("user_id", flat=True)
        .first()
    )
    credits_ = worth_when_paid(situation)
    if not user_id or not credits_:
        return
    found = LeadCredits.objects.filter(user_id=user_id).values_list("balance", "owed")
    balance, owed = found.first() or (0, 0)
    pays = min(owed, credits_)
    title = f"Credits of user {user_id}"
    if credits_ > pays:
        yield Change(f"{title}: balance", str(balance), str(balance + credits_ - pays))
    if pays:
        yield Change(f"{title}: owed", str(owed), str(owed - pays))


def worth_when_paid(situation: Situation) -> int:
    """The credits that a paid period brings by our prices; 0 for another invoice."""
    paid = [
        replace(item, data={**item.data, "status": "paid"})
        for item in situation.observations
        if item.kind == "invoice"
    ]
    lines = lines_of(purchases.lines_wanted(paid, {}), gateway())
    bought = [line for one in purchases.read(paid, lines).purchases for line in one.lines]
    worth = credits_by_price(line["price"] for line in bought)
    return sum(worth.get(line["price"], 0) * int(line["quantity"]) for line in bought)


def warnings(situation: Situation) -> Iterator[str]:
    """What to know before an invoice is paid."""
    subscription = situation.subscription
    if situation.status == "uncollectible":
        yield "It was written off as uncollectible; its payment takes that back."
    if subscription is None:
        return
    status = str(subscription.get("status"))
    if status in PAYABLE and not holds_back(situation.invoice, subscription):
        latest = id_of(subscription.get("latest_invoice"))
        yield f"Its subscription is {status}, and waits for {latest} too."
    elif status in ("canceled", "incomplete_expired"):
        yield f"Its subscription has ended ({status}): a payment does not bring it back."
