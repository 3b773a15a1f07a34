"""Credits that were given without a payment or twice, and those that a refund left behind."""

from collections.abc import Iterator
from datetime import timedelta

from billing.diagnosis.causes import open_cause, open_events
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money
from billing.models import CreditEntry, OperationRecord, PaymentReversal, Purchase
from billing.projection.purchases import is_paid_pack
from billing.projection.settlement import grant_sources, reversal_sources

AT_ABOUT = timedelta(days=7)  # how far from a purchase a grant by hand was perhaps meant for it
OPERATION = "operation:"
EntryKind = CreditEntry.Kind


def by_hand(facts: Facts) -> Iterator[Finding]:
    """Credits added by hand or by raw SQL: for what was granted by itself too, or for nothing."""
    taken: set[int] = set()
    for entry in _unanswered(facts):
        bought = _granted_too(facts, entry, taken)
        if bought is not None:
            taken.add(bought.pk)
            yield _twice(facts, entry, bought)
        elif entry.kind == EntryKind.SQL:
            yield _for_nothing(facts, entry)


def _unanswered(facts: Facts) -> list[CreditEntry]:
    """Grants by hand that are not goodwill, and credits by raw SQL, that nobody took back since.

    A later correction or taking back of at least as many credits answers the one before it.
    """
    open_: list[CreditEntry] = []
    for entry in sorted(facts.entries, key=lambda each: each.pk):
        nominal = entry.delta - entry.owed_delta
        if nominal > 0 and _is_by_hand(facts, entry):
            open_.append(entry)
        elif nominal < 0 and entry.kind == EntryKind.CORRECTION:
            left = -nominal
            for earlier in reversed(list(open_)):
                amount = earlier.delta - earlier.owed_delta
                if amount <= left:
                    open_.remove(earlier)
                    left -= amount
    return open_


def _is_by_hand(facts: Facts, entry: CreditEntry) -> bool:
    if entry.kind == EntryKind.SQL:
        return True
    if entry.kind != EntryKind.GRANT:
        return False
    operation = operation_of(facts, entry)
    return operation is not None and operation.reason_code != "goodwill"


def operation_of(facts: Facts, entry: CreditEntry) -> OperationRecord | None:
    """The operation that posted an entry, as far as it is among the facts."""
    key = (entry.source or "").removeprefix(OPERATION)
    return next((each for each in facts.operations if each.key == key), None)


def _granted_too(facts: Facts, entry: CreditEntry, taken: set[int]) -> Purchase | None:
    """A purchase that was granted by itself, worth as much, at about the same time."""
    amount = entry.delta - entry.owed_delta
    for bought in facts.purchases:
        at = [facts.sourced[source] for source in grant_sources(bought) if source in facts.sourced]
        if (
            bought.pk not in taken
            and at
            and sum(each.delta - each.owed_delta for each in at) == amount
            and any(
                abs(moment - entry.created_at) <= AT_ABOUT
                for moment in (bought.created_at, at[0].created_at)
            )
        ):
            return bought
    return None


def _twice(facts: Facts, entry: CreditEntry, bought: Purchase) -> Finding:
    amount = entry.delta - entry.owed_delta
    how = "by raw SQL" if entry.kind == EntryKind.SQL else f"by {entry.actor}"
    paid = format_money(bought.amount, bought.currency)
    return Finding(
        Kind.GRANTED_TWICE,
        Severity.MONEY,
        f"entry:{entry.pk}",
        f"{amount:,} credits were granted {how}, and the purchase over {paid} at about the same"
        f" time brought {amount:,} by itself.",
        (
            Evidence("Granted", f"{amount:+,} {how}: {entry.reason}", _id(entry), entry.created_at),
            Evidence("Purchase", f"{paid}, granted", bought.source, bought.granted_at),
        ),
        _taking_back(facts, entry),
        credits=amount,
    )


def _for_nothing(facts: Facts, entry: CreditEntry) -> Finding:
    return Finding(
        Kind.GRANTED_WITHOUT_PAYMENT,
        Severity.MONEY,
        f"entry:{entry.pk}",
        f"{entry.delta:,} credits were added by raw SQL ({entry.actor.removeprefix('sql:')}), and"
        " no payment explains them.",
        (Evidence("Ledger", f"{entry.delta:+,} by {entry.actor}", time=entry.created_at),),
        _taking_back(facts, entry),
        credits=entry.delta,
    )


def _taking_back(facts: Facts, entry: CreditEntry) -> Fix:
    """By as many credits, where the balance has them; else the balance goes down to 0."""
    amount = entry.delta - entry.owed_delta
    balance = facts.credits.balance if facts.credits else 0
    if entry.kind == EntryKind.GRANT and balance >= amount:
        return Fix("take_back_credits", {"user_id": entry.user_id, "amount": -amount})
    return Fix("correct_balance", {"user_id": entry.user_id, "balance": max(balance - amount, 0)})


def _id(entry: CreditEntry) -> str:
    return entry.source if entry.source and entry.source.startswith(OPERATION) else ""


