"""Products, prices, the plan that a recurring price is also rendered as, and tax rates."""

from typing import Any

from backoffice.sandbox.shapes.base import filled
from backoffice.sandbox.types import Json


def product(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A product."""
    return filled(
        {
            "id": id,
            "object": "product",
            "active": True,
            "created": created,
            "default_price": None,
            "description": None,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "name": "",
            "package_dimensions": None,
            "shippable": None,
            "statement_descriptor": None,
            "tax_code": None,
            "type": "service",
            "unit_label": None,
            "updated": created,
            "url": None,
        },
        given,
    )


def price(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A price; `unit_amount` in minor units. A `recurring` one has type `recurring`."""
    made = filled(
        {
            "id": id,
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": created,
            "currency": "usd",
            "custom_unit_amount": None,
            "livemode": False,
            "lookup_key": None,
            "metadata": {},
            "nickname": None,
            "product": "",
            "recurring": None,
            "tax_behavior": "unspecified",
            "tiers_mode": None,
            "transform_quantity": None,
            "type": "one_time",
            "unit_amount": None,
            "unit_amount_decimal": None,
        },
        given,
    )
    made["type"] = "recurring" if made["recurring"] else "one_time"
    if made["unit_amount"] is not None and made["unit_amount_decimal"] is None:
        made["unit_amount_decimal"] = str(made["unit_amount"])
    return made


def plan(of: Json) -> Json:
    """The recurring price `of` as the plan that subscription items still carry."""
    recurring = of["recurring"]
    return {
        "id": of["id"],
        "object": "plan",
        "active": of["active"],
        "amount": of["unit_amount"],
        "amount_decimal": of["unit_amount_decimal"],
        "billing_scheme": of["billing_scheme"],
        "created": of["created"],
        "currency": of["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": of["metadata"],
        "meter": recurring["meter"],
        "nickname": of["nickname"],
        "product": of["product"],
        "tiers_mode": of["tiers_mode"],
        "transform_usage": of["transform_quantity"],
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }


def tax_rate(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A tax rate, in per cent."""
    return filled(
        {
            "id": id,
            "object": "tax_rate",
            "active": True,
            "country": None,
            "created": created,
            "description": None,
            "display_name": "",
            "effective_percentage": None,
            "flat_amount": None,
            "inclusive": False,
            "jurisdiction": None,
            "jurisdiction_level": None,
            "livemode": False,
            "metadata": {},
            "percentage": 0.0,
            "rate_type": "percentage",
            "state": None,
            "tax_type": None,
        },
        given,
    )
