"""Invoices: unpaid ones, and those that are not here as Stripe has them."""

from collections.abc import Iterator

from billing.diagnosis import differences
from billing.diagnosis.causes import open_cause, open_events, replay_of
from billing.diagnosis.checks.subscriptions import (
    OVER,
    OWING,
    PAYABLE,
    attempts,
    decline,
    failed_payment,
    owed_invoice,
)
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money, format_time
from billing.gateway.observation import StripeDict
from billing.models import BillingInvoice


def unpaid(facts: Facts) -> Iterator[Finding]:
    """Open invoices that failed or are late, but for the one that a past-due finding names."""
    told = {
        invoice.stripe_invoice_id
        for row in facts.subscriptions
        if row.status in OWING
        and facts.status_of(row) in OWING
        and (invoice := owed_invoice(facts, row))
    }
    for invoice in facts.invoices:
        late = invoice.due_date is not None and invoice.due_date < facts.now
        failed = invoice.status == "open" and (invoice.attempt_count > 0 or late)
        if invoice.stripe_invoice_id in told or not (failed or invoice.status == "uncollectible"):
            continue
        if facts.status_of(invoice) not in PAYABLE:
            continue
        yield _unpaid(facts, invoice, late=late)


def _unpaid(facts: Facts, invoice: BillingInvoice, *, late: bool) -> Finding:
    payment = failed_payment(facts, invoice)
    due = format_money(invoice.amount_remaining, invoice.currency)
    why = f": {decline(payment)}" if payment else ""
    when = f", due since {format_time(invoice.due_date)}" if late and invoice.due_date else ""
    return Finding(
        Kind.INVOICE_UNPAID,
        Severity.MONEY,
        invoice.stripe_invoice_id,
        f"Invoice {invoice.number or invoice.stripe_invoice_id} over {due} is {invoice.status}"
        f"{when}, after {attempts(invoice)}{why}.{_after_its_end(facts, invoice)}",
        (
            Evidence("Invoice", f"{due} due", invoice.stripe_invoice_id, invoice.created_at),
            *(
                [
                    Evidence(
                        "Declined", decline(payment), payment.stripe_charge_id, payment.created_at
                    )
                ]
                if payment
                else []
            ),
        ),
        Fix(_way_out(facts, invoice), {"invoice_id": invoice.stripe_invoice_id}),
        for_customer=f"An invoice over {due} is still open. You can pay it from your billing page.",
        amount=invoice.amount_remaining,
        currency=invoice.currency,
    )


def _way_out(facts: Facts, invoice: BillingInvoice) -> str:
    """The operation that settles an unpaid invoice. Of a deleted customer nothing is collected."""
    if _is_deleted(facts, invoice):
        return "void_invoice"
    is_sent = invoice.status == "open" and is_paid_by_hand(facts, invoice)
    return "resend_invoice" if is_sent else "pay_invoice"


def _is_deleted(facts: Facts, invoice: BillingInvoice) -> bool:
    """Whether the customer of an invoice is deleted, by our row or by Stripe's word."""
    customer_id = invoice.stripe_customer_id
    data = facts.stripe.of("customer").get(customer_id, {}) if facts.stripe else {}
    here = any(c.deleted for c in facts.customers if c.stripe_customer_id == customer_id)
    return here or data.get("deleted") is True


def _after_its_end(facts: Facts, invoice: BillingInvoice) -> str:
    """What else to do where the customer or the subscription is gone, as a sentence; else ''."""
    if _is_deleted(facts, invoice):
        return " The customer is deleted at Stripe and can be charged no more: void it."
    has_ended = any(
        row.stripe_subscription_id == invoice.stripe_subscription_id
        and facts.status_of(row) in OVER
        for row in facts.subscriptions
    )
    return " Its subscription has ended: void it if they owe nothing for it." if has_ended else ""


def is_paid_by_hand(facts: Facts, invoice: BillingInvoice) -> bool:
    """Whether the customer is sent the invoice, instead of being charged for it.

    Without Stripe's word its due date tells: it gives one only to those.
    """
    data = facts.stripe.of("invoice").get(invoice.stripe_invoice_id) if facts.stripe else None
    if data:
        return data.get("collection_method") == "send_invoice"
    return invoice.due_date is not None


def differs_from_stripe(facts: Facts) -> Iterator[Finding]:
    """Invoices of Stripe's that are missing here, or are otherwise."""
    if facts.stripe is None:
        return
    rows = {row.stripe_invoice_id: row for row in facts.invoices}
    for invoice_id, data in facts.stripe.of("invoice").items():
        row = rows.get(invoice_id)
        found = differences.of_invoice(row, data) if row else []
        if row is None or found:
            yield _differing(facts, invoice_id, row, data, found)


def _differing(
    facts: Facts,
    invoice_id: str,
    row: BillingInvoice | None,
    data: StripeDict,
    found: list[differences.Difference],
) -> Finding:
    theirs = str(data.get("status"))
    cause = open_cause(facts, invoice_id)
    verdict = (
        f"Stripe has an invoice ({theirs}) that is not here."
        if row is None
        else f"The invoice is {theirs} at Stripe and {row.status} here."
        if row.status != theirs
        else "Stripe has the invoice otherwise than we do."
    )
    return Finding(
        Kind.INVOICE_DIFFERS,
        Severity.MONEY if row is None or row.status != theirs else Severity.WARNING,
        invoice_id,
        verdict + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Invoice", f"{theirs} at Stripe", invoice_id),
            *(each.as_evidence() for each in found),
            *([cause.as_evidence()] if cause else []),
        ),
        replay_of(facts, invoice_id)
        or Fix("sync_from_stripe", {"kind": "invoice", "id": invoice_id}),
        open_events(facts, invoice_id),
        amount=data.get("amount_due"),
        currency=str(data.get("currency") or ""),
    )


CHECKS: tuple[Check, ...] = (unpaid, differs_from_stripe)