def without_payment(facts: Facts) -> Iterator[Finding]:
    """Purchases that were granted, and of which Stripe says that they are not paid."""
    if facts.stripe is None:
        return
    sessions, invoices = facts.stripe.of("checkout.session"), facts.stripe.of("invoice")
    for bought in facts.purchases:
        given = sum(
            facts.sourced[source].delta - facts.sourced[source].owed_delta
            for source in grant_sources(bought)
            if source in facts.sourced
        )
        session, invoice = sessions.get(bought.source), invoices.get(bought.source)
        unpaid = (session is not None and not is_paid_pack(session)) or (
            invoice is not None and invoice.get("status") != "paid"
        )
        if given > 0 and unpaid:
            said = (session or invoice or {}).get("status")
            balance = facts.credits.balance if facts.credits else 0
            yield Finding(
                Kind.GRANTED_WITHOUT_PAYMENT,
                Severity.MONEY,
                bought.source,
                f"{given:,} credits were granted for it, and Stripe says that it is {said}.",
                (Evidence("Purchase", f"{said} at Stripe", bought.source, bought.granted_at),),
                Fix(
                    "correct_balance",
                    {"user_id": bought.user_id, "balance": max(balance - given, 0)},
                ),
                credits=given,
            )


def not_taken_back_here(facts: Facts) -> Iterator[Finding]:
    """Refunds and disputes that we know of, of a granted purchase, that took no credits."""
    for reversal in facts.reversals:
        bought = _paid_with(facts, reversal.payment_intent_id)
        taken, _ = reversal_sources(reversal)
        if (
            reversal.active
            and bought
            and taken not in facts.sourced
            and _share(facts, bought, reversal.amount)
        ):
            yield _left(facts, bought, reversal.kind, reversal.stripe_id, reversal.amount, "")


def not_taken_back_at_stripe(facts: Facts) -> Iterator[Finding]:
    """Charges that Stripe refunded or lost to a dispute, of which we know nothing."""
    if facts.stripe is None:
        return
    for charge_id, charge in facts.stripe.of("charge").items():
        intent = str(charge.get("payment_intent") or "")
        bought = _paid_with(facts, intent)
        if bought is None:
            continue
        known = [r for r in facts.reversals if r.payment_intent_id == intent]
        refunded = sum(
            r.amount for r in known if r.kind == PaymentReversal.Kind.REFUND and r.active
        )
        missing = (charge.get("amount_refunded") or 0) - refunded
        if missing > 0 and _share(facts, bought, missing):
            yield _left(facts, bought, PaymentReversal.Kind.REFUND, charge_id, missing, charge_id)
        disputes = [r for r in known if r.kind == PaymentReversal.Kind.DISPUTE]
        if charge.get("disputed") is True and not disputes:
            amount = charge.get("amount") or 0
            yield _left(facts, bought, PaymentReversal.Kind.DISPUTE, charge_id, amount, charge_id)


def _paid_with(facts: Facts, payment_intent_id: str) -> Purchase | None:
    """The granted purchase that a payment paid for."""
    if not payment_intent_id:
        return None
    source = facts.invoice_of.get(payment_intent_id)
    return next(
        (
            bought
            for bought in facts.purchases
            if bought.status == Purchase.Status.GRANTED
            and (bought.payment_intent_id == payment_intent_id or bought.source == source)
        ),
        None,
    )


def _share(facts: Facts, bought: Purchase, amount: int) -> int:
    """Credits that an amount of a purchase stands for, of what was granted for it."""
    given = sum(
        facts.sourced[source].delta - facts.sourced[source].owed_delta
        for source in grant_sources(bought)
        if source in facts.sourced
    )
    return given * min(amount, bought.amount) // bought.amount if bought.amount > 0 else 0


def _left(
    facts: Facts, bought: Purchase, kind: str, subject: str, amount: int, charge_id: str
) -> Finding:
    is_refund = kind == PaymentReversal.Kind.REFUND
    cause = open_cause(facts, charge_id) if charge_id else None
    money = format_money(amount, bought.currency)
    share = _share(facts, bought, amount)
    customer = bought.stripe_customer_id or next(iter(facts.person.customer_ids), "")
    return Finding(
        Kind.REFUND_NOT_TAKEN_BACK if is_refund else Kind.DISPUTE_NOT_TAKEN_BACK,
        Severity.MONEY,
        subject,
        f"{money} of a purchase were {'refunded' if is_refund else 'disputed'}, and its"
        f" {share:,} credits were not taken back."
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        (
            Evidence("Refund" if is_refund else "Dispute", money, subject),
            Evidence("Purchase", "granted", bought.source, bought.granted_at),
            *([cause.as_evidence()] if cause else []),
        ),
        Fix("sync_from_stripe", {"kind": "customer", "id": customer})
        if customer
        else cause.fix
        if cause
        else None,
        open_events(facts, charge_id) if charge_id else frozenset(),
        amount=amount,
        currency=bought.currency,
        credits=share,
    )


CHECKS: tuple[Check, ...] = (
    by_hand,
    without_payment,
    not_taken_back_here,
    not_taken_back_at_stripe,
)
