"""What was paid for and did not bring its credits; payments of nobody we know."""

from collections.abc import Iterator, Mapping
from typing import Any

from billing.diagnosis.causes import open_cause, open_events
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money
from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import id_of, line_price_id, list_data
from billing.models import BillingInvoice, BillingSubscription, CreditEntry, Purchase
from billing.projection.purchases import GRANTING_REASONS, is_paid_pack
from billing.projection.settlement import grant_sources

SORRY = "Your payment arrived, but the credits were not added yet. We are adding them now."


def is_granted(facts: Facts, bought: Purchase) -> bool:
    """Whether the ledger has its grant, an operator's undoing of it included."""
    return any(source in facts.sourced for source in grant_sources(bought))


def worth(facts: Facts, lines: list[dict[str, Any]]) -> int | None:
    """Credits of lines (`price`, `quantity`) by our mapping; None where no price is mapped."""
    mapped = [line for line in lines if line.get("price") in facts.worth]
    counted = (facts.worth[line["price"]] * line.get("quantity", 1) for line in mapped)
    return sum(counted) if mapped else None


def packs_here(facts: Facts) -> Iterator[Finding]:
    """Paid packs, and paid periods, that we know of and that brought no credits."""
    for bought in facts.purchases:
        if bought.status == Purchase.Status.UNATTRIBUTED and not (bought.user_id or facts.user_id):
            yield _unattributed(facts, bought)
        elif bought.status == Purchase.Status.UNPRICED and worth(facts, bought.lines) is None:
            yield _unmapped(bought)
        elif bought.kind == Purchase.Kind.PACK and not is_granted(facts, bought):
            credits_ = worth(facts, bought.lines)
            if credits_ != 0:
                yield _pack(facts, bought.source, _of_row(bought), credits_)


def packs_at_stripe(facts: Facts) -> Iterator[Finding]:
    """Paid packs of which Stripe knows and we do not."""
    if facts.stripe is None:
        return
    known = {bought.source for bought in facts.purchases}
    for session_id, session in facts.stripe.of("checkout.session").items():
        if session_id not in known and is_paid_pack(session):
            lines = [
                {"price": line_price_id(line), "quantity": line.get("quantity") or 1}
                for line in list_data(session.get("line_items"))
            ]
            yield _pack(facts, session_id, _of_session(session), worth(facts, lines))


Paid = Mapping[str, Any]  # amount, currency, payment, at


def _of_row(bought: Purchase) -> Paid:
    return {
        "amount": bought.amount,
        "currency": bought.currency,
        "payment": bought.payment_intent_id,
        "at": bought.created_at,
    }


def _of_session(session: StripeDict) -> Paid:
    return {
        "amount": session.get("amount_total") or 0,
        "currency": str(session.get("currency") or ""),
        "payment": id_of(session.get("payment_intent")),
        "at": from_timestamp(session.get("created")),
    }


def _pack(facts: Facts, source: str, paid: Paid, credits_: int | None) -> Finding:
    price = format_money(paid["amount"], paid["currency"])
    cause = open_cause(facts, source)
    by_hand = by_sql(facts, credits_)
    expected = f"{credits_:,} credits" if credits_ is not None else "credits"
    warning = (
        f" {by_hand.delta:,} credits were added by raw SQL since: take them back first, or they"
        " have them twice."
        if by_hand
        else ""
    )
    return Finding(
        Kind.PACK_NOT_GRANTED,
        Severity.MONEY,
        source,
        f"They paid {price} for {expected}, which were never granted."
        + (f" {cause.type} {cause.in_words}." if cause else "")
        + warning,
        (
            Evidence("Checkout session", f"paid, {price}", source, paid["at"]),
            *([Evidence("Payment", price, paid["payment"])] if paid["payment"] else []),
            Evidence("Expected", expected),
            *([cause.as_evidence()] if cause else []),
            *(
                [Evidence("Raw SQL", f"{by_hand.delta:+,} credits", time=by_hand.created_at)]
                if by_hand
                else []
            ),
        ),
        (cause.fix if cause else None) or Fix("grant_purchase", {"purchase_id": source}),
        open_events(facts, source),
        for_customer=SORRY,
        amount=paid["amount"],
        currency=paid["currency"],
        credits=credits_,
    )


def by_sql(facts: Facts, credits_: int | None) -> CreditEntry | None:
    """An entry by raw SQL over as many credits: perhaps the runbook's own manual grant."""
    return next(
        (
            entry
            for entry in facts.entries
            if entry.kind == CreditEntry.Kind.SQL and entry.delta == credits_
        ),
        None,
    )


