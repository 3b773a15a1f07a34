"""Payments, refunds and disputes that are not here as Stripe has them, or stand for nothing."""

from collections.abc import Iterator
from typing import Any

from billing.diagnosis import differences
from billing.diagnosis.causes import open_cause, open_events, replay_of, sync_of
from billing.diagnosis.checks.grants import credits_left
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import id_of
from billing.models import (
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    PaymentReversal,
    Purchase,
)
from billing.projection.accounts import payment_row
from billing.projection.purchases import reversal_of

REVERSED = frozenset({"amount_refunded", "disputed"})


def differs(facts: Facts) -> Iterator[Finding]:
    """Charges of Stripe's that are missing here, or otherwise.

    What was refunded or disputed since is the refund's or the dispute's own finding.
    """
    if facts.stripe is None:
        return
    rows = {row.stripe_charge_id: row for row in facts.payments}
    for charge_id, data in facts.stripe.of("charge").items():
        row, wanted = rows.get(charge_id), payment_row(data)
        found = differences.between(row, wanted, sorted(wanted)) if row else []
        if row is not None and _reversals_differ(facts, data):
            found = [each for each in found if each.field not in REVERSED]
        if row is None or found:
            yield _differing(facts, data, row, found)


def _differing(
    facts: Facts,
    data: StripeDict,
    row: BillingPayment | None,
    found: list[differences.Difference],
) -> Finding:
    charge_id, wanted = str(data["id"]), payment_row(data)
    cause = open_cause(facts, charge_id)
    money = format_money(wanted["amount"], wanted["currency"])
    theirs = f"a payment of {money} ({wanted['status']})"
    has_no_row = row is None
    return Finding(
        Kind.PAYMENT_DIFFERS,
        Severity.MONEY if has_no_row else Severity.WARNING,
        charge_id,
        (
            f"Stripe has {theirs} that is not here."
            if has_no_row
            else f"Stripe has {theirs} otherwise than we do."
        )
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Payment", f"{money}, {wanted['status']}", charge_id, wanted["created_at"]),
            *(each.as_evidence() for each in found),
            *([cause.as_evidence()] if cause else []),
        ),
        replay_of(facts, charge_id) or sync_of(wanted["stripe_customer_id"], charge_id),
        open_events(facts, charge_id),
        amount=wanted["amount"],
        currency=wanted["currency"],
    )


def _known(facts: Facts, charge: StripeDict) -> list[PaymentReversal]:
    intent = str(charge.get("payment_intent") or "")
    return [
        made
        for made in facts.reversals
        if made.charge_id == charge["id"] or (intent and made.payment_intent_id == intent)
    ]


def _refunded(made: list[PaymentReversal]) -> int:
    return sum(r.amount for r in made if r.kind == PaymentReversal.Kind.REFUND and r.active)


def _reversals_differ(facts: Facts, charge: StripeDict) -> bool:
    made = _known(facts, charge)
    has_dispute = any(r.kind == PaymentReversal.Kind.DISPUTE for r in made)
    is_disputed = charge.get("disputed") is True
    return (charge.get("amount_refunded") or 0) != _refunded(made) or is_disputed > has_dispute


def reversals_differ(facts: Facts) -> Iterator[Finding]:
    """Refunds and disputes that are not here as at Stripe, where no credits were left behind:
    those have findings of their own (billing.diagnosis.checks.grants)."""
    if facts.stripe is None:
        return
    told: set[str] = set()
    rows = {row.stripe_id: row for row in facts.reversals}
    for kind in PaymentReversal.Kind.values:
        for stripe_id, data in facts.stripe.of(kind).items():
            wanted, row = reversal_of(data), rows.get(stripe_id)
            is_same = row is not None and (row.amount, row.status, row.active) == (
                wanted.amount,
                wanted.status,
                wanted.active,
            )
            if not is_same and not credits_left(facts, wanted.payment_intent_id):
                told.add(wanted.charge_id)
                yield _reversal(facts, stripe_id, wanted, row)
    for charge_id, data in facts.stripe.of("charge").items():
        intent = str(data.get("payment_intent") or "")
        if charge_id in told or not _reversals_differ(facts, data) or credits_left(facts, intent):
            continue
        yield _of_charge(facts, data)


