"""What API versions before 2025-03-31.basil show of invoices, their lines, and subscriptions.

Objects are stored in the shape of `API_VERSION` and sent as they are; only for an older version
is an answer, or an event's payload, made anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from backoffice.sandbox import API_VERSION
from backoffice.sandbox.store import Store
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import difference

BASIL = "2025-03-31"
END_OF_TIME = 2**62

EXPANDABLE = {
    "invoice": frozenset({"charge", "payment_intent", "subscription"}),
    "line_item": frozenset({"invoice_item", "subscription"}),
}
"""Fields of the old shapes that hold the id of an object, by kind."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the old shapes show and the present ones leave out, as it was before `until`.

    `until` is a place in the order of creation: an event shows nothing that came after it.
    """

    store: Store
    until: int = END_OF_TIME

    def payment_of(self, invoice: str) -> tuple[str | None, str | None]:
        """(payment intent, charge) that pay an invoice, the latest ones."""
        intent = self._latest("payment_intent", "invoice_payment", "invoice", invoice)
        charge = intent and self._latest("id", "charge", "payment_intent", intent)
        return intent, charge

    def paid_elsewhere(self, invoice: Json) -> int:
        """What was paid on an invoice outside Stripe."""
        paid = int(invoice["amount_paid"])
        rows = paid and self.store.rows(
            "SELECT sum(json_extract(json, '$.amount_paid')) FROM objects"
            " WHERE kind = 'invoice_payment' AND invoice = ?",
            [invoice["id"]],
        )
        return max(paid - (rows[0][0] or 0), 0) if rows else 0

    def named(self, id: str | None) -> Json | None:  # noqa: A002
        """The object `id`."""
        found = self.store.load(id) if id else None
        return found[1] if found else None

    def _latest(self, column: str, kind: str, by: str, value: str) -> str | None:
        rows = self.store.rows(
            f"SELECT {column} FROM objects WHERE kind = ? AND {by} = ? AND seq < ?"  # noqa: S608
            " ORDER BY seq DESC LIMIT 1",
            [kind, value, self.until],
        )
        return rows[0][0] if rows else None


def is_old(version: str | None) -> bool:
    """Whether `version` is from before basil."""
    return version is not None and version < BASIL


def rendering(store: Store, version: str) -> Callable[[Any], Any]:
    """How answers show objects to clients of `version`."""
    if not is_old(version):
        return lambda value: value
    facts = Facts(store)
    return lambda value: old(value, facts)


def payload(store: Store, event: str, version: str | None) -> bytes:
    """The event (JSON text) as an endpoint of `version` gets it, the same however late.

    None stands for the account's version, in which events are stored.
    """
    if version in (None, API_VERSION):
        return event.encode()
    made: Json = orjson.loads(event)
    made["api_version"] = version
    if is_old(version):
        loaded = store.load(made["id"])
        facts = Facts(store, loaded[0] if loaded else END_OF_TIME)
        made["data"] = _old_data(made["data"], facts)
    return orjson.dumps(made)


def _old_data(data: Json, facts: Facts) -> Json:
    """An event's `data`; what changed is told in the old shape's own fields."""
    subject = old(data["object"], facts)
    if (previous := data.get("previous_attributes")) is None:
        return {"object": subject}
    before = old(_merged(data["object"], previous), facts)
    return {"object": subject, "previous_attributes": difference(before, subject)}


def _merged(new: Json, previous: Mapping[str, Any]) -> Json:
    """The object as it was before: `new` with the values of `previous`."""
    merged = dict(new)
    for name, value in previous.items():
        nested = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if nested else value
    return merged


def old(value: Any, facts: Facts) -> Any:
    """`value` with every object in it in its old shape, except within events."""
    if isinstance(value, list):
        return [old(entry, facts) for entry in value]
    if not isinstance(value, dict) or value.get("object") == "event" or value.get("deleted"):
        return value
    made = {
        name: inner if name == "metadata" else old(inner, facts) for name, inner in value.items()
    }
    match made.get("object"):
        case "invoice":
            return _invoice(made, facts)
        case "line_item":
            return _line(made, facts)
        case "invoiceitem":
            return _item(made, facts)
        case "subscription":
            return _subscription(made)
    return made


def _invoice(made: Json, facts: Facts) -> Json:
    parent = made.pop("parent")
    details = (parent and parent["subscription_details"]) or {}
    elsewhere = facts.paid_elsewhere(made)
    taxes = _taxes(made.pop("total_taxes"))
    intent, charge = facts.payment_of(made["id"])
    return made | {
        "amount_paid": made["amount_paid"] - elsewhere,
        "amount_remaining": made["amount_remaining"] + elsewhere,
        "application_fee_amount": None,
        "charge": charge,
        "discount": None,
        "paid": made["status"] == "paid",
        "paid_out_of_band": elsewhere > 0,
        "payment_intent": intent,
        "quote": None,
        "subscription": details.get("subscription"),
        "subscription_details": {"metadata": details.get("metadata")},
        "tax": sum(tax["amount"] for tax in taxes) if taxes else None,
        "total_tax_amounts": taxes,
        "transfer_data": None,
    }


def _line(made: Json, facts: Facts) -> Json:
    parent = made.pop("parent") or {}
    kind = "subscription" if parent.get("subscription_item_details") else "invoiceitem"
    details = parent.get(parent.get("type", ""), {})
    taxes = _taxes(made.pop("taxes"))
    return made | {
        "invoice_item": details.get("invoice_item"),
        "price": _price(made, facts),
        "proration": details.get("proration", False),
        "proration_details": details.get("proration_details") or {"credited_items": None},
        "subscription": details.get("subscription"),
        "subscription_item": details.get("subscription_item"),
        "tax_amounts": taxes,
        "tax_rates": [facts.named(tax["tax_rate"]) for tax in taxes],
        "type": kind,
    }


def _taxes(taxes: list[Json]) -> list[Json]:
    """Taxes as they were told of; a reason for them, only where Stripe finds one itself."""
    return [
        {
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"],
            "taxability_reason": None
            if tax["taxability_reason"] == "not_available"
            else tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        }
        for tax in taxes
    ]


def _item(made: Json, facts: Facts) -> Json:
    details = (made.pop("parent") or {}).get("subscription_details") or {}
    unit = made["pricing"] and made["pricing"]["unit_amount_decimal"]
    return made | {
        "price": _price(made, facts),
        "subscription": details.get("subscription"),
        "unit_amount_decimal": unit,
    }


def _price(made: Json, facts: Facts) -> Json | None:
    pricing = made.pop("pricing")
    return facts.named(pricing["price_details"]["price"]) if pricing else None


def _subscription(made: Json) -> Json:
    """The period that ends first stands for the subscription's."""
    items = [dict(item) for item in made["items"]["data"]]
    spans = [
        (item.pop("current_period_end"), item.pop("current_period_start"))
        for item in items
        if "current_period_end" in item
    ]
    end, start = min(spans, default=(made["created"], made["created"]))
    return made | {
        "current_period_end": end,
        "current_period_start": start,
        "discount": None,
        "items": made["items"] | {"data": items},
    }
