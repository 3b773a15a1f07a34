"""Subscriptions that ended or will end: who decided it, when, and why; statuses set by hand."""

from collections.abc import Iterator
from datetime import timedelta

from billing.diagnosis.checks.subscriptions import (
    LIVE,
    OVER,
    attempts,
    decline,
    failed_payment,
    told_to_customer,
)
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_time
from billing.gateway.shapes import dig
from billing.models import BillingSubscription, OperationRecord
from billing.projection.accounts import text

SHOWN_FOR = timedelta(days=180)  # after its end, an old subscription explains nothing more
LONGEST = 500  # characters of a customer's words that are shown
NONPAYMENT = ("payment_failed", "payment_disputed")


def ended(facts: Facts) -> Iterator[Finding]:
    """The newest subscription that ended, where none runs: who cancelled it, when and why."""
    if any(facts.status_of(row) not in (*OVER, "incomplete") for row in facts.subscriptions):
        return
    over = [
        row
        for row in facts.subscriptions
        if row.status == "canceled" and (row.ended_at or row.updated_at) > facts.now - SHOWN_FOR
    ]
    if not over:
        return
    row = max(over, key=lambda each: each.ended_at or each.updated_at)
    kind, verdict, said, evidence = _who(facts, row)
    when = row.ended_at or row.updated_at
    yield Finding(
        kind,
        Severity.INFO,
        row.stripe_subscription_id,
        f"{verdict} It ended at {format_time(when)}.",
        (Evidence("Subscription", "canceled", row.stripe_subscription_id, when), *evidence),
        _another(facts, row),
        for_customer=f"{said} If you would like to go on, you can subscribe again with the link"
        " that we send you.",
        amount=row.amount,
        currency=row.currency,
    )


def _another(facts: Facts, row: BillingSubscription) -> Fix | None:
    """A link to subscribe to the same price; a customer who was deleted gets a new one."""
    deleted = any(
        c.deleted for c in facts.customers if c.stripe_customer_id == row.stripe_customer_id
    )
    who = row.user_id if deleted else row.stripe_customer_id
    if not who or not row.price_id:
        return None
    return Fix("create_checkout_link", {"customer": who, "price": row.price_id})


Who = tuple[Kind, str, str, tuple[Evidence, ...]]


def _who(facts: Facts, row: BillingSubscription) -> Who:
    """The kind, the verdict, the customer's sentence, and the evidence."""
    if row.cancellation_reason in NONPAYMENT:
        return _for_nonpayment(facts, row)
    if operation := cancelled_by(facts, row):
        return _by_an_agent(operation)
    words = their_words(facts, row)
    evidence = tuple(Evidence(label, value) for label, value in words.items())
    why = f" They said: {quoted(words)}." if words else ""
    asked = f", asked for at {format_time(row.canceled_at)}" if row.canceled_at else ""
    where = "" if why else " in the portal, unless it was done in Stripe's dashboard"
    return (
        Kind.CANCELED_BY_CUSTOMER,
        f"The customer cancelled it{where}{asked}.{why}",
        "Your subscription was cancelled on request"
        + (f" on {_day(row)}." if row.canceled_at else "."),
        evidence,
    )


def _for_nonpayment(facts: Facts, row: BillingSubscription) -> Who:
    unpaid = [
        invoice
        for invoice in facts.invoices
        if invoice.stripe_subscription_id == row.stripe_subscription_id and invoice.status != "paid"
    ]
    payment = failed_payment(facts, unpaid[0]) if unpaid else None
    evidence = [
        Evidence("Invoice", i.status, i.stripe_invoice_id, i.created_at) for i in unpaid[:1]
    ]
    if payment:
        evidence.append(
            Evidence("Declined", decline(payment), payment.stripe_charge_id, payment.created_at)
        )
    tried = f" after {attempts(unpaid[0])}" if unpaid else ""
    if row.cancellation_reason == "payment_disputed":
        verdict = "Stripe cancelled it because the payment was disputed."
    else:
        verdict = f"Stripe cancelled it because the renewal was not paid{tried}" + (
            f": {decline(payment)}." if payment else "."
        )
    return (
        Kind.CANCELED_FOR_NONPAYMENT,
        verdict,
        f"Your subscription ended: its renewal could not be paid{told_to_customer(payment)}.",
        tuple(evidence),
    )


