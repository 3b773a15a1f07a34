"""Objects made by hand: of kinds and shapes that the sandbox does not have, and minimal ones."""

import copy
from collections.abc import Sequence
from typing import Any

from billing.gateway.observation import StripeDict

CREATED = 1_750_000_000
COUPON = {
    "id": "half",
    "object": "coupon",
    "created": CREATED,
    "duration": "once",
    "livemode": False,
    "metadata": {"campaign": "spring"},
    "percent_off": 50.0,
    "valid": True,
}
TAX_RATE = {
    "id": "txr_1",
    "object": "tax_rate",
    "active": True,
    "created": CREATED,
    "display_name": "VAT",
    "inclusive": False,
    "livemode": False,
    "metadata": {},
    "percentage": 19.0,
}


def thing(kind: str, object_id: str, **given: Any) -> StripeDict:
    """An object with what most kinds have, and what is given."""
    return {
        "id": object_id,
        "object": kind,
        "created": CREATED,
        "livemode": False,
        "metadata": {},
        **given,
    }


def listing(*items: StripeDict) -> StripeDict:
    """A list as it stands in another object."""
    return {"object": "list", "data": list(items), "has_more": False}


def objects(world: Sequence[StripeDict]) -> list[StripeDict]:
    """Hand-made objects that refer to those of `world`."""
    by_kind: dict[str, list[StripeDict]] = {}
    for item in world:
        by_kind.setdefault(item["object"], []).append(item)
    return [
        COUPON,
        TAX_RATE,
        *money(by_kind),
        *people(by_kind),
        taxed_subscription(by_kind["subscription"][0]),
        *invoices_before_basil(by_kind),
    ]


def money(by_kind: dict[str, list[StripeDict]]) -> list[StripeDict]:
    """A payout to an expanded bank account, and a charge of an expanded card."""
    account = by_kind["account"][0]["id"]
    bank_account = {
        "id": "ba_1",
        "object": "bank_account",
        "account": account,
        "currency": "usd",
        "fingerprint": "1JWtPxqbdX5Gamtc",
        "last4": "6789",
        "metadata": {},
    }
    card = {
        "id": "card_1",
        "object": "card",
        "account": None,
        "brand": "Visa",
        "fingerprint": "DgShZNYkQVJc1mUH",
        "metadata": {"by": "phone"},
    }
    payout = {
        "id": "po_1",
        "object": "payout",
        "amount": 8_000_000_000,
        "arrival_date": CREATED + 86400,
        "balance_transaction": by_kind["balance_transaction"][0]["id"],
        "created": CREATED,
        "currency": "usd",
        "destination": bank_account,
        "failure_balance_transaction": None,
        "livemode": False,
        "metadata": {},
        "original_payout": None,
        "reversed_by": None,
        "status": "paid",
    }
    charge = copy.deepcopy(by_kind["charge"][0])
    charge |= {"id": "ch_card", "payment_intent": None, "payment_method": None, "source": card}
    return [card, bank_account, payout, charge]


def people(by_kind: dict[str, list[StripeDict]]) -> list[StripeDict]:
    """A setup intent, a discount with its coupon, and a source, all of one customer."""
    method = next(item for item in by_kind["payment_method"] if item["customer"])
    customer = method["customer"]
    return [
        {
            "id": "seti_1",
            "object": "setup_intent",
            "created": CREATED,
            "customer": customer,
            "livemode": False,
            "metadata": {},
            "on_behalf_of": by_kind["account"][0]["id"],
            "payment_method": method["id"],
            "status": "succeeded",
        },
        {
            "id": "di_1",
            "object": "discount",
            "coupon": COUPON,
            "customer": customer,
            "end": None,
            "invoice": None,
            "promotion_code": "promo_1",
            "start": CREATED,
            "subscription": None,
        },
        {
            "id": "src_1",
            "object": "source",
            "created": CREATED,
            "customer": customer,
            "livemode": False,
            "metadata": {},
            "type": "card",
        },
    ]


def taxed_subscription(subscription: StripeDict) -> StripeDict:
    """A copy of a subscription whose item has a tax rate."""
    copied: StripeDict = copy.deepcopy(subscription) | {"id": "sub_taxed"}
    (item,) = copied["items"]["data"]
    item |= {"id": "si_taxed", "subscription": "sub_taxed", "tax_rates": [TAX_RATE]}
    return copied


def invoices_before_basil(by_kind: dict[str, list[StripeDict]]) -> list[StripeDict]:
    """A copy of an invoice in the shape of older API versions, and of its charge."""
    invoice = next(item for item in by_kind["invoice"] if item["billing_reason"] != "manual")
    charge = next(item for item in by_kind["charge"] if item["payment_intent"] and item["customer"])
    subscription = invoice["parent"]["subscription_details"]["subscription"]
    old: dict[str, Any] = copy.deepcopy(invoice)
    del old["parent"]
    old |= {
        "id": "in_old",
        "charge": charge["id"],
        "payment_intent": charge["payment_intent"],
        "subscription": subscription,
    }
    for line in old["lines"]["data"]:
        item = line.pop("parent")["subscription_item_details"]
        line |= {
            "id": f"{line['id']}_old",
            "invoice": "in_old",
            "invoice_item": None,
            "subscription_item": item["subscription_item"],
        }
    return [old]
