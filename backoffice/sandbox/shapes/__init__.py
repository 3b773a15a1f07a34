"""Stripe's resources as the pinned API version renders them.

Each factory returns one complete object. Keyword arguments replace top-level fields; a name that
the resource does not have is an error of the caller and raises `TypeError`. Fields that Stripe
renders only on request (`expand[]`) or only on deleted objects are left out.
"""

from backoffice.sandbox.shapes.catalog import plan, price, product, tax_rate
from backoffice.sandbox.shapes.checkout import checkout_item, checkout_session, setup_intent
from backoffice.sandbox.shapes.invoicing import (
    invoice,
    invoice_item,
    invoice_line,
    invoice_payment,
    subscription,
    subscription_item,
)
from backoffice.sandbox.shapes.payments import (
    balance_transaction,
    charge,
    dispute,
    payment_intent,
    refund,
)
from backoffice.sandbox.shapes.payouts import balance, bank_account, payout, payout_schedule
from backoffice.sandbox.shapes.people import customer, payment_method, portal_session
from backoffice.sandbox.shapes.platform import account, event, test_clock, webhook_endpoint

__all__ = [
    "account",
    "balance",
    "balance_transaction",
    "bank_account",
    "charge",
    "checkout_item",
    "checkout_session",
    "customer",
    "dispute",
    "event",
    "invoice",
    "invoice_item",
    "invoice_line",
    "invoice_payment",
    "payment_intent",
    "payment_method",
    "payout",
    "payout_schedule",
    "plan",
    "portal_session",
    "price",
    "product",
    "refund",
    "setup_intent",
    "subscription",
    "subscription_item",
    "tax_rate",
    "test_clock",
    "webhook_endpoint",
]
