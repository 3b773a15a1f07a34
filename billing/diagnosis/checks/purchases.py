"""What was paid for and did not bring its credits; payments of nobody we know."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from billing.diagnosis.by_hand import is_near, nominal, unanswered
from billing.diagnosis.causes import open_cause, open_events, replay_of
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money
from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import dig, id_of, line_price_id, list_data, session_user_id
from billing.models import BillingInvoice, BillingSubscription, CreditEntry, Purchase
from billing.projection.accounts import invoice_row
from billing.projection.purchases import GRANTING_REASONS, is_paid_pack
from billing.projection.settlement import grant_sources

LIVE = ("active", "trialing", "past_due")
SORRY = "Your payment arrived, but the credits were not added yet. We are adding them now."


def is_granted(facts: Facts, bought: Purchase) -> bool:
    """Whether the ledger has its grant, an operator's undoing of it included."""
    return any(source in facts.sourced for source in grant_sources(bought))


def is_settled(facts: Facts, bought: Purchase) -> bool:
    """Whether nothing is to be granted: it was, or it was worth none when it was looked at.

    One that says that it was granted, for credits, has its entry in the ledger, or that is lost.
    Whose user nobody knows here, their ledger was not read.
    """
    says_so = bought.status == Purchase.Status.GRANTED
    return is_granted(facts, bought) or (says_so and not (bought.credits and facts.user_id))


def worth(facts: Facts, lines: list[dict[str, Any]]) -> int | None:
    """Credits of lines (`price`, `quantity`) by our mapping; None where no price is mapped."""
    mapped = [line for line in lines if line.get("price") in facts.worth]
    counted = (facts.worth[line["price"]] * line.get("quantity", 1) for line in mapped)
    return sum(counted) if mapped else None


def packs_here(facts: Facts) -> Iterator[Finding]:
    """What was paid that we know of, and brought no credits: by nobody, for no price, or a pack.

    What was settled when its price was worth none stays as it is.
    """
    for bought in facts.purchases:
        if is_settled(facts, bought):
            continue
        credits_ = worth(facts, bought.lines)
        if credits_ is None:
            yield _unmapped(bought)
        elif credits_ and not (bought.user_id or facts.user_id):
            yield _unattributed(facts, bought.source, _of_row(bought), credits_, facts.hinted_user)
        elif credits_ and bought.kind == Purchase.Kind.PACK:
            yield _pack(facts, bought.source, _of_row(bought), credits_)


def packs_at_stripe(facts: Facts) -> Iterator[Finding]:
    """Paid packs of which Stripe knows and we do not."""
    if facts.stripe is None:
        return
    known = {bought.source for bought in facts.purchases}
    known |= {(entry.source or "").removeprefix("checkout:") for entry in facts.entries}
    for session_id, session in facts.stripe.of("checkout.session").items():
        credits_ = worth(facts, _lines(session))
        if session_id in known or not is_paid_pack(session) or credits_ == 0:
            continue
        if session_user_id(session) or facts.user_id:
            yield _pack(facts, session_id, _of_session(session), credits_)
        else:
            yield _unattributed(
                facts, session_id, _of_session(session), credits_, facts.hinted_user
            )


def perhaps_theirs(facts: Facts) -> Iterator[Finding]:
    """Paid by nobody we know who typed one of their addresses, here and at Stripe."""
    user = facts.user_id or ""
    for bought in facts.perhaps_theirs:
        yield _unattributed(facts, bought.source, _of_row(bought), worth(facts, bought.lines), user)
    known = {bought.source for bought in (*facts.perhaps_theirs, *facts.purchases)}
    if facts.stripe is not None:
        for session_id, session in facts.stripe.of("guest.session").items():
            if session_id not in known and is_paid_pack(session):
                credits_ = worth(facts, _lines(session))
                yield _unattributed(facts, session_id, _of_session(session), credits_, user)


def missing(facts: Facts) -> Iterator[Finding]:
    """What they paid for and lack, a purchase each; its time is that of the first evidence."""
    yield from (found for found in packs_here(facts) if found.kind == Kind.PACK_NOT_GRANTED)
    yield from (found for found in packs_at_stripe(facts) if found.kind == Kind.PACK_NOT_GRANTED)
    yield from no_credits_this_period(facts)


def _lines(session: StripeDict) -> list[dict[str, Any]]:
    return [
        {"price": line_price_id(line), "quantity": line.get("quantity") or 1}
        for line in list_data(session.get("line_items"))
    ]


Paid = Mapping[str, Any]  # amount, currency, payment, email, at


def _of_row(bought: Purchase) -> Paid:
    return {
        "amount": bought.amount,
        "currency": bought.currency,
        "payment": bought.payment_intent_id,
        "email": bought.email,
        "at": bought.created_at,
    }


def _of_session(session: StripeDict) -> Paid:
    return {
        "amount": session.get("amount_total") or 0,
        "currency": str(session.get("currency") or ""),
        "payment": id_of(session.get("payment_intent")),
        "email": dig(session, "customer_details", "email") or "",
        "at": from_timestamp(session.get("created")),
    }


