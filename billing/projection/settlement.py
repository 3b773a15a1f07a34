"""What a purchase does to the ledger: its grant, and what refunds and disputes take back.

Everything here follows from what is stored, not from the events that told of it, so that
a webhook, its replay, a sync and a support agent converge on the same entries.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from billing.database import TEXTS, as_json, cursor, recordset
from billing.models import CreditEntry, PaymentReversal, Purchase
from billing.projection import ledger
from billing.projection.ledger import Entry, Posted
from billing.projection.prices import credits_by_price
from billing.projection.purchases import Lines


@dataclass(slots=True)
class Bought:
    """A purchase's row under its lock, with the user that its customer is known to be."""

    id: int
    source: str
    kind: str
    status: str
    user_id: str | None
    payment_intent_id: str
    amount: int
    lines: Lines
    in_opening: bool = False
    credits: int | None = None


def settle(sources: Iterable[str], customer_ids: Iterable[str] = ()) -> list[Posted]:
    """Brings the ledger to where these purchases, and those of these customers, want it.

    Grants what is paid, attributed and priced and has no grant; takes back what was
    refunded or disputed, pro rata; gives back where that failed. Idempotent.
    """
    purchases = _locked(set(sources), set(customer_ids))
    posted = _grant([p for p in purchases if p.status != Purchase.Status.GRANTED])
    posted += ledger.post(_reversal_entries(purchases))
    return posted


def _locked(sources: set[str], customer_ids: set[str]) -> list[Bought]:
    """Locks these purchases, and those of these customers that have no user yet.

    Until it is granted, an operator's word on the customer stands over whom the session
    or the invoice names; what was granted stays with the user who got it.
    """
    if not sources and not customer_ids:
        return []
    with cursor() as bound:
        bound.execute(
            f"""
            SELECT p.id, p.source, p.kind, p.status,
                   CASE WHEN p.status <> 'granted' AND c.attributed_by = 'operator'
                        THEN c.user_id ELSE coalesce(p.user_id, c.user_id) END,
                   p.payment_intent_id, p.amount, p.lines::json,
                   EXISTS (SELECT FROM billing_adoption a WHERE p.created_at < a.adopted_at)
            FROM billing_purchases p
            LEFT JOIN billing_customers c USING (stripe_customer_id)
            WHERE p.source = ANY({TEXTS})
               OR p.user_id IS NULL AND p.stripe_customer_id = ANY({TEXTS})
            ORDER BY p.source FOR UPDATE OF p
            """,  # noqa: S608  (TEXTS stands in billing.database)
            [as_json(sources), as_json(customer_ids)],
        )
        return [Bought(*row) for row in bound.fetchall()]


def _grant(purchases: Sequence[Bought]) -> list[Posted]:
    """Grants what can be granted, and notes of the rest what is missing."""
    worth = credits_by_price(line["price"] for p in purchases for line in p.lines)
    entries: list[Entry] = []
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
            entries += _grant_entries(purchase, mapped, worth)
    posted = ledger.post(entries)
    _mark(purchases)
    return posted


MARKED = {"id": "bigint", "user_id": "text", "credits": "bigint", "status": "text"}


def _mark(purchases: Sequence[Bought]) -> None:
    """Notes who bought, what it was worth, and whether it was granted (just now)."""
    if not purchases:
        return
    with cursor() as bound:
        bound.execute(
            f"""
            UPDATE billing_purchases AS p
            SET user_id = n.user_id, credits = n.credits, status = n.status,
                granted_at = CASE WHEN n.status = %s THEN now() END, updated_at = now()
            FROM {recordset(MARKED)}
            WHERE p.id = n.id
              AND (p.user_id, p.credits, p.status)
                  IS DISTINCT FROM (n.user_id, n.credits, n.status)
            """,  # noqa: S608  (the columns are named above)
            [Purchase.Status.GRANTED, as_json(purchases)],
        )


