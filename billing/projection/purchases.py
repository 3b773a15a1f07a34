"""What was paid and what was taken back, as Stripe's objects say it (DESIGN, rule 5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q

from billing.database import as_json, cursor, recordset
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
from billing.models import InvoicePayment, PaymentReversal, Purchase
from billing.projection.accounts import dated, text

GRANTING_REASONS = ("subscription_create", "subscription_cycle")
REVERSALS = ("refund", "dispute")

Lines = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Paid:
    """A purchase as its session or invoice shows it. The fields are billing.models.Purchase's."""

    source: str
    kind: str
    user_id: str | None
    stripe_customer_id: str
    email: str
    payment_intent_id: str
    amount: int
    currency: str
    lines: Lines
    livemode: bool
    created_at: datetime


@dataclass(slots=True)
class Found:
    """What a batch of objects says of purchases: their new rows, and what to settle."""

    purchases: list[Paid] = field(default_factory=list)
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
    if wanted:
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
                intents = invoice_payment_intent_ids(item.data)
                found.payments |= {(payment_intent, item.id) for payment_intent in intents}
                if is_paid_period(item.data):
                    found.purchases.append(_from_invoice(item.data, intents, known_lines))
            case "invoice_payment":
                payment_intent = id_of(dig(item.data, "payment", "payment_intent"))
                invoice = id_of(item.data.get("invoice"))
                if payment_intent and invoice:
                    found.payments.add((payment_intent, invoice))
            case "charge" if invoice := id_of(item.data.get("invoice")):  # before basil
                if payment_intent := id_of(item.data.get("payment_intent")):
                    found.payments.add((payment_intent, invoice))
            case "refund" | "dispute":
                found.reversals.append(reversal_of(item.data))
    return found


def tried_in_vain(items: Iterable[Observation]) -> set[str]:
    """Invoices that Stripe has tried to charge, and that were not paid when it showed them.

    Of these no event says which payment intent is to pay them: `invoice_payment.paid` tells of
    the others.
    """
    return {
        item.id
        for item in items
        if item.kind == "invoice" and not item.deleted and item.data.get("attempt_count")
        if not invoice_is_paid(item.data)
    }


def without_payments(invoices: set[str]) -> set[str]:
    """Those of these invoices of which no payment intent is known here."""
    if not invoices:
        return set()
    known = InvoicePayment.objects.filter(stripe_invoice_id__in=invoices)
    return invoices - set(known.values_list("stripe_invoice_id", flat=True))


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


def _from_session(session: StripeDict, known_lines: Mapping[str, Lines]) -> Paid:
    lines = known_lines.get(session["id"]) or list_data(session.get("line_items"))
    return Paid(
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


def _from_invoice(
    invoice: StripeDict, intents: Sequence[str], known_lines: Mapping[str, Lines]
) -> Paid:
    lines = known_lines.get(invoice["id"]) or list_data(invoice.get("lines"))
    return Paid(
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


def reversal_of(data: StripeDict) -> PaymentReversal:
    """The unsaved row of a refund or of a dispute."""
    return _from_refund(data) if data.get("object") == "refund" else _from_dispute(data)


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
    """Locks every customer, payment and purchase that a batch tells of (see `lock_keys`)."""
    keys = {purchase.source for purchase in found.purchases} | set(customer_ids)
    keys |= {p.payment_intent_id for p in found.purchases if p.payment_intent_id}
    keys |= {key for pair in found.payments for key in pair}
    intents = {r.payment_intent_id for r in found.reversals if r.payment_intent_id}
    if intents:
        keys |= intents
        keys |= set(
            InvoicePayment.objects.filter(payment_intent_id__in=intents).values_list(
                "stripe_invoice_id", flat=True
            )
        )
    lock_keys(keys)


def lock_keys(keys: Iterable[str]) -> None:
    """One lock an id, in one order for everybody, until the transaction ends.

    Of two transactions that tell of one purchase (who bought it, that it was paid, that
    it was refunded) the later then sees what the earlier wrote.
    """
    wanted = as_json(keys)
    if wanted == "[]":
        return
    with cursor() as bound:
        bound.execute(
            "SELECT pg_advisory_xact_lock(k) FROM (SELECT DISTINCT hashtextextended(t, 0) AS k"
            " FROM json_array_elements_text(%s::json) t ORDER BY k) s",
            [wanted],
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


def _store_purchases(purchases: Sequence[Paid]) -> None:
    """New purchases; of known ones only what may come later: payment, user, amount."""
    names = ", ".join(NEW_PURCHASE)
    with cursor() as bound:
        bound.execute(
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
            [Purchase.Status.UNATTRIBUTED, as_json(purchases)],
        )


def _store_payments(payments: Iterable[tuple[str, str]]) -> None:
    columns = {"payment_intent_id": "text", "stripe_invoice_id": "text"}
    rows = [dict(zip(columns, pair, strict=True)) for pair in sorted(payments)]
    with cursor() as bound:
        bound.execute(
            "INSERT INTO billing_invoice_payments (payment_intent_id, stripe_invoice_id)"  # noqa: S608
            f" SELECT payment_intent_id, stripe_invoice_id FROM {recordset(columns)}"
            " ON CONFLICT DO NOTHING",
            [as_json(rows)],
        )


def _store_reversals(reversals: Sequence[PaymentReversal]) -> None:
    PaymentReversal.objects.bulk_create(
        sorted(reversals, key=lambda reversal: reversal.stripe_id),
        update_conflicts=True,
        unique_fields=["stripe_id"],
        update_fields=["payment_intent_id", "charge_id", "amount", "status", "active"],
    )
