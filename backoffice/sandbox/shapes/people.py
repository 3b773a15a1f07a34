"""Customers, their payment methods, and sessions of the billing portal."""

from typing import Any

from backoffice.sandbox.shapes.base import EMPTY_ADDRESS, filled
from backoffice.sandbox.types import Json


def customer(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A customer."""
    return filled(
        {
            "id": id,
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": created,
            "currency": None,
            "customer_account": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": None,
            "invoice_prefix": id.removeprefix("cus_")[-8:].upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": {},
            "name": None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
        given,
    )


def payment_method(id: str, created: int, kind: str, details: Json, **given: Any) -> Json:  # noqa: A002
    """A payment method of type `kind` (`card`, `us_bank_account`, ...) with that type's details."""
    made = filled(
        {
            "id": id,
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": {
                "address": EMPTY_ADDRESS,
                "email": None,
                "name": None,
                "phone": None,
                "tax_id": None,
            },
            "created": created,
            "customer": None,
            "customer_account": None,
            "livemode": False,
            "metadata": {},
            "type": kind,
        },
        given,
    )
    made[kind] = details
    return made


def portal_session(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A session of the billing portal."""
    return filled(
        {
            "id": id,
            "object": "billing_portal.session",
            "configuration": "bpc_1SandboxDefaultPortal00",
            "created": created,
            "customer": "",
            "customer_account": None,
            "flow": None,
            "livemode": False,
            "locale": None,
            "on_behalf_of": None,
            "return_url": None,
            "url": "",
        },
        given,
    )