def _grant_entries(purchase: Bought, lines: Lines, worth: Mapping[str, int]) -> list[Entry]:
    """A pack is one entry, keyed by its session; a period one for each invoice line.

    An operator's grant for a named invoice stands for all of its lines.
    """
    assert purchase.user_id  # noqa: S101  (narrows the type)
    kind, whole = entry_kind(purchase), whole_source(purchase)
    if purchase.kind == Purchase.Kind.PACK:
        return [
            Entry(
                purchase.user_id,
                sum(worth[line["price"]] * line["quantity"] for line in lines),
                kind,
                whole,
                f"Paid in checkout session {purchase.source}",
                in_opening=purchase.in_opening,
            )
        ]
    return [
        Entry(
            purchase.user_id,
            worth[line["price"]] * line["quantity"],
            kind,
            f"{whole}:{line['id']}",
            f"Paid with invoice {purchase.source}",
            covered_by=whole,
            in_opening=purchase.in_opening,
        )
        for line in lines
    ]


def entry_kind(purchase: Bought | Purchase) -> CreditEntry.Kind:
    if purchase.kind == Purchase.Kind.PACK:
        return CreditEntry.Kind.PACK
    return CreditEntry.Kind.SUBSCRIPTION


def whole_source(purchase: Bought | Purchase) -> str:
    prefix = "checkout" if purchase.kind == Purchase.Kind.PACK else "invoice"
    return f"{prefix}:{purchase.source}"


def undo_source(purchase: Bought | Purchase) -> str:
    """The source under which an operator's grant of this purchase is taken back."""
    return f"{whole_source(purchase)}:undone"


def grant_sources(purchase: Bought | Purchase) -> list[str]:
    """Every source under which this purchase can have been granted, or that grant undone.

    A later refund takes its share of their sum: of a grant that was undone, nothing.
    """
    whole = whole_source(purchase)
    return [whole, *(f"{whole}:{line['id']}" for line in purchase.lines), undo_source(purchase)]


def reversal_sources(reversal: PaymentReversal) -> tuple[str, str]:
    """The sources under which a refund or dispute takes credits, and gives them back."""
    return _taken(reversal), _given_back(reversal)


def taken_back(purchase: Purchase) -> int:
    """Credits that refunds and disputes of this purchase have taken back by now."""
    reversals = _reversals_of([purchase]).get(purchase.source, [])
    sources = [source for r in reversals for source in reversal_sources(r)]
    return -sum(ledger.nominal_by_source(sources).values())


def _reversal_entries(purchases: Sequence[Bought]) -> list[Entry]:
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
    purchase: Bought, reversals: Sequence[PaymentReversal], nominal: Mapping[str, int]
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
        entries.append(
            Entry(
                purchase.user_id,
                current - target,
                kind,
                source,
                reason,
                in_opening=purchase.in_opening and _is_before(reversal),
            )
        )
        current = target
    return entries


def _share(granted: int, reversed_amount: int, paid: int) -> int:
    """Credits that `reversed_amount` of `paid` (minor units) stands for, rounded down."""
    return granted * min(reversed_amount, paid) // paid if paid > 0 else 0


def _reversals_of(purchases: Sequence[Bought | Purchase]) -> dict[str, list[PaymentReversal]]:
    """The reversals of each purchase's payments, by its source, oldest first."""
    if not purchases:
        return {}
    source_of = {p.payment_intent_id: p.source for p in purchases if p.payment_intent_id}
    invoices = {p.source for p in purchases if p.kind == Purchase.Kind.SUBSCRIPTION}
    with cursor() as bound:
        bound.execute(
            "SELECT payment_intent_id, stripe_invoice_id FROM billing_invoice_payments"  # noqa: S608
            f" WHERE stripe_invoice_id = ANY({TEXTS})",
            [as_json(invoices)],
        )
        source_of |= dict(bound.fetchall())
    found: dict[str, list[PaymentReversal]] = defaultdict(list)
    reversals = PaymentReversal.objects.raw(
        "SELECT r.*, EXISTS (SELECT FROM billing_adoption a WHERE r.created_at < a.adopted_at)"  # noqa: S608
        " AS in_opening FROM billing_payment_reversals r"
        f" WHERE payment_intent_id = ANY({TEXTS})"
        " ORDER BY created_at, stripe_id",
        [as_json(source_of)],
    )
    for reversal in reversals:
        found[source_of[reversal.payment_intent_id]].append(reversal)
    return found


def _is_before(reversal: PaymentReversal) -> bool:
    """Whether it was before the tables were adopted; its return is told by when it is seen."""
    return bool(getattr(reversal, "in_opening", False)) and reversal.active


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
