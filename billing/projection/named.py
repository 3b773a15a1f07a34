"""A purchase that a person names: looked up, and granted on their word once and for all."""

from dataclasses import asdict, dataclass

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from billing.gateway.client import Gateway, StripeNotFoundError, gateway
from billing.gateway.observation import Observation
from billing.gateway.shapes import id_of
from billing.models import BillingCustomer, CreditEntry, InvoicePayment, Purchase
from billing.projection import accounts, ledger, purchases, settlement
from billing.projection.accounts import Attribution
from billing.projection.intake import fetch, lines_of
from billing.projection.ledger import Entry, LedgerError, Posted
from billing.projection.prices import credits_by_price


class NotAPurchaseError(Exception):
    """The id names nothing that was paid and could be worth credits. The text says why."""


class AlreadyGrantedError(Exception):
    """The purchase has its credits. The text says which entry gave them."""


class BoughtByAnotherError(Exception):
    """The purchase is another user's. The text says whose."""


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
    purchase.user_id = _buyer(purchase)
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
    row = _row_of(purchase)
    given = ledger.existing_sources(settlement.grant_sources(row))
    is_worthless = row.status == Purchase.Status.GRANTED and not row.credits
    if given or is_worthless:
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


def take_back(purchase: Purchase, user_id: str, amount: int, reason: str) -> Posted:
    """Undoes a grant by hand of this purchase, inside the caller's transaction, once.

    `amount` is what was granted. No webhook grants it again, and a later refund takes
    nothing more. Raises ledger.LedgerError where a refund or dispute took credits back
    meanwhile, where the balance does not have them any more, and for a second time.
    """
    purchases.lock_keys({purchase.source, purchase.payment_intent_id} - {""})
    if settlement.taken_back(purchase):
        raise LedgerError(
            f"{purchase.source} was refunded or disputed meanwhile, which took credits back."
        )
    source = settlement.undo_source(purchase)
    posted = ledger.post([Entry(user_id, -amount, CreditEntry.Kind.CORRECTION, source, reason)])
    if not posted:
        raise LedgerError(f"The grant of {purchase.source} was taken back before.")
    if posted[0].owed_delta > 0:
        raise LedgerError("The credits were spent meanwhile.")
    return posted[0]


def attribute_by_hand(purchase: Purchase, user_id: str) -> list[Posted]:
    """Says whose a looked-up purchase is, inside the caller's transaction, and settles it.

    A Stripe customer of whom nobody knows the user becomes this user's too, with what
    else they bought. Raises BoughtByAnotherError.
    """
    customer_id = purchase.stripe_customer_id
    purchases.lock_keys({purchase.source, purchase.payment_intent_id, customer_id} - {""})
    row = _row_of(purchase)
    buyer = _buyer(row)
    if buyer and buyer != user_id:
        raise BoughtByAnotherError(f"{row.source} is user {buyer}'s already.")
    Purchase.objects.filter(pk=row.pk).update(user_id=user_id, updated_at=Now())
    known: set[str] = set()
    if customer_id and not buyer:
        word = Attribution(
            customer_id, user_id, accounts.OPERATOR, timezone.now(), purchase.livemode
        )
        known = accounts.attribute([word])
    return settlement.settle([row.source], known)


def _row_of(purchase: Purchase) -> Purchase:
    """The row of a looked-up purchase, made where it is missing."""
    row, _ = Purchase.objects.get_or_create(
        source=purchase.source,
        defaults={
            field.attname: getattr(purchase, field.attname)
            for field in Purchase._meta.concrete_fields
            if field.attname not in ("id", "updated_at")
        },
    )
    return row


def _buyer(purchase: Purchase) -> str | None:
    """Who bought it, as far as the purchase and its customer say (see `settlement.settle`)."""
    customer = (
        BillingCustomer.objects.filter(stripe_customer_id=purchase.stripe_customer_id).first()
        if purchase.stripe_customer_id and purchase.status != Purchase.Status.GRANTED
        else None
    )
    if customer is None:
        return purchase.user_id
    if customer.attributed_by == accounts.OPERATOR:
        return customer.user_id
    return purchase.user_id or customer.user_id


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