def _pack(facts: Facts, source: str, paid: Paid, credits_: int | None) -> Finding:
    price = format_money(paid["amount"], paid["currency"])
    cause = open_cause(facts, source)
    by_hand = _given_by_hand(facts, credits_, paid["at"])
    expected = f"{credits_:,} credits" if credits_ is not None else "credits"
    warning = (
        f" {credits_:,} credits were added {_how(by_hand)} at about the same time: once this is"
        " granted, take those back, or they have them twice."
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
                [Evidence("Added", f"{credits_:+,} {_how(by_hand)}", time=by_hand.created_at)]
                if by_hand
                else []
            ),
        ),
        replay_of(facts, source) or Fix("grant_purchase", {"purchase_id": source}),
        open_events(facts, source),
        for_customer=SORRY,
        amount=paid["amount"],
        currency=paid["currency"],
        credits=credits_,
    )


def _given_by_hand(
    facts: Facts, credits_: int | None, paid_at: datetime | None
) -> CreditEntry | None:
    """As many credits by hand or by raw SQL at about that time: perhaps meant for this."""
    return next(
        (
            entry
            for entry in unanswered(facts)
            if nominal(entry) == credits_ and is_near(entry, paid_at)
        ),
        None,
    )


def _how(entry: CreditEntry) -> str:
    return "by raw SQL" if entry.kind == CreditEntry.Kind.SQL else f"by {entry.actor}"


def _unattributed(
    facts: Facts, source: str, paid: Paid, credits_: int | None, hint: str
) -> Finding:
    """`hint` is the one user with the buyer's address; '' where there is none, or several."""
    price, cause = format_money(paid["amount"], paid["currency"]), open_cause(facts, source)
    return Finding(
        Kind.PAYMENT_UNATTRIBUTED,
        Severity.MONEY,
        source,
        f"{price} were paid, and nobody knows by which user of ours."
        + (
            f" The email belongs to user {hint}: that is a hint and no proof, so make sure first."
            if hint
            else " Ask the buyer for the account that they use here, then attribute the payment."
        )
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Paid", price, source, paid["at"]),
            *([Evidence("Payment", price, paid["payment"])] if paid["payment"] else []),
            *([Evidence("Buyer's email", f"{paid['email']}, a hint")] if paid["email"] else []),
            *([Evidence("Same email", f"user {hint}")] if hint else []),
            *([cause.as_evidence()] if cause else []),
        ),
        Fix("attribute_payment", {"purchase_id": source, "user_id": hint}) if hint else None,
        open_events(facts, source),
        for_customer="We received your payment, but could not match it with your account yet.",
        amount=paid["amount"],
        currency=paid["currency"],
        credits=credits_,
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
    """A live subscription whose current period is paid and brought no credits; and periods
    before it that we know to be paid, and that brought none."""
    known = {bought.source: bought for bought in facts.purchases}
    for row in facts.subscriptions:
        expected = facts.worth.get(row.price_id, 0) * row.quantity
        if facts.status_of(row) not in LIVE or not expected:
            continue
        for position, invoice in enumerate(_periods(facts, row)):
            bought = known.get(invoice.stripe_invoice_id)
            is_known = bought is not None or position == 0
            if is_known and facts.status_of(invoice) == "paid" and _lacks(facts, invoice, bought):
                credits_ = worth(facts, bought.lines) if bought else expected
                yield _without_credits(facts, row, invoice, credits_ or expected)


def _periods(facts: Facts, row: BillingSubscription) -> list[BillingInvoice]:
    """The invoices for periods of this subscription, the newest first; those that are not here
    are as Stripe has them."""
    here = {invoice.stripe_invoice_id for invoice in facts.invoices}
    theirs = facts.stripe.of("invoice").items() if facts.stripe else ()
    unknown = [
        BillingInvoice(**wanted)
        for invoice_id, data in theirs
        if invoice_id not in here and (wanted := invoice_row(data))
    ]
    found = [
        invoice
        for invoice in (*facts.invoices, *unknown)
        if invoice.stripe_subscription_id == row.stripe_subscription_id
        and invoice.billing_reason in GRANTING_REASONS
    ]
    latest = row.latest_invoice_id  # of two within one second
    return sorted(
        found, key=lambda each: (each.created_at, each.stripe_invoice_id == latest), reverse=True
    )


def _lacks(facts: Facts, invoice: BillingInvoice, bought: Purchase | None) -> bool:
    """Whether a paid period has no credits, and no finding of its own says why."""
    if bought is None:
        whole = f"invoice:{invoice.stripe_invoice_id}"
        sources = [entry.source or "" for entry in facts.entries]
        return not any(s == whole or s.startswith(f"{whole}:") for s in sources)
    if is_settled(facts, bought):
        return False
    is_nobodys = not (bought.user_id or facts.user_id)
    return not is_nobodys and worth(facts, bought.lines) not in (None, 0)


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
            Evidence("Invoice", "paid", invoice.stripe_invoice_id, invoice.created_at),
            Evidence("Subscription", row.status, row.stripe_subscription_id, row.updated_at),
            Evidence("Expected", f"{expected:,} credits"),
            *([cause.as_evidence()] if cause else []),
        ),
        replay_of(facts, invoice.stripe_invoice_id)
        or Fix("grant_purchase", {"purchase_id": invoice.stripe_invoice_id}),
        open_events(facts, invoice.stripe_invoice_id),
        for_customer="Your renewal is paid, but this period's credits were not added yet. We are"
        " adding them now.",
        amount=invoice.amount_paid,
        currency=invoice.currency,
        credits=expected,
    )


CHECKS: tuple[Check, ...] = (
    packs_here,
    packs_at_stripe,
    perhaps_theirs,
    no_credits_this_period,
)