def _reversal(
    facts: Facts, stripe_id: str, wanted: PaymentReversal, row: PaymentReversal | None
) -> Finding:
    cause = open_cause(facts, stripe_id)
    money = format_money(wanted.amount, wanted.currency)
    ours = f"{row.status}, {format_money(row.amount, row.currency)}" if row else "not here"
    called = PaymentReversal.Kind(wanted.kind).label
    return Finding(
        Kind.REVERSAL_DIFFERS,
        Severity.MONEY,
        stripe_id,
        f"{called} of {money}: {wanted.status} at Stripe, {ours if row else 'and not'} here."
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence(called, f"{wanted.status}, {money}", stripe_id, wanted.created_at),
            Evidence("Here", ours),
            Evidence("Payment", money, wanted.charge_id),
            *([cause.as_evidence()] if cause else []),
        ),
        replay_of(facts, stripe_id, wanted.charge_id)
        or sync_of(_customer_of(facts, wanted.charge_id), wanted.charge_id),
        open_events(facts, stripe_id) | open_events(facts, wanted.charge_id),
        amount=wanted.amount,
        currency=wanted.currency,
    )


def _customer_of(facts: Facts, charge_id: str) -> str:
    charge = facts.stripe.of("charge").get(charge_id, {}) if facts.stripe else {}
    named = str(charge.get("customer") or "")
    ours = (p.stripe_customer_id for p in facts.payments if p.stripe_charge_id == charge_id)
    return named or next(ours, "")


def _of_charge(facts: Facts, charge: StripeDict) -> Finding:
    charge_id, currency = str(charge["id"]), str(charge.get("currency") or "")
    theirs, ours = charge.get("amount_refunded") or 0, _refunded(_known(facts, charge))
    cause = open_cause(facts, charge_id)
    return Finding(
        Kind.REVERSAL_DIFFERS,
        Severity.MONEY,
        charge_id,
        (
            f"{format_money(theirs, currency)} of a payment are refunded at Stripe, and"
            f" {format_money(ours, currency)} here."
            if theirs != ours
            else "The payment is disputed at Stripe, and here nobody knows."
        )
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Payment", format_money(charge.get("amount") or 0, currency), charge_id),
            *([cause.as_evidence()] if cause else []),
        ),
        replay_of(facts, charge_id) or sync_of(_customer_of(facts, charge_id), charge_id),
        open_events(facts, charge_id),
        amount=abs(theirs - ours) or charge.get("amount"),
        currency=currency,
    )


def unexplained(facts: Facts) -> Iterator[Finding]:
    """Money that came for nothing we know of: no invoice or purchase, and it was not given back."""
    taken = {
        reversal.payment_intent_id
        for reversal in facts.reversals
        if reversal.kind == PaymentReversal.Kind.DISPUTE
    }
    for payment in facts.payments:
        intent = payment.payment_intent_id
        is_kept = payment.status == "succeeded" and payment.amount_refunded < payment.amount
        is_kept = is_kept and payment.stripe_charge_id not in facts.authorised
        is_explained = intent in facts.invoice_of or intent in facts.bought_with or intent in taken
        if not is_kept or payment.disputed or is_explained or _is_for(facts, payment):
            continue
        lost = _lost_events(facts, intent)
        money = format_money(payment.amount, payment.currency)
        yield Finding(
            Kind.PAYMENT_UNEXPLAINED,
            Severity.MONEY,
            payment.stripe_charge_id,
            f"{money} were paid, and no invoice, purchase, refund or dispute says for what. Find"
            " out at Stripe what it was for; refund it, or accept it with the reason.",
            (Evidence("Payment", money, payment.stripe_charge_id, payment.created_at),),
            Fix("replay_events", {"event_ids": lost})
            if lost
            else sync_of(
                payment.stripe_customer_id if _is_perhaps_an_invoice_s(facts, payment) else ""
            ),
            frozenset(lost),
            amount=payment.amount,
            currency=payment.currency,
        )


