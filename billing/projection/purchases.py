"""What was paid, what it is worth in credits, and what was taken back (DESIGN, rule 5).

Everything here follows from the objects' state, not from the events that told of it,
so that a webhook, its replay, a sync and a support agent converge on the same entries.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Q

from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import (
    dig,
    id_of,
    invoice_is_paid,
    invoice_payment_intent_ids,
    line_is_proration,
    line_price_id,
    list_data,
    metadata_user_id,
    session_user_id,
)
from billing.models import (
    BillingCustomer,
    CreditEntry,
    InvoicePayment,
    PaymentReversal,
    Purchase,
)
from billing.projection import ledger
from billing.projection.accounts import dated, text
from billing.projection.ledger import Entry, Posted
from billing.projection.prices import credits_by_price
from billing.projection.rows import as_json, recordset

GRANTING_REASONS = ("subscription_create", "subscription_cycle")
REVERSALS = ("refund", "dispute")

Lines = list[dict[str, Any]]


@dataclass(slots=True)
class Found:
    """What a batch of objects says of purchases: their new rows, and what to settle."""

    purchases: list[Purchase] = field(default_factory=list)
    reversals: list[PaymentReversal] = field(default_factory=list)
    payments: set[tuple[str, str]] = field(default_factory=set)  # payment intent, invoice


def is_paid_pack(session: StripeDict) -> bool:
    """Complete, in payment mode, and not unpaid: `no_payment_required` counts."""
    return (
        session.get("object") == "checkout.session"
        and session.get("mode") == "payment"
        and session.get("status") == "complete"
        and session.get("payment_status") in ("paid", "no_payment_required")
    )


def is_paid_period(invoice: StripeDict) -> bool:
    """A paid invoice for a period of a subscription; prorations grant nothing."""
    return (
        invoice.get("object") == "invoice"
        and invoice_is_paid(invoice)
        and invoice.get("billing_reason") in GRANTING_REASONS
    )


def lines_wanted(
    items: Iterable[Observation], known: Mapping[str, Lines]
) -> dict[tuple[str, str], int]:
    """Paid objects whose lines are neither embedded whole nor known: when they were made.

    Keys are (kind, id), values Stripe's `created`, Unix seconds.
    """
    wanted: dict[str, tuple[str, int]] = {}
    for item in items:
        if item.deleted or item.id in known:
            continue
        pack = is_paid_pack(item.data) and not _embedded_whole(item.data.get("line_items"))
        period = is_paid_period(item.data) and not _embedded_whole(item.data.get("lines"))
        if pack or period:
            wanted[item.id] = (item.kind, int(item.data.get("created") or 0))
    stored = Purchase.objects.filter(source__in=wanted).values_list("source", flat=True)
    for source in stored:
        del wanted[source]
    return {(kind, object_id): created for object_id, (kind, created) in wanted.items()}


def read(items: Iterable[Observation], known_lines: Mapping[str, Lines]) -> Found:
    """What these objects say: a pure function of them."""
    found = Found()
    for item in items:
        if item.deleted:
            continue
        match item.kind:
            case "checkout.session" if is_paid_pack(item.data):
                found.purchases.append(_from_session(item.data, known_lines))
            case "invoice":
                found.payments |= {
                    (payment_intent, item.id)
                    for payment_intent in invoice_payment_intent_ids(item.data)
                }
                if is_paid_period(item.data):
                    found.purchases.append(_from_invoice(item.data, known_lines))
            case "invoice_payment":
                payment_intent = id_of(dig(item.data, "payment", "payment_intent"))
                invoice = id_of(item.data.get("invoice"))
                if payment_intent and invoice:
                    found.payments.add((payment_intent, invoice))
            case "refund":
                found.reversals.append(_from_refund(item.data))
            case "dispute":
                found.reversals.append(_from_dispute(item.data))
    return found


def unplaced_payments(reversals: Sequence[PaymentReversal]) -> set[str]:
    """Payment intents of reversals of which nobody here knows what they paid for."""
    intents = {reversal.payment_intent_id for reversal in reversals if reversal.payment_intent_id}
    if not intents:
        return set()
    placed = set(
        Purchase.objects.filter(payment_intent_id__in=intents).values_list(
            "payment_intent_id", flat=True
        )
    ) | set(
        InvoicePayment.objects.filter(payment_intent_id__in=intents).values_list(
            "payment_intent_id", flat=True
        )
    )
    return intents - placed


def store(found: Found) -> set[str]:
    """Writes purchases, reversals and payments; returns the sources to settle."""
    if found.purchases:
        _store_purchases(found.purchases)
    if found.payments:
        _store_payments(found.payments)
    if found.reversals:
        _store_reversals(found.reversals)
    intents = {r.payment_intent_id for r in found.reversals if r.payment_intent_id}
    sources = {purchase.source for purchase in found.purchases}
    sources |= {invoice for _, invoice in found.payments}
    return sources | (_sources_paid_by(intents) if intents else set())


def settle(sources: Iterable[str], customer_ids: Iterable[str] = ()) -> list[Posted]:
    """Brings the ledger to where these purchases, and those of these customers, want it.

    Grants what is paid, attributed and priced and has no grant; takes back what was
    refunded or disputed, pro rata; gives back where that failed. Idempotent.
    """
    conditions = Q(source__in=set(sources))
    customers = set(customer_ids)
    if customers:
        conditions |= Q(stripe_customer_id__in=customers, user_id__isnull=True)
    purchases = list(Purchase.objects.filter(conditions).order_by("source").select_for_update())
    if not purchases:
        return []
    _attribute(purchases)
    posted = _grant([p for p in purchases if p.status != Purchase.Status.GRANTED])
    posted += ledger.post(_reversal_entries(purchases))
    return posted


def unpriced_with(price_ids: Iterable[str]) -> set[str]:
    """Sources of unpriced purchases that contain one of these prices, mapped by now."""
    contains = Q()
    for price_id in price_ids:
        contains |= Q(lines__contains=[{"price": price_id}])
    if not contains:
        return set()
    unpriced = Purchase.objects.filter(contains, status=Purchase.Status.UNPRICED)
    return set(unpriced.values_list("source", flat=True))


def sources_of(items: Iterable[Observation]) -> set[str]:
    """The purchases that these objects are, or are about, as far as we know of them."""
    ids = {item.id for item in items if item.kind in ("checkout.session", "invoice")}
    intents = {
        id_of(item.data.get("payment_intent")) for item in items if item.kind in REVERSALS
    } - {""}
    return ids | (_sources_paid_by(intents) if intents else set())


def _sources_paid_by(intents: Iterable[str]) -> set[str]:
    packs = Purchase.objects.filter(payment_intent_id__in=intents)
    invoices = InvoicePayment.objects.filter(payment_intent_id__in=intents)
    return {
        *packs.values_list("source", flat=True),
        *invoices.values_list("stripe_invoice_id", flat=True),
    }


def _from_session(session: StripeDict, known_lines: Mapping[str, Lines]) -> Purchase:
    lines = known_lines.get(session["id"]) or list_data(session.get("line_items"))
    return Purchase(
        source=session["id"],
        kind=Purchase.Kind.PACK,
        user_id=session_user_id(session) or None,
        stripe_customer_id=id_of(session.get("customer")),
        email=text(dig(session, "customer_details", "email") or session.get("customer_email")),
        payment_intent_id=id_of(session.get("payment_intent")),
        amount=session.get("amount_total") or 0,
        currency=text(session.get("currency")),
        lines=[_line(line) for line in lines],
        livemode=session.get("livemode") is True,
        created_at=dated(session),
    )


def _from_invoice(invoice: StripeDict, known_lines: Mapping[str, Lines]) -> Purchase:
    lines = known_lines.get(invoice["id"]) or list_data(invoice.get("lines"))
    intents = invoice_payment_intent_ids(invoice)
    return Purchase(
        source=invoice["id"],
        kind=Purchase.Kind.SUBSCRIPTION,
        user_id=metadata_user_id(invoice) or None,
        stripe_customer_id=id_of(invoice.get("customer")),
        email=text(invoice.get("customer_email")),
        payment_intent_id=intents[0] if intents else "",
        amount=invoice.get("amount_paid") or 0,
        currency=text(invoice.get("currency")),
        lines=[_line(line) for line in lines if not line_is_proration(line)],
        livemode=invoice.get("livemode") is True,
        created_at=dated(invoice),
    )


def _line(line: StripeDict) -> dict[str, Any]:
    return {
        "id": text(line.get("id")),
        "price": line_price_id(line),
        "quantity": line.get("quantity") if isinstance(line.get("quantity"), int) else 1,
        "description": text(line.get("description"))[:200],
    }


def _from_refund(refund: StripeDict) -> PaymentReversal:
    status = text(refund.get("status"))
    return PaymentReversal(
        stripe_id=refund["id"],
        kind=PaymentReversal.Kind.REFUND,
        payment_intent_id=id_of(refund.get("payment_intent")),
        charge_id=id_of(refund.get("charge")),
        amount=refund.get("amount") or 0,
        currency=text(refund.get("currency")),
        status=status,
        active=status not in ("failed", "canceled"),
        livemode=refund.get("livemode") is True,
        created_at=dated(refund),
    )


def _from_dispute(dispute: StripeDict) -> PaymentReversal:
    """Active while the funds are withdrawn: an inquiry moves no money."""
    movements = dispute.get("balance_transactions") or []
    withdrawn = sum(m.get("amount") or 0 for m in movements if isinstance(m, dict))
    return PaymentReversal(
        stripe_id=dispute["id"],
        kind=PaymentReversal.Kind.DISPUTE,
        payment_intent_id=id_of(dispute.get("payment_intent")),
        charge_id=id_of(dispute.get("charge")),
        amount=dispute.get("amount") or 0,
        currency=text(dispute.get("currency")),
        status=text(dispute.get("status")),
        active=withdrawn < 0,
        livemode=dispute.get("livemode") is True,
        created_at=dated(dispute),
    )


def _embedded_whole(lines: Any) -> bool:
    return isinstance(lines, dict) and "data" in lines and not lines.get("has_more")


def lock(found: Found, customer_ids: Iterable[str]) -> None:
    """One lock a customer, a payment and a purchase, in one order for everybody.

    Of two transactions that tell of one purchase (who bought it, that it was paid, that
    it was refunded) the later then sees what the earlier wrote.
    """
    keys = {purchase.source for purchase in found.purchases} | set(customer_ids)
    keys |= {p.payment_intent_id for p in found.purchases if p.payment_intent_id}
    keys |= {key for pair in found.payments for key in pair}
    intents = {r.payment_intent_id for r in found.reversals if r.payment_intent_id}
    keys |= intents
    keys |= set(
        InvoicePayment.objects.filter(payment_intent_id__in=intents).values_list(
            "stripe_invoice_id", flat=True
        )
    )
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(k) FROM"
            " (SELECT DISTINCT hashtextextended(t, 0) AS k FROM unnest(%s::text[]) t ORDER BY k) s",
            [sorted(keys)],
        )


NEW_PURCHASE = {
    "source": "text",
    "kind": "text",
    "user_id": "text",
    "stripe_customer_id": "text",
    "email": "text",
    "payment_intent_id": "text",
    "amount": "bigint",
    "currency": "text",
    "lines": "jsonb",
    "livemode": "bool",
    "created_at": "timestamptz",
}


def _store_purchases(purchases: Sequence[Purchase]) -> None:
    """New purchases; of known ones only what may come later: payment, user, amount."""
    names = ", ".join(NEW_PURCHASE)
    rows = as_json({name: getattr(p, name) for name in NEW_PURCHASE} for p in purchases)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO billing_purchases AS p (status, {names})
            SELECT %s, {names} FROM {recordset(NEW_PURCHASE)} ORDER BY source
            ON CONFLICT (source) DO UPDATE
            SET payment_intent_id =
                    coalesce(nullif(excluded.payment_intent_id, ''), p.payment_intent_id),
                user_id = coalesce(p.user_id, excluded.user_id),
                stripe_customer_id =
                    coalesce(nullif(excluded.stripe_customer_id, ''), p.stripe_customer_id),
                amount = excluded.amount, updated_at = now()
            WHERE (p.payment_intent_id, p.stripe_customer_id, p.amount, p.user_id)
                  IS DISTINCT FROM
                  (coalesce(nullif(excluded.payment_intent_id, ''), p.payment_intent_id),
                   coalesce(nullif(excluded.stripe_customer_id, ''), p.stripe_customer_id),
                   excluded.amount, coalesce(p.user_id, excluded.user_id))
            """,  # noqa: S608  (the columns are named above)
            [Purchase.Status.UNATTRIBUTED, rows],
        )