def _unattributed(facts: Facts, bought: Purchase) -> Finding:
    price, hint = format_money(bought.amount, bought.currency), facts.hinted_user
    return Finding(
        Kind.PAYMENT_UNATTRIBUTED,
        Severity.MONEY,
        bought.source,
        f"{price} were paid, and nobody knows by which user of ours."
        + (
            f" The email belongs to user {hint}: that is a hint and no proof, so make sure first."
            if hint
            else " Ask the buyer for the account that they use here, then attribute the payment."
        ),
        (
            Evidence("Paid", price, bought.source, bought.created_at),
            *([Evidence("Buyer's email", bought.email)] if bought.email else []),
            *([Evidence("Same email", f"user {hint}")] if hint else []),
        ),
        Fix("attribute_payment", {"purchase_id": bought.source, "user_id": hint}) if hint else None,
        for_customer="We received your payment, but could not match it with your account yet.",
        amount=bought.amount,
        currency=bought.currency,
        credits=bought.credits,
    )


def _unmapped(bought: Purchase) -> Finding:
    prices = (
        ", ".join(sorted({str(line.get("price") or "none") for line in bought.lines})) or "none"
    )
    price = format_money(bought.amount, bought.currency)
    return Finding(
        Kind.PRICE_UNMAPPED,
        Severity.MONEY,
        bought.source,
        f"{price} were paid for a price that is mapped to no credits ({prices}). Map it under"
        " “Prices to credits”; then this can be granted.",
        (
            Evidence("Paid", price, bought.source, bought.created_at),
            *(
                Evidence(
                    "Price", line.get("description") or "no name", str(line.get("price") or "")
                )
                for line in bought.lines
            ),
        ),
        for_customer=SORRY,
        amount=bought.amount,
        currency=bought.currency,
    )


def no_credits_this_period(facts: Facts) -> Iterator[Finding]:
    """An active subscription whose current period is paid and brought no credits."""
    for row in facts.subscriptions:
        expected = facts.worth.get(row.price_id, 0) * row.quantity
        invoice = _paid_period(facts, row)
        if row.status not in ("active", "trialing") or not expected or invoice is None:
            continue
        bought = next((p for p in facts.purchases if p.source == invoice.stripe_invoice_id), None)
        if bought is not None and (is_granted(facts, bought) or _has_own_finding(facts, bought)):
            continue
        if bought is None and any(s.startswith(_prefix(invoice)) for s in facts.sourced):
            continue
        yield _without_credits(facts, row, invoice, expected)


def _has_own_finding(facts: Facts, bought: Purchase) -> bool:
    nobodys = bought.status == Purchase.Status.UNATTRIBUTED and not facts.user_id
    return nobodys or worth(facts, bought.lines) in (None, 0)


def _paid_period(facts: Facts, row: BillingSubscription) -> BillingInvoice | None:
    """The newest invoice for a period of this subscription, where it is paid."""
    newest = next(
        (
            invoice
            for invoice in facts.invoices
            if invoice.stripe_subscription_id == row.stripe_subscription_id
            and invoice.billing_reason in GRANTING_REASONS
        ),
        None,
    )
    return newest if newest and newest.status == "paid" else None


def _prefix(invoice: BillingInvoice) -> str:
    return f"invoice:{invoice.stripe_invoice_id}"


def _without_credits(
    facts: Facts, row: BillingSubscription, invoice: BillingInvoice, expected: int
) -> Finding:
    cause = open_cause(
        facts, invoice.stripe_invoice_id, "invoice.paid", "invoice.payment_succeeded"
    )
    return Finding(
        Kind.NO_CREDITS_THIS_PERIOD,
        Severity.MONEY,
        invoice.stripe_invoice_id,
        f"The subscription is {row.status} and its period is paid, and its {expected:,} credits"
        " were not granted." + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Subscription", row.status, row.stripe_subscription_id, row.updated_at),
            Evidence("Invoice", "paid", invoice.stripe_invoice_id, invoice.paid_at),
            Evidence("Expected", f"{expected:,} credits"),
            *([cause.as_evidence()] if cause else []),
        ),
        (cause.fix if cause else None)
        or Fix("grant_purchase", {"purchase_id": invoice.stripe_invoice_id}),
        open_events(facts, invoice.stripe_invoice_id),
        for_customer="Your renewal is paid, but this period's credits were not added yet. We are"
        " adding them now.",
        amount=invoice.amount_paid,
        currency=invoice.currency,
        credits=expected,
    )


CHECKS: tuple[Check, ...] = (packs_here, packs_at_stripe, no_credits_this_period)