def _is_for(facts: Facts, payment: BillingPayment) -> bool:
    """Whether it paid for what is at Stripe and not here, which is a finding of its own: a
    session, or an invoice that is not paid here."""
    if not payment.payment_intent_id or facts.stripe is None:
        return False
    sessions = facts.stripe.of("checkout.session").values()
    paid_here = {row.stripe_invoice_id for row in facts.invoices if row.status == "paid"}
    return any(s.get("payment_intent") == payment.payment_intent_id for s in sessions) or any(
        invoice.get("amount_paid") == payment.amount
        and id_of(invoice.get("customer")) == payment.stripe_customer_id
        and invoice_id not in paid_here
        for invoice_id, invoice in facts.stripe.of("invoice").items()
    )


def _is_perhaps_an_invoice_s(facts: Facts, payment: BillingPayment) -> bool:
    """Whether a paid invoice of theirs over as much is here, and nobody knows what paid it: a
    sync says so."""
    known = set(facts.invoice_of.values())
    return any(
        row.status == "paid"
        and row.amount_paid == payment.amount
        and row.stripe_customer_id == payment.stripe_customer_id
        and row.stripe_invoice_id not in known
        for row in facts.invoices
    )


def _lost_events(facts: Facts, intent: str) -> list[str]:
    """Ids of Stripe's events about a payment's use that are not here, the oldest first."""
    if facts.stripe is None:
        return []
    listed = {
        event["id"]: int(event["created"])
        for events in facts.stripe.events.values()
        for event in events
        if intent and event["data"]["object"].get("payment_intent") == intent
    }
    lost = listed.keys() - facts.received.keys()
    return sorted(lost, key=lambda event_id: listed[event_id])


def unknown_at_stripe(facts: Facts) -> Iterator[Finding]:
    """Rows of things that Stripe does not know: typed in by hand, of another account or mode."""
    if facts.stripe is None:
        return
    for kind, object_id, customer_id, row in _rows(facts):
        if facts.stripe.lacks(kind, object_id, customer_id):
            yield _unknown(kind, object_id, row)


def _rows(facts: Facts) -> Iterator[tuple[str, str, str, Any]]:
    for subscription in facts.subscriptions:
        key = subscription.stripe_subscription_id
        yield "subscription", key, subscription.stripe_customer_id, subscription
    for invoice in facts.invoices:
        yield "invoice", invoice.stripe_invoice_id, invoice.stripe_customer_id, invoice
    for payment in facts.payments:
        yield "charge", payment.stripe_charge_id, payment.stripe_customer_id, payment
    for reversal in facts.reversals:
        yield reversal.kind, reversal.stripe_id, "", reversal
    for bought in facts.purchases:
        if bought.kind == Purchase.Kind.PACK:
            yield "checkout.session", bought.source, bought.stripe_customer_id, bought


CALLED = {"charge": "payment", "checkout.session": "purchase"}


def _unknown(kind: str, object_id: str, row: Any) -> Finding:
    amount = row.total if isinstance(row, BillingInvoice) else row.amount
    called = CALLED.get(kind, kind)
    is_live = isinstance(row, BillingSubscription) and row.status in ("active", "trialing")
    return Finding(
        Kind.UNKNOWN_AT_STRIPE,
        Severity.ACCESS if is_live else Severity.MONEY,
        object_id,
        f"There is a {called} {object_id} here that Stripe does not know. See in the audit log who"
        " wrote it, and whether the key is that of another account or mode.",
        (Evidence(called.capitalize(), getattr(row, "status", ""), object_id, row.created_at),),
        amount=amount,
        currency=row.currency,
    )


CHECKS: tuple[Check, ...] = (unknown_at_stripe,)
# No customer notices these: they are for whoever compares the books.
OF_BOOKS: tuple[Check, ...] = (differs, reversals_differ, unexplained)