def _store_payments(payments: Iterable[tuple[str, str]]) -> None:
    ordered = sorted(payments)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_invoice_payments (payment_intent_id, stripe_invoice_id)
            SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING
            """,
            [[intent for intent, _ in ordered], [invoice for _, invoice in ordered]],
        )


def _store_reversals(reversals: Sequence[PaymentReversal]) -> None:
    PaymentReversal.objects.bulk_create(
        sorted(reversals, key=lambda reversal: reversal.stripe_id),
        update_conflicts=True,
        unique_fields=["stripe_id"],
        update_fields=["payment_intent_id", "charge_id", "amount", "status", "active"],
    )


def _attribute(purchases: Sequence[Purchase]) -> None:
    """Fills in who bought, where only the customer is known."""
    nameless = [p for p in purchases if not p.user_id and p.stripe_customer_id]
    if not nameless:
        return
    customers = {p.stripe_customer_id for p in nameless}
    known = dict(
        BillingCustomer.objects.filter(
            stripe_customer_id__in=customers, user_id__isnull=False
        ).values_list("stripe_customer_id", "user_id")
    )
    for purchase in nameless:
        purchase.user_id = known.get(purchase.stripe_customer_id)


def _grant(purchases: Sequence[Purchase]) -> list[Posted]:
    """Grants what can be granted, and notes of the rest what is missing."""
    worth = credits_by_price(line["price"] for p in purchases for line in p.lines)
    entries: list[Entry] = []
    given = ledger.existing_sources([s for p in purchases for s in grant_sources(p)])
    for purchase in purchases:
        mapped = [line for line in purchase.lines if line["price"] in worth]
        purchase.credits = (
            sum(worth[line["price"]] * line["quantity"] for line in mapped) if mapped else None
        )
        if not mapped:
            purchase.status = Purchase.Status.UNPRICED
        elif not purchase.user_id:
            purchase.status = Purchase.Status.UNATTRIBUTED
        else:
            purchase.status = Purchase.Status.GRANTED
            if whole_source(purchase) not in given:
                entries += _grant_entries(purchase, mapped, worth)
    posted = ledger.post(entries)
    _mark(purchases)
    return posted


MARKED = {"id": "bigint", "user_id": "text", "credits": "bigint", "status": "text"}


def _mark(purchases: Sequence[Purchase]) -> None:
    """Notes who bought, what it was worth, and whether it was granted (just now)."""
    if not purchases:
        return
    rows = as_json({name: getattr(p, name) for name in MARKED} for p in purchases)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE billing_purchases AS p
            SET user_id = n.user_id, credits = n.credits, status = n.status,
                granted_at = CASE WHEN n.status = %s THEN now() END, updated_at = now()
            FROM {recordset(MARKED)}
            WHERE p.id = n.id
              AND (p.user_id, p.credits, p.status)
                  IS DISTINCT FROM (n.user_id, n.credits, n.status)
            """,  # noqa: S608  (the columns are named above)
            [Purchase.Status.GRANTED, rows],
        )


