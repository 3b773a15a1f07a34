"""Readers that take Stripe's objects in the shapes of old and of new API versions.

The table in STRIPE.md (Versions and shapes) is this file's specification. Every reader
is a pure function of plain JSON and never raises on a missing field.
"""

from typing import Any

from billing.gateway.observation import StripeDict


def clean(value: Any) -> Any:
    """The JSON value without what PostgreSQL's jsonb refuses: NUL and lone surrogates."""
    if isinstance(value, str):
        if "\x00" not in value and value.isprintable():
            return value
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def id_of(value: Any) -> str:
    """The id in a field that holds an id or the expanded object; '' for neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return str(value.get("id") or "")
    return ""


def dig(data: Any, *keys: str) -> Any:
    """A nested field, None where the path breaks off."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def list_data(value: Any) -> list[StripeDict]:
    """The objects in an embedded list, [] where there is none."""
    items = dig(value, "data")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def invoice_subscription_id(invoice: StripeDict) -> str:
    """`parent.subscription_details.subscription` since basil, `subscription` before."""
    return id_of(dig(invoice, "parent", "subscription_details", "subscription")) or id_of(
        invoice.get("subscription")
    )


def invoice_payment_intent_ids(invoice: StripeDict) -> list[str]:
    """The payment intents behind an invoice, where it names them at all.

    Since basil they are in `payments`, which Stripe includes only when asked to.
    """
    found = [
        id_of(dig(payment, "payment", "payment_intent"))
        for payment in list_data(invoice.get("payments"))
    ]
    found.append(id_of(invoice.get("payment_intent")))
    return [payment_intent for payment_intent in found if payment_intent]


def invoice_is_paid(invoice: StripeDict) -> bool:
    return invoice.get("status") == "paid" or invoice.get("paid") is True


def line_price_id(line: StripeDict) -> str:
    """`pricing.price_details.price` since basil, `price` before; also a session's line."""
    return id_of(dig(line, "pricing", "price_details", "price")) or id_of(line.get("price"))


def line_is_proration(line: StripeDict) -> bool:
    parent = line.get("parent") or {}
    return bool(
        line.get("proration")
        or dig(parent, "subscription_item_details", "proration")
        or dig(parent, "invoice_item_details", "proration")
    )


def subscription_items(subscription: StripeDict) -> list[StripeDict]:
    return list_data(subscription.get("items"))


def subscription_period(subscription: StripeDict) -> tuple[int | None, int | None]:
    """Start and end of the current period, Unix seconds.

    On the items since basil: with several, the period that ends first decides.
    """
    spans = [
        (item.get("current_period_start"), item["current_period_end"])
        for item in subscription_items(subscription)
        if isinstance(item.get("current_period_end"), int)
    ]
    if spans:
        return min(spans, key=lambda span: span[1])
    return subscription.get("current_period_start"), subscription.get("current_period_end")


def event_subscription_id(data: StripeDict) -> str:
    """The subscription that an event's object is, or belongs to."""
    if data.get("object") == "subscription":
        return id_of(data.get("id"))
    if data.get("object") == "invoice":
        return invoice_subscription_id(data)
    return id_of(data.get("subscription")) or id_of(
        dig(data, "parent", "subscription_details", "subscription")
    )


def event_customer_id(data: StripeDict) -> str:
    """The customer that an event's object is, or belongs to."""
    return (
        id_of(data.get("id")) if data.get("object") == "customer" else id_of(data.get("customer"))
    )


def metadata_user_id(data: StripeDict) -> str:
    """The application's user, as the object's own metadata names them."""
    for metadata in (
        data.get("metadata"),
        dig(data, "parent", "subscription_details", "metadata"),
        dig(data, "subscription_details", "metadata"),
    ):
        user_id = dig(metadata, "user_id")
        if user_id:
            return str(user_id)
    return ""


def session_user_id(session: StripeDict) -> str:
    """Who bought: `client_reference_id`, then `metadata.user_id` (STRIPE.md, Checkout)."""
    return str(session.get("client_reference_id") or "") or metadata_user_id(session)


def is_thin_event(body: StripeDict) -> bool:
    """A v2 event names an object instead of carrying it; only snapshots are handled."""
    return str(body.get("object", "")).startswith("v2.")
