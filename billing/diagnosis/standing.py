"""How a person stands: access, plan, dunning, credits, and money paid and owed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, Sum, Value

from billing.diagnosis.checks.subscriptions import attempts, decline, failed_payment
from billing.diagnosis.facts import Facts
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


def money_of(facts: Facts) -> Money:
    """The sums by currency over all rows, in one statement; what they paid as a guest counts."""
    theirs = Q(stripe_customer_id__in=facts.person.customer_ids)
    intents = {bought.payment_intent_id for bought in facts.purchases} - {""}
    as_guest = Q(stripe_customer_id="", payment_intent_id__in=intents)
    payments = BillingPayment.objects.filter(theirs | as_guest, status="succeeded").order_by()
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
        plan(current, facts.price_names),
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


def plan(current: BillingSubscription | None, names: Mapping[str, str]) -> str:
    if current is None:
        return ""
    amount = "" if current.amount is None else format_money(current.amount, current.currency)
    return ", ".join(filter(None, [names.get(current.price_id) or current.price_id, amount]))


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
    tried = f"{attempts(invoice)} on {invoice.stripe_invoice_id}"
    then = f"next at {format_time(following)}" if following else "no further attempt is planned"
    payment = failed_payment(facts, invoice)
    declined = f"declined: {decline(payment)}" if payment else ""
    return ", ".join(filter(None, [tried, then, declined]))


def in_words(sums: Sums) -> tuple[str, ...]:
    """Each currency's sum by itself; they are never added up. Nothing for a sum of 0."""
    return tuple(
        format_money(amount, currency) for currency, amount in sorted(sums.items()) if amount
    )