def _grant_entries(purchase: Purchase, lines: Lines, worth: Mapping[str, int]) -> list[Entry]:
    """A pack is one entry, keyed by its session; a period one for each invoice line."""
    assert purchase.user_id  # noqa: S101  (narrows the type)
    kind = entry_kind(purchase)
    if purchase.kind == Purchase.Kind.PACK:
        return [
            Entry(
                purchase.user_id,
                sum(worth[line["price"]] * line["quantity"] for line in lines),
                kind,
                whole_source(purchase),
                f"Paid in checkout session {purchase.source}",
            )
        ]
    return [
        Entry(
            purchase.user_id,
            worth[line["price"]] * line["quantity"],
            kind,
            f"{whole_source(purchase)}:{line['id']}",
            f"Paid with invoice {purchase.source}",
        )
        for line in lines
    ]


def entry_kind(purchase: Purchase) -> CreditEntry.Kind:
    if purchase.kind == Purchase.Kind.PACK:
        return CreditEntry.Kind.PACK
    return CreditEntry.Kind.SUBSCRIPTION


def whole_source(purchase: Purchase) -> str:
    prefix = "checkout" if purchase.kind == Purchase.Kind.PACK else "invoice"
    return f"{prefix}:{purchase.source}"


def grant_sources(purchase: Purchase) -> list[str]:
    """Every source under which this purchase can have been granted."""
    whole = whole_source(purchase)
    return [whole, *(f"{whole}:{line['id']}" for line in purchase.lines)]


