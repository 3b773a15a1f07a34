"""A purchase that a person names: looked up, and granted on their word once and for all."""

from dataclasses import asdict, dataclass

from django.db.models import Q
from django.db.models.functions import Now

from billing.gateway.client import Gateway, StripeNotFoundError, gateway
from billing.gateway.observation import Observation
from billing.gateway.shapes import id_of
from billing.models import BillingCustomer, InvoicePayment, Purchase
from billing.projection import ledger, purchases, settlement
from billing.projection.intake import fetch, lines_of
from billing.projection.ledger import Entry, Posted
from billing.projection.prices import credits_by_price


class NotAPurchaseError(Exception):
    """The id names nothing that was paid and could be worth credits. The text says why."""


class AlreadyGrantedError(Exception):
    """The purchase has its credits. The text says which entry gave them."""


@dataclass(frozen=True, slots=True)
class NamedPurchase:
    """What a named purchase was, what it is worth by our prices, and what granted it.

    `purchase` is our row, or an unsaved one read from Stripe. `worth` is None where no
    price in it is mapped to credits; `granted_by` are the ledger's sources, if any.
    """

    purchase: Purchase
    worth: int | None
    granted_by: list[str]


def look_up(purchase_id: str) -> NamedPurchase:
    """A checkout session, invoice or payment intent as a purchase. Writes nothing.

    Looks here first, then at Stripe; not to be called inside a transaction. Raises
    NotAPurchaseError for what is unpaid or no purchase, and the GatewayErrors.
    """
    purchase = _known(purchase_id) or _read(_at_stripe(purchase_id, gateway()))
    worth = credits_by_price(line["price"] for line in purchase.lines)
    mapped = [line for line in purchase.lines if line["price"] in worth]
    if not purchase.user_id and purchase.stripe_customer_id:
        purchase.user_id = (
            BillingCustomer.objects.filter(stripe_customer_id=purchase.stripe_customer_id)
            .values_list("user_id", flat=True)
            .first()
        )
    return NamedPurchase(
        purchase,
        sum(worth[line["price"]] * line["quantity"] for line in mapped) if mapped else None,
        sorted(ledger.existing_sources(settlement.grant_sources(purchase))),
    )


def grant_by_hand(purchase: Purchase, user_id: str, amount: int, reason: str) -> Posted:
    """Grants `amount` for a looked-up purchase, inside the caller's transaction.

    Keyed so that a later webhook, replay or sync of the purchase grants nothing more;
    what was refunded of it is taken back at once. Raises AlreadyGrantedError and
    ledger.LedgerError.
    """
    purchases.lock_keys({purchase.source, purchase.payment_intent_id} - {""})
    row, _ = Purchase.objects.get_or_create(
        source=purchase.source,
        defaults={
            field.attname: getattr(purchase, field.attname)
            for field in Purchase._meta.concrete_fields
            if field.attname not in ("id", "updated_at")
        },
    )
    given = ledger.existing_sources(settlement.grant_sources(row))
    if given or row.status == Purchase.Status.GRANTED:
        by = f" (ledger entry {min(given)})" if given else ""
        raise AlreadyGrantedError(f"{row.source} has its credits already{by}.")
    entry = Entry(user_id, amount, settlement.entry_kind(row), settlement.whole_source(row), reason)
    [posted] = ledger.post([entry])
    Purchase.objects.filter(pk=row.pk).update(
        user_id=user_id,
        credits=amount,
        status=Purchase.Status.GRANTED,
        granted_at=Now(),
        updated_at=Now(),
    )
    settlement.settle([row.source])
    return posted


def _known(purchase_id: str) -> Purchase | None:
    if not purchase_id:
        raise NotAPurchaseError("Name a purchase: cs_…, in_… or pi_….")
    invoices = InvoicePayment.objects.filter(payment_intent_id=purchase_id)
    return Purchase.objects.filter(
        Q(source=purchase_id)
        | Q(payment_intent_id=purchase_id)
        | Q(source__in=invoices.values("stripe_invoice_id"))
    ).first()


def _at_stripe(purchase_id: str, stripe: Gateway) -> Observation:
    """The session or invoice behind an id. Raises NotAPurchaseError and GatewayErrors."""
    prefix = purchase_id.partition("_")[0]
    if prefix == "cs":
        session = fetch("checkout.session", purchase_id, stripe=stripe)
        invoice_id = id_of(session.data.get("invoice"))
        is_subscription = session.data.get("mode") == "subscription" and invoice_id
        return fetch("invoice", invoice_id, stripe=stripe) if is_subscription else session
    if prefix == "in":
        return fetch("invoice", purchase_id, stripe=stripe)
    if prefix != "pi":
        raise NotAPurchaseError(
            f"{purchase_id[:60]!r} names no purchase: give a checkout session (cs_…),"
            " an invoice (in_…) or a payment intent (pi_…)."
        )
    stripe.retrieve("payment_intent", purchase_id)
    sessions = stripe.page("/v1/checkout/sessions", {"payment_intent": purchase_id})
    if sessions.data:
        return fetch("checkout.session", sessions.data[0]["id"], stripe=stripe)
    payments = stripe.page(
        "/v1/invoice_payments",
        {"payment": {"type": "payment_intent", "payment_intent": purchase_id}},
    )
    if payments.data:
        return fetch("invoice", id_of(payments.data[0]["invoice"]), stripe=stripe)
    raise StripeNotFoundError(f"Stripe knows no session and no invoice that {purchase_id} paid.")


def _read(observation: Observation) -> Purchase:
    """An unsaved purchase. Raises NotAPurchaseError for what is not paid."""
    if not purchases.is_paid_pack(observation.data) and not purchases.is_paid_period(
        observation.data
    ):
        raise NotAPurchaseError(
            f"{observation.id} is not a paid pack nor a paid period of a subscription"
            f" (status {observation.data.get('status')!r},"
            f" payment {observation.data.get('payment_status') or 'not stated'!r})."
        )
    wanted = purchases.lines_wanted([observation], {})
    lines = lines_of(wanted, gateway()) if wanted else {}
    [paid] = purchases.read([observation], lines).purchases
    return Purchase(status=Purchase.Status.UNATTRIBUTED, **asdict(paid))
