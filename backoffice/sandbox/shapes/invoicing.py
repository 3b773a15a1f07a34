"""Subscriptions and invoices. Amounts in minor units, times in epoch seconds."""

from typing import Any

from backoffice.sandbox.shapes.base import filled, listing
from backoffice.sandbox.shapes.catalog import plan
from backoffice.sandbox.types import Json


def subscription(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A subscription; `items` starts as an empty list object."""
    return filled(
        {
            "id": id,
            "object": "subscription",
            "application": None,
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": created,
            "billing_cycle_anchor_config": None,
            "billing_mode": {
                "flexible": {"proration_discounts": "included"},
                "type": "flexible",
                "updated_at": created,
            },
            "billing_schedules": [],
            "billing_thresholds": None,
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "cancellation_details": {"comment": None, "feedback": None, "reason": None},
            "collection_method": "charge_automatically",
            "created": created,
            "currency": "usd",
            "customer": "",
            "customer_account": None,
            "days_until_due": None,
            "default_payment_method": None,
            "default_source": None,
            "default_tax_rates": [],
            "description": None,
            "discounts": [],
            "ended_at": None,
            "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
            "items": listing([], f"/v1/subscription_items?subscription={id}"),
            "latest_invoice": None,
            "livemode": False,
            "metadata": {},
            "next_pending_invoice_item_invoice": None,
            "on_behalf_of": None,
            "pause_collection": None,
            "payment_settings": {
                "payment_method_options": None,
                "payment_method_types": None,
                "save_default_payment_method": "off",
            },
            "pending_invoice_item_interval": None,
            "pending_setup_intent": None,
            "pending_update": None,
            "schedule": None,
            "start_date": created,
            "status": "incomplete",
            "test_clock": None,
            "transfer_data": None,
            "trial_end": None,
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
            "trial_start": None,
        },
        given,
    )


def subscription_item(id: str, created: int, price: Json, **given: Any) -> Json:  # noqa: A002
    """One item of a subscription: a recurring price, its quantity and its current period."""
    return filled(
        {
            "id": id,
            "object": "subscription_item",
            "billing_thresholds": None,
            "created": created,
            "current_period_end": created,
            "current_period_start": created,
            "discounts": [],
            "metadata": {},
            "plan": plan(price),
            "price": price,
            "quantity": 1,
            "subscription": "",
            "tax_rates": [],
        },
        given,
    )


def invoice(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A draft invoice; `payments` is rendered only when expanded."""
    return filled(
        {
            "id": id,
            "object": "invoice",
            "account_country": "US",
            "account_name": "Lead Marketplace",
            "account_tax_ids": None,
            "amount_due": 0,
            "amount_overpaid": 0,
            "amount_paid": 0,
            "amount_remaining": 0,
            "amount_shipping": 0,
            "application": None,
            "attempt_count": 0,
            "attempted": False,
            "auto_advance": True,
            "automatic_tax": {
                "disabled_reason": None,
                "enabled": False,
                "liability": None,
                "provider": None,
                "status": None,
            },
            "automatically_finalizes_at": None,
            "billing_reason": "manual",
            "collection_method": "charge_automatically",
            "created": created,
            "currency": "usd",
            "custom_fields": None,
            "customer": "",
            "customer_account": None,
            "customer_address": None,
            "customer_email": None,
            "customer_name": None,
            "customer_phone": None,
            "customer_shipping": None,
            "customer_tax_exempt": "none",
            "customer_tax_ids": [],
            "default_payment_method": None,
            "default_source": None,
            "default_tax_rates": [],
            "description": None,
            "discounts": [],
            "due_date": None,
            "effective_at": None,
            "ending_balance": None,
            "footer": None,
            "from_invoice": None,
            "hosted_invoice_url": None,
            "invoice_pdf": None,
            "issuer": {"type": "self"},
            "last_finalization_error": None,
            "latest_revision": None,
            "lines": listing([], f"/v1/invoices/{id}/lines"),
            "livemode": False,
            "metadata": {},
            "next_payment_attempt": None,
            "number": None,
            "on_behalf_of": None,
            "parent": None,
            "payment_settings": {
                "default_mandate": None,
                "payment_method_options": None,
                "payment_method_types": None,
            },
            "period_end": created,
            "period_start": created,
            "post_payment_credit_notes_amount": 0,
            "pre_payment_credit_notes_amount": 0,
            "receipt_number": None,
            "rendering": None,
            "shipping_cost": None,
            "shipping_details": None,
            "starting_balance": 0,
            "statement_descriptor": None,
            "status": "draft",
            "status_transitions": {
                "finalized_at": None,
                "marked_uncollectible_at": None,
                "paid_at": None,
                "voided_at": None,
            },
            "subtotal": 0,
            "subtotal_excluding_tax": 0,
            "test_clock": None,
            "total": 0,
            "total_discount_amounts": [],
            "total_excluding_tax": 0,
            "total_pretax_credit_amounts": [],
            "total_taxes": [],
            "webhooks_delivered_at": created,
        },
        given,
    )


def invoice_line(id: str, **given: Any) -> Json:  # noqa: A002
    """One line of an invoice."""
    made = filled(
        {
            "id": id,
            "object": "line_item",
            "amount": 0,
            "currency": "usd",
            "description": None,
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "invoice": None,
            "livemode": False,
            "metadata": {},
            "parent": None,
            "period": {"end": 0, "start": 0},
            "pretax_credit_amounts": [],
            "pricing": None,
            "quantity": 1,
            "quantity_decimal": None,
            "subscription": None,
            "subtotal": 0,
            "taxes": [],
        },
        given,
    )
    made["subtotal"] = made["amount"]
    made["quantity_decimal"] = None if made["quantity"] is None else str(made["quantity"])
    return made


def line_pricing(price: str, product: str, unit_amount: int) -> Json:
    """How a line or an invoice item is priced."""
    return {
        "price_details": {"price": price, "product": product},
        "type": "price_details",
        "unit_amount_decimal": str(unit_amount),
    }


def invoice_payment(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A payment of an invoice: `open`, `paid` or `canceled`."""
    return filled(
        {
            "id": id,
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": 0,
            "created": created,
            "currency": "usd",
            "invoice": "",
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
        given,
    )


def invoice_item(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """An invoice item; pending while `invoice` is null."""
    made = filled(
        {
            "id": id,
            "object": "invoiceitem",
            "amount": 0,
            "currency": "usd",
            "customer": "",
            "customer_account": None,
            "date": created,
            "description": None,
            "discountable": True,
            "discounts": [],
            "invoice": None,
            "livemode": False,
            "metadata": {},
            "net_amount": 0,
            "parent": None,
            "period": {"end": created, "start": created},
            "pricing": None,
            "proration": False,
            "proration_details": None,
            "quantity": 1,
            "quantity_decimal": "1",
            "tax_rates": [],
            "test_clock": None,
        },
        given,
    )
    made["net_amount"] = made["amount"]
    made["quantity_decimal"] = str(made["quantity"])
    return made