def _reversal_entries(purchases: Sequence[Purchase]) -> list[Entry]:
    """What is to be taken or given back for the refunds and disputes of these purchases."""
    granted = [p for p in purchases if p.status == Purchase.Status.GRANTED and p.user_id]
    by_source = _reversals_of(granted)
    if not by_source:
        return []
    sources = [s for p in granted for s in grant_sources(p)]
    sources += [s for rs in by_source.values() for r in rs for s in (_taken(r), _given_back(r))]
    nominal = ledger.nominal_by_source(sources)
    entries: list[Entry] = []
    for purchase in granted:
        if purchase.source in by_source:
            entries += _entries_to_target(purchase, by_source[purchase.source], nominal)
    return entries


def _entries_to_target(
    purchase: Purchase, reversals: Sequence[PaymentReversal], nominal: Mapping[str, int]
) -> list[Entry]:
    """Steps to the share of the grant that the money now taken back stands for.

    The share is rounded down once, over the sum: the parts of a refund in three add up
    to the whole, whatever their order.
    """
    assert purchase.user_id  # noqa: S101  (narrows the type)
    total = sum(nominal.get(source, 0) for source in grant_sources(purchase))
    is_taken = {r.stripe_id: _taken(r) in nominal for r in reversals}
    is_returned = {r.stripe_id: _given_back(r) in nominal for r in reversals}
    counted = {
        r.stripe_id: r.amount
        for r in reversals
        if is_taken[r.stripe_id] and not is_returned[r.stripe_id]
    }
    current = -sum(
        nominal.get(source, 0) for r in reversals for source in (_taken(r), _given_back(r))
    )
    entries: list[Entry] = []
    for reversal in reversals:
        if reversal.active and not is_taken[reversal.stripe_id]:
            counted[reversal.stripe_id] = reversal.amount
            source = _taken(reversal)
        elif not reversal.active and reversal.stripe_id in counted:
            del counted[reversal.stripe_id]
            source = _given_back(reversal)
        else:
            continue
        target = _share(total, sum(counted.values()), purchase.amount)
        kind, reason = _wording(reversal)
        entries.append(Entry(purchase.user_id, current - target, kind, source, reason))
        current = target
    return entries