def _by_an_agent(operation: OperationRecord) -> Who:
    return (
        Kind.CANCELED_BY_US,
        f"{operation.actor} cancelled it: {operation.reason}",
        "Your subscription was cancelled by our support.",
        (
            Evidence(
                "Operation",
                f"by {operation.actor}: {operation.reason}",
                f"operation:{operation.key}",
                operation.created_at,
            ),
        ),
    )


def cancelled_by(facts: Facts, row: BillingSubscription) -> OperationRecord | None:
    """The operation with which somebody here cancelled it, unless it was taken back since.

    Who gives a reason at Stripe did it there: the portal asks for one, and we give none.
    """
    if their_words(facts, row):
        return None
    last = next(
        (
            operation
            for operation in facts.operations
            if operation.name in ("cancel_at_period_end", "reactivate_subscription")
            and operation.subject == row.stripe_subscription_id
        ),
        None,
    )
    return last if last and last.name == "cancel_at_period_end" else None


def their_words(facts: Facts, row: BillingSubscription) -> dict[str, str]:
    """The customer's comment and feedback, as far as Stripe was asked; {} for none."""
    data = facts.stripe.of("subscription").get(row.stripe_subscription_id) if facts.stripe else None
    details = dig(data, "cancellation_details")
    said = {name: text(dig(details, name))[:LONGEST] for name in ("comment", "feedback")}
    return {name.capitalize(): value.replace("_", " ") for name, value in said.items() if value}


def quoted(words: dict[str, str]) -> str:
    return ", ".join(f"“{value}”" for value in words.values())


def _day(row: BillingSubscription) -> str:
    return f"{row.canceled_at:%-d %B %Y}" if row.canceled_at else ""


def scheduled(facts: Facts) -> Iterator[Finding]:
    """A live subscription that will end: it still gives access, and can be kept."""
    for row in facts.subscriptions:
        end = row.cancel_at or (row.current_period_end if row.cancel_at_period_end else None)
        if row.status not in LIVE or facts.status_of(row) not in LIVE or end is None:
            continue
        operation, words = cancelled_by(facts, row), their_words(facts, row)
        who = "the customer, or in Stripe's dashboard"
        if words:
            who = f"the customer, who said {quoted(words)}"
        elif operation:
            who = f"{operation.actor} ({operation.reason})"
        yield Finding(
            Kind.CANCELLATION_SCHEDULED,
            Severity.INFO,
            row.stripe_subscription_id,
            f"It runs until {format_time(end)} and then ends. Asked for by {who}"
            + (f", at {format_time(row.canceled_at)}." if row.canceled_at else "."),
            (
                Evidence("Subscription", f"{row.status}, ends", row.stripe_subscription_id, end),
                *(_by_an_agent(operation)[3] if operation else ()),
                *(Evidence(label, value) for label, value in words.items()),
            ),
            Fix("reactivate_subscription", {"subscription_id": row.stripe_subscription_id}),
            for_customer=f"Your subscription is set to end on {end:%-d %B %Y}. Until then you have"
            " full access, and you can keep it if you like.",
            amount=row.amount,
            currency=row.currency,
        )


def set_by_hand(facts: Facts) -> Iterator[Finding]:
    """A status that a person answers for, until Stripe's word comes in."""
    for override in facts.overrides:
        data = (
            facts.stripe.of("subscription").get(override.stripe_subscription_id)
            if facts.stripe
            else None
        )
        theirs = f" Stripe says {data.get('status')} now." if data else ""
        yield Finding(
            Kind.OVERRIDE_IN_FORCE,
            Severity.WARNING,
            override.stripe_subscription_id,
            f"{override.actor} set the status to {override.status} by hand (it was"
            f" {override.status_before}) until {format_time(override.expires_at)}:"
            f" {override.reason}.{theirs}",
            (
                Evidence(
                    "Override",
                    f"{override.status_before} → {override.status} by {override.actor}",
                    f"operation:{override.operation_key}",
                    override.created_at,
                ),
            ),
            Fix("end_override", {"subscription_id": override.stripe_subscription_id}),
        )


CHECKS: tuple[Check, ...] = (ended, scheduled, set_by_hand)
