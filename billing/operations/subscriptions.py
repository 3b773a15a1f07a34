"""Reactivating a subscription: what that means depends on its status at Stripe.

The table is STRIPE.md's (What "reactivate" may mean). Every way is one request at
Stripe at most, so nothing can be half done, and ends with our rows as Stripe has them.
The status here is never set by hand.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.formatting import format_money, format_time
from billing.gateway.client import Gateway, GatewayError, StripeRefusedError, gateway
from billing.gateway.observation import Observation, StripeDict, from_timestamp
from billing.gateway.shapes import dig, id_of
from billing.models import BillingSubscription, OperationRecord
from billing.operations import inputs
from billing.operations.acting import acted_before, stripe_key
from billing.operations.base import CannotUndoError, Change, Operation, Plan, Result
from billing.operations.comparison import ABSENT, Scope, bring_in_for, preview, rows
from billing.permissions import REACTIVATE
from billing.projection.intake import bring_in, fetch

logger = logging.getLogger(__name__)

FIRST_PAYMENT_WITHIN = timedelta(hours=23)
LIVING = ("active", "trialing")
PAYABLE = {"past_due": ("open",), "unpaid": ("open", "draft"), "incomplete": ("open",)}
FINAL = {
    "canceled": "It was canceled, and that is final.",
    "incomplete_expired": "Its first invoice was not paid within 23 hours, and that is final.",
}
NEW_ONE = (
    " Only a new subscription can follow: send the customer a checkout link, or let them"
    " subscribe again on the billing page."
)


@dataclass(frozen=True, slots=True)
class Step:
    """The one request at Stripe that reactivates, in words and as it is sent."""

    name: str
    sentence: str
    path: str
    params: dict[str, Any]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """What Stripe says now: the subscription, its unpaid invoices (the one to pay first),
    and whether the customer has a card or account to pay with."""

    subscription: Observation
    invoices: tuple[Observation, ...] = ()
    has_payment_method: bool = True

    @property
    def status(self) -> str:
        return str(self.subscription.data.get("status"))

    @property
    def observations(self) -> list[Observation]:
        return [self.subscription, *self.invoices]


class CannotReactivateError(Exception):
    """The text says why not, and what to do instead."""


class ReactivateSubscription(Operation):
    """Acts at Stripe as the subscription's status asks for, then brings our rows up to date."""

    name = "reactivate_subscription"
    title = "Reactivate subscription"
    permission = REACTIVATE
    audit_type = "manual.subscription_reactivation"
    target = "subscription_id"

    def __init__(self, *, subscription_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.subscription_id = inputs.stripe_id(subscription_id, "sub_")

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        """Schedules the cancellation again that was cleared, where that is all that was done."""
        from billing.operations.cancellation import CancelAtPeriodEnd  # which builds on this one

        changes = {change["label"]: change["before"] for change in record.plan.get("changes", [])}
        ended = changes.pop("Ends", "")
        if not ended or "Collection of payments" in changes:
            raise CannotUndoError(
                "It did more than clear a scheduled cancellation. Money goes back by a refund at"
                " Stripe; to have the subscription end, cancel it."
            )
        if ended not in ("at the end of the period", *_ends_with_the_period(record.subject)):
            raise CannotUndoError(
                f"It was set to end {ended}, which is not the end of its period: set that time"
                " in Stripe's dashboard."
            )
        return CancelAtPeriodEnd(subscription_id=record.subject, undoes=record, **common)

    @property
    def subject(self) -> str:
        return self.subscription_id

    def parameters(self) -> dict[str, Any]:
        return {"subscription_id": self.subscription_id}

    def plan(self) -> Plan:
        self.situation = situation = look(self.subscription_id)
        self.step: Step | None = None
        plan = Plan(f"Reactivate {self.subscription_id}, which is {situation.status} at Stripe.")
        try:
            self.step = decide(situation, datetime.now(UTC))
        except CannotReactivateError as error:
            plan.blocked = str(error)
            return plan
        if self.step:
            plan.calls = [self.step.sentence]
            plan.changes = [*self.step.changes, *self._status_here()]
            plan.warnings = [*warnings(situation), *self.under_way()]
            return plan
        plan.summary = f"Stripe says {situation.status}: bring our rows up to date."
        plan.changes = preview([situation.subscription], actor=self.actor.name)
        if not plan.changes and not acted_before(self):
            plan.blocked = (
                f"There is nothing to reactivate: it is {situation.status} at Stripe and here,"
                " and no cancellation is scheduled."
            )
        return plan

    def run(self, record: OperationRecord) -> Result:
        before = rows(Scope.of(self.situation.observations))
        if self.step:
            self._act(self.step, record)
        fresh = self._fetch_again()
        return bring_in_for(
            self, record, fresh, lambda changes: self._result(fresh[0], changes), before=before
        )

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _act(self, step: Step, record: OperationRecord) -> None:
        """Sends the request. If Stripe refuses, our rows are still brought up to date."""
        key = stripe_key(self, record, step.name)
        try:
            gateway().post(step.path, step.params, idempotency_key=key)
        except StripeRefusedError:
            try:
                bring_in(self._fetch_again(), actor=self.actor.name)
            except GatewayError:
                logger.exception("%s was not synced after a refusal", self.subscription_id)
            raise

    def _fetch_again(self) -> list[Observation]:
        """The subscription first, then what a payment or a new period changed besides."""
        stripe = gateway()
        subscription = fetch("subscription", self.subscription_id, stripe=stripe)
        if self.step is None:
            return [subscription]
        invoices = {id_of(subscription.data.get("latest_invoice"))}
        invoices |= {invoice.id for invoice in self.situation.invoices[:1]}
        found = [fetch("invoice", invoice, stripe=stripe) for invoice in sorted(invoices - {""})]
        customer = id_of(subscription.data.get("customer"))
        return [subscription, fetch("customer", customer, stripe=stripe), *found]

    def _result(self, subscription: Observation, changes: list[Change]) -> Result:
        data, status = subscription.data, str(subscription.data.get("status"))
        ours = BillingSubscription.objects.get(stripe_subscription_id=self.subscription_id)
        details = {
            "subscription": self.subscription_id,
            "customer": ours.stripe_customer_id,
            "user_id": ours.user_id,
            "stripe_status_before": self.situation.status,
            "stripe_status": status,
            "stripe_request": self.step.sentence if self.step else "",
        }
        if status not in LIVING:
            return Result(
                f"Stripe took the request, but {self.subscription_id} is {status}.",
                changes,
                [f"{self.subscription_id} is not active yet: look at its latest invoice."],
                details,
            )
        scheduled = [f"It is still set to end: {ending(data)}."] if ending(data) else []
        return Result(f"{self.subscription_id} is {status}.", changes, scheduled, details)

    def _status_here(self) -> list[Change]:
        """How our own row differs from what it will be."""
        status = (
            BillingSubscription.objects.filter(stripe_subscription_id=self.subscription_id)
            .values_list("status", flat=True)
            .first()
        )
        expected = self.situation.status if self.situation.status in LIVING else "active"
        return [Change("Status here", status or ABSENT, expected)] if status != expected else []


def _ends_with_the_period(subscription_id: str) -> list[str]:
    """How the end of a subscription's current period reads where it is set as a time."""
    ours = BillingSubscription.objects.filter(stripe_subscription_id=subscription_id)
    ends = ours.values_list("current_period_end", flat=True)
    return [f"on {format_time(moment)}" for moment in ends if moment]


def look(subscription_id: str) -> Situation:
    """Asks Stripe how things are. Raises a GatewayError."""
    stripe = gateway()
    subscription = fetch("subscription", subscription_id, stripe=stripe)
    status = str(subscription.data.get("status"))
    if status in PAYABLE:
        if invoices := unpaid_invoices(stripe, subscription):
            return Situation(subscription, invoices)
        # Somebody may have paid between the two requests: what counts is how it is now.
        subscription = fetch("subscription", subscription_id, stripe=stripe)
        status = str(subscription.data.get("status"))
    if status == "paused":
        customer = fetch("customer", id_of(subscription.data.get("customer")), stripe=stripe)
        return Situation(subscription, has_payment_method=can_pay(subscription.data, customer.data))
    return Situation(subscription)


def unpaid_invoices(stripe: Gateway, subscription: Observation) -> tuple[Observation, ...]:
    """The invoices that can be paid: the latest of the subscription first, then by age."""
    found = [
        invoice
        for status in PAYABLE[str(subscription.data.get("status"))]
        for page in stripe.pages(
            "/v1/invoices", {"subscription": subscription.id, "status": status}
        )
        for invoice in page.observations()
    ]
    latest = id_of(subscription.data.get("latest_invoice"))
    found.sort(key=lambda i: (i.id == latest, i.data.get("created", 0)), reverse=True)
    return tuple(found)


def can_pay(subscription: StripeDict, customer: StripeDict) -> bool:
    """Whether there is a card or account to charge by default."""
    return bool(
        subscription.get("default_payment_method")
        or subscription.get("default_source")
        or dig(customer, "invoice_settings", "default_payment_method")
        or customer.get("default_source")
    )


def decide(situation: Situation, now: datetime) -> Step | None:
    """What has to be asked of Stripe; None where only our rows are behind.

    Raises CannotReactivateError.
    """
    status = situation.status
    if status in FINAL:
        raise CannotReactivateError(FINAL[status] + NEW_ONE)
    if status in LIVING:
        return keep_going(situation.subscription)
    if status in PAYABLE:
        return pay(situation, now)
    if status == "paused":
        return resume(situation)
    raise CannotReactivateError(f"Nothing is known about the status {status}.")


def keep_going(subscription: Observation) -> Step | None:
    """Clears a scheduled cancellation, and a pause of the collection."""
    data = subscription.data
    params: dict[str, Any] = {}
    words: list[str] = []
    changes: list[Change] = []
    if when := ending(data):
        # Stripe takes only one of the two; the first sets and clears the other with it.
        params |= (
            {"cancel_at_period_end": False}
            if data.get("cancel_at_period_end")
            else {"cancel_at": ""}
        )
        words.append("clear the scheduled cancellation")
        changes.append(Change("Ends", when, "does not end"))
    if data.get("pause_collection"):
        params["pause_collection"] = ""
        words.append("collect payments again")
        behavior = dig(data, "pause_collection", "behavior")
        changes.append(Change("Collection of payments", f"paused ({behavior})", "as usual"))
    if not params:
        return None
    sentence = f"{' and '.join(words).capitalize()} ({subscription.id})."
    path = f"/v1/subscriptions/{subscription.id}"
    return Step("continue", sentence, path, params, tuple(changes))


def ending(subscription: StripeDict) -> str:
    """When a subscription is set to end, in words; '' where it is not."""
    moment = from_timestamp(subscription.get("cancel_at"))
    if subscription.get("cancel_at_period_end"):
        return "at the end of the period"
    return f"on {format_time(moment)}" if moment else ""


def pay(situation: Situation, now: datetime) -> Step:
    """Pays the invoice that holds the subscription back; a draft is finalised by that."""
    status = situation.status
    begun = from_timestamp(situation.subscription.data.get("created"))
    if status == "incomplete" and begun and now > begun + FIRST_PAYMENT_WITHIN:
        raise CannotReactivateError(
            "The 23 hours for its first payment are over, and Stripe is about to end it." + NEW_ONE
        )
    if not situation.invoices:
        raise CannotReactivateError(
            f"It is {status}, but has no open invoice to pay. Its latest invoice is"
            f" {id_of(situation.subscription.data.get('latest_invoice')) or 'missing'}: look at it"
            " in Stripe's dashboard."
        )
    invoice = situation.invoices[0]
    amount = format_money(
        invoice.data.get("amount_remaining") or 0, str(invoice.data.get("currency") or "")
    )
    verb = "Finalise and pay" if invoice.data.get("status") == "draft" else "Pay"
    return Step(
        "pay",
        f"{verb} invoice {invoice.id}: charge {amount} to the customer's default payment method.",
        f"/v1/invoices/{invoice.id}/pay",
        {},
        (
            Change(f"Invoice {invoice.id}", str(invoice.data.get("status")), "paid"),
            Change("Status at Stripe", status, "active"),
        ),
    )


def resume(situation: Situation) -> Step:
    """Starts a subscription again whose trial ended without a payment method."""
    if not situation.has_payment_method:
        raise CannotReactivateError(
            "Its trial ended without a payment method, and there is still none to charge. Let the"
            " customer add one on the billing page (Manage Billing), then reactivate."
        )
    return Step(
        "resume",
        "Resume the subscription: a new period begins now and is charged to the customer's"
        " default payment method.",
        f"/v1/subscriptions/{situation.subscription.id}/resume",
        {},
        (Change("Status at Stripe", "paused", "active"),),
    )


def warnings(situation: Situation) -> Iterator[str]:
    """What the operator should know before agreeing."""
    data = situation.subscription.data
    if situation.status == "incomplete" and (begun := from_timestamp(data.get("created"))):
        until = format_time(begun + FIRST_PAYMENT_WITHIN)
        yield f"Its first payment is possible until {until}."
    if others := situation.invoices[1:]:
        ids = ", ".join(invoice.id for invoice in others)
        yield f"Further unpaid invoices stay as they are: {ids}."
    if situation.status not in LIVING and (when := ending(data)):
        yield f"It is set to end {when}: reactivate once more afterwards to clear that."
