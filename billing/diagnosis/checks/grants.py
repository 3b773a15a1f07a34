"""Credits that were given without a payment or twice, and those that a refund left behind."""

from collections.abc import Iterator

from billing.diagnosis.by_hand import is_near, nominal, unanswered
from billing.diagnosis.causes import open_cause, open_events, replay_of, sync_of
from billing.diagnosis.checks.purchases import missing
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money
from billing.models import CreditEntry, PaymentReversal, Purchase
from billing.projection.purchases import is_paid_pack
from billing.projection.settlement import grant_sources, reversal_sources

OPERATION = "operation:"
EntryKind = CreditEntry.Kind
CAUSES = {
    PaymentReversal.Kind.REFUND: ("refund.created", "refund.updated"),
    PaymentReversal.Kind.DISPUTE: ("charge.dispute.created", "charge.dispute.funds_withdrawn"),
}


def by_hand(facts: Facts) -> Iterator[Finding]:
    """Credits added by hand or by raw SQL: for what was granted by itself too, or for nothing.

    Those that stand for a purchase which is not granted yet are that purchase's finding.
    """
    waiting, taken = list(missing(facts)), set[int]()
    for entry in unanswered(facts):
        stands_for = next((f for f in waiting if _stands_for(entry, f)), None)
        bought = _granted_too(facts, entry, taken)
        if stands_for is not None:
            waiting.remove(stands_for)
        elif bought is not None:
            taken.add(bought.pk)
            yield _twice(facts, entry, bought)
        elif entry.kind == EntryKind.SQL:
            yield _for_nothing(facts, entry)


def _stands_for(entry: CreditEntry, purchase: Finding) -> bool:
    """Whether it was perhaps given for a purchase that its finding says is not granted."""
    paid = purchase.evidence[0].time
    return purchase.credits == nominal(entry) and is_near(entry, paid)


def _granted_too(facts: Facts, entry: CreditEntry, taken: set[int]) -> Purchase | None:
    """A purchase that was granted by itself, worth as much, at about the same time."""
    for bought in facts.purchases:
        at = _grants(facts, bought)
        if (
            bought.pk not in taken
            and at
            and sum(map(nominal, at)) == nominal(entry)
            and is_near(entry, bought.created_at, at[0].created_at)
        ):
            return bought
    return None


def _grants(facts: Facts, bought: Purchase) -> list[CreditEntry]:
    """The entries that granted a purchase, and that undid that."""
    sources = grant_sources(bought)
    return [facts.sourced[source] for source in sources if source in facts.sourced]


def _twice(facts: Facts, entry: CreditEntry, bought: Purchase) -> Finding:
    amount = nominal(entry)
    how = "by raw SQL" if entry.kind == EntryKind.SQL else f"by {entry.actor}"
    paid = format_money(bought.amount, bought.currency)
    return Finding(
        Kind.GRANTED_TWICE,
        Severity.MONEY,
        f"entry:{entry.pk}",
        f"{amount:,} credits were granted {how}, and the purchase over {paid} at about the same"
        f" time brought {amount:,} by itself.",
        (
            Evidence(
                "Granted", f"{amount:+,} {how}: {entry.reason}", _key(entry), entry.created_at
            ),
            Evidence("Purchase", f"{paid}, granted", bought.source, bought.granted_at),
        ),
        _taking_back(facts, entry),
        credits=amount,
    )


def _for_nothing(facts: Facts, entry: CreditEntry) -> Finding:
    amount = nominal(entry)
    return Finding(
        Kind.GRANTED_WITHOUT_PAYMENT,
        Severity.MONEY,
        f"entry:{entry.pk}",
        f"{amount:,} credits were added by raw SQL ({entry.actor.removeprefix('sql:')}), and"
        " no payment explains them.",
        (Evidence("Ledger", f"{amount:+,} by {entry.actor}", time=entry.created_at),),
        _taking_back(facts, entry),
        credits=amount,
    )


def _taking_back(facts: Facts, entry: CreditEntry) -> Fix | None:
    """The undo of a grant by hand where the balance has its credits; else a correction."""
    amount, key = nominal(entry), _key(entry)
    if key and _balance(facts) >= amount:
        return Fix("take_back_credits", {"user_id": entry.user_id, "amount": -amount, "grant": key})
    return _correction(facts, entry.user_id, amount)


def _correction(facts: Facts, user_id: str, amount: int) -> Fix | None:
    """The balance without these credits, 0 at the least; None where nothing is left of them."""
    balance = _balance(facts)
    if balance <= 0:
        return None
    return Fix("correct_balance", {"user_id": user_id, "balance": max(balance - amount, 0)})


def _balance(facts: Facts) -> int:
    return facts.credits.balance if facts.credits else 0


def _key(entry: CreditEntry) -> str:
    """The key of the operation that granted it; '' for raw SQL."""
    source = entry.source or ""
    return source.removeprefix(OPERATION) if source.startswith(OPERATION) else ""


