"""How a person stands: access, plan, dunning, credits, and money paid and owed."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, Sum, Value

from billing.diagnosis.facts import Facts, Person
from billing.formatting import format_money, format_time
from billing.models import BillingInvoice, BillingPayment, BillingSubscription

WITH_ACCESS = ("active", "trialing")  # the statuses in which a subscription gives access
IN_DUNNING = ("past_due", "unpaid")

Sums = dict[str, int]  # minor units by currency


@dataclass(frozen=True, slots=True)
class Money:
    """What a person paid through Stripe in all, refunds deducted, and owes on open invoices."""

    paid: Sums
    owed: Sums


@dataclass(frozen=True, slots=True)
class Standing:
    """The figures of a person, in words where they are shown as words; '' where there is none."""

    has_access: bool
    why: str
    plan: str
    period_end: datetime | None
    cancellation: str
    dunning: str
    credits: int
    credits_owed: int
    paid: tuple[str, ...]
    owed: tuple[str, ...]


def money_of(person: Person) -> Money:
    """The sums by currency over all rows, in one statement."""
    theirs = Q(stripe_customer_id__in=person.customer_ids)
    payments = BillingPayment.objects.filter(theirs, status="succeeded").order_by()
    invoices = BillingInvoice.objects.filter(theirs, status="open").order_by()
    paid = payments.values_list(Value("paid"), "currency").annotate(
        sum=Sum(F("amount") - F("amount_refunded"))
    )
    owed = invoices.values_list(Value("owed"), "currency").annotate(sum=Sum("amount_remaining"))
    sums: dict[str, Sums] = {"paid": {}, "owed": {}}
    for which, currency, amount in paid.union(owed, all=True):
        sums[which][currency] = int(amount)
    return Money(**sums)


def standing_of(facts: Facts, money: Money) -> Standing:
    """The standing that follows from these rows."""
    current = current_subscription(facts)
    has_access = current is not None and current.status in WITH_ACCESS
    return Standing(
        has_access,
        why(current),
        plan(current),
        current.current_period_end if current else None,
        cancellation(current),
        dunning(facts, current),
        facts.credits.balance if facts.credits else 0,
        facts.credits.owed if facts.credits else 0,
        in_words(money.paid),
        in_words(money.owed),
    )


def current_subscription(facts: Facts) -> BillingSubscription | None:
    """The newest that gives access, else the newest in dunning, else the newest."""
    for statuses in (WITH_ACCESS, IN_DUNNING):
        for row in facts.subscriptions:
            if row.status in statuses:
                return row
    return facts.subscriptions[0] if facts.subscriptions else None


def why(current: BillingSubscription | None) -> str:
    if current is None:
        return "They have no subscription."
    return f"The subscription {current.stripe_subscription_id} is {current.status}."


def plan(current: BillingSubscription | None) -> str:
    if current is None:
        return ""
    amount = "" if current.amount is None else format_money(current.amount, current.currency)
    return ", ".join(filter(None, [current.price_id, amount]))


def cancellation(current: BillingSubscription | None) -> str:
    """When the subscription will end, or ended; '' where it goes on."""
    if current is None:
        return ""
    if current.ended_at:
        return f"Ended at {format_time(current.ended_at)}"
    ends = current.cancel_at or (current.current_period_end if is_ending(current) else None)
    return f"Ends at {format_time(ends)}" if ends else ""


def is_ending(current: BillingSubscription) -> bool:
    return current.cancel_at_period_end and current.status != "canceled"


def dunning(facts: Facts, current: BillingSubscription | None) -> str:
    """How often the open invoice was tried, when it is tried next, and why it was declined."""
    if current is None or current.status not in IN_DUNNING:
        return ""
    invoice = next(
        (
            row
            for row in facts.invoices
            if row.status == "open" and row.stripe_subscription_id == current.stripe_subscription_id
        ),
        None,
    )
    if invoice is None:
        return "No open invoice of it is known here."
    following = invoice.next_payment_attempt
    tried = f"{invoice.attempt_count} attempts on {invoice.stripe_invoice_id}"
    then = f"next at {format_time(following)}" if following else "no further attempt is planned"
    declined = decline_reason(facts, invoice.stripe_invoice_id)
    return ", ".join(filter(None, [tried, then, declined and f"declined: {declined}"]))


def decline_reason(facts: Facts, invoice_id: str) -> str:
    """Why the invoice's newest payment failed: the bank's reason, else Stripe's; '' if unknown."""
    for payment in facts.payments:
        if facts.invoice_of.get(payment.payment_intent_id) == invoice_id:
            if payment.status != "failed":
                continue
            return payment.decline_reason or payment.failure_code or payment.failure_message
    return ""


def in_words(sums: Sums) -> tuple[str, ...]:
    """Each currency's sum by itself; they are never added up. Nothing for a sum of 0."""
    return tuple(
        format_money(amount, currency) for currency, amount in sorted(sums.items()) if amount
    )