def _share(granted: int, reversed_amount: int, paid: int) -> int:
    """Credits that `reversed_amount` of `paid` (minor units) stands for, rounded down."""
    return granted * min(reversed_amount, paid) // paid if paid > 0 else 0


def _reversals_of(purchases: Sequence[Purchase]) -> dict[str, list[PaymentReversal]]:
    """The reversals of each purchase's payments, by its source, oldest first."""
    source_of = {p.payment_intent_id: p.source for p in purchases if p.payment_intent_id}
    invoices = {p.source for p in purchases if p.kind == Purchase.Kind.SUBSCRIPTION}
    source_of |= dict(
        InvoicePayment.objects.filter(stripe_invoice_id__in=invoices).values_list(
            "payment_intent_id", "stripe_invoice_id"
        )
    )
    found: dict[str, list[PaymentReversal]] = defaultdict(list)
    for reversal in PaymentReversal.objects.filter(payment_intent_id__in=source_of).order_by(
        "created_at", "stripe_id"
    ):
        found[source_of[reversal.payment_intent_id]].append(reversal)
    return found


def _taken(reversal: PaymentReversal) -> str:
    return f"{reversal.kind}:{reversal.stripe_id}"


def _given_back(reversal: PaymentReversal) -> str:
    return f"{reversal.kind}_reversed:{reversal.stripe_id}"


def _wording(reversal: PaymentReversal) -> tuple[CreditEntry.Kind, str]:
    match (reversal.kind, reversal.active):
        case (PaymentReversal.Kind.REFUND, True):
            return CreditEntry.Kind.REFUND, f"Refund {reversal.stripe_id}"
        case (PaymentReversal.Kind.REFUND, False):
            return CreditEntry.Kind.REFUND_FAILED, f"Refund {reversal.stripe_id} did not go through"
        case (_, True):
            return CreditEntry.Kind.DISPUTE, f"Dispute {reversal.stripe_id}"
        case _:
            return CreditEntry.Kind.DISPUTE_WON, f"Funds of dispute {reversal.stripe_id} are back"