def without_payment(facts: Facts) -> Iterator[Finding]:
    """Grants of purchases that Stripe shows as not paid, or that are not here at all."""
    unpaid: dict[str, str] = {}  # why, by the entry's source
    for entry in facts.entries:
        if entry.kind not in (EntryKind.PACK, EntryKind.SUBSCRIPTION) or not entry.source:
            continue
        if said := _objection(facts, _bought(entry)):
            unpaid[entry.source] = said
    given: dict[str, list[CreditEntry]] = {}
    for entry in unanswered(facts, unpaid):
        if entry.source in unpaid:
            given.setdefault(_bought(entry), []).append(entry)
    for purchase_id, entries in given.items():
        yield _unpaid(facts, purchase_id, entries, unpaid[entries[0].source or ""])


def _bought(entry: CreditEntry) -> str:
    """The purchase that an entry's source names (`checkout:cs_1`); '' where raw SQL named none."""
    return (entry.source or "").partition(":")[2].partition(":")[0]


def _objection(facts: Facts, purchase_id: str) -> str:
    """Why what was granted for a purchase was not paid, in words; '' where nothing says so."""
    if facts.stripe is not None:
        session = facts.stripe.of("checkout.session").get(purchase_id)
        if session is not None:
            said = f"{session.get('status')} and {session.get('payment_status')}"
            return "" if is_paid_pack(session) else f"Stripe says that it is {said}"
        invoice = facts.stripe.of("invoice").get(purchase_id)
        if invoice is not None:
            said = str(invoice.get("status"))
            return "" if said == "paid" else f"Stripe says that it is {said}"
    return "there is no such purchase here" if purchase_id in facts.unbought else ""


def _unpaid(facts: Facts, purchase_id: str, entries: list[CreditEntry], said: str) -> Finding:
    amount = sum(map(nominal, entries))
    return Finding(
        Kind.GRANTED_WITHOUT_PAYMENT,
        Severity.MONEY,
        purchase_id,
        f"{amount:,} credits were granted for {purchase_id}, and {said}.",
        (
            Evidence("Purchase", said, purchase_id),
            *(
                Evidence("Ledger", f"{nominal(each):+,}, {each.reason}", time=each.created_at)
                for each in entries
            ),
        ),
        _correction(facts, entries[0].user_id, amount),
        credits=amount,
    )


def not_taken_back_here(facts: Facts) -> Iterator[Finding]:
    """Refunds and disputes that we know of, of a granted purchase, that took too few credits."""
    for bought in facts.purchases:
        made = [r for r in facts.reversals if _paid_with(facts, r.payment_intent_id) is bought]
        active = [r for r in made if r.active]
        taken = -sum(
            nominal(facts.sourced[source])
            for reversal in made
            for source in reversal_sources(reversal)
            if source in facts.sourced
        )
        left = _share(facts, bought, sum(r.amount for r in active)) - taken
        missed = [r for r in active if reversal_sources(r)[0] not in facts.sourced]
        if left > 0 and missed:
            first = missed[0]
            yield _left(facts, bought, first.kind, first.stripe_id, first.amount, left)


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
        missing_ = (charge.get("amount_refunded") or 0) - refunded
        if missing_ > 0 and (share := _share(facts, bought, missing_)):
            yield _left(facts, bought, PaymentReversal.Kind.REFUND, charge_id, missing_, share)
        disputes = [r for r in known if r.kind == PaymentReversal.Kind.DISPUTE]
        if charge.get("disputed") is True and not disputes:
            amount = (charge.get("amount") or 0) - (charge.get("amount_refunded") or 0)
            share = _share(facts, bought, amount)
            yield _left(facts, bought, PaymentReversal.Kind.DISPUTE, charge_id, amount, share)


def credits_left(facts: Facts, payment_intent_id: str) -> bool:
    """Whether a finding of this file says that credits paid with this were not taken back."""
    found = (*not_taken_back_here(facts), *not_taken_back_at_stripe(facts))
    bought = _paid_with(facts, payment_intent_id)
    subjects = {finding.subject for finding in found}
    charges = {
        p.stripe_charge_id for p in facts.payments if p.payment_intent_id == payment_intent_id
    }
    made = {r.stripe_id for r in facts.reversals if r.payment_intent_id == payment_intent_id}
    at_stripe = {
        charge_id
        for charge_id, charge in (facts.stripe.of("charge").items() if facts.stripe else ())
        if charge.get("payment_intent") == payment_intent_id
    }
    return bought is not None and bool(subjects & (charges | made | at_stripe))


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
    given = sum(map(nominal, _grants(facts, bought)))
    return given * min(amount, bought.amount) // bought.amount if bought.amount > 0 else 0


def _left(
    facts: Facts, bought: Purchase, kind: str, subject: str, amount: int, share: int
) -> Finding:
    """`subject` is the refund or dispute, or Stripe's charge where we do not know of it."""
    is_refund = kind == PaymentReversal.Kind.REFUND
    cause = open_cause(facts, subject, *CAUSES[PaymentReversal.Kind(kind)])
    money = format_money(amount, bought.currency)
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
        replay_of(facts, subject) or sync_of(bought.stripe_customer_id, bought.payment_intent_id),
        open_events(facts, subject),
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
