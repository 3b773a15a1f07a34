"""Stripe's objects and our rows, field by field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model

from billing.diagnosis.findings import Evidence
from billing.formatting import format_money, format_time
from billing.gateway.observation import StripeDict
from billing.models import BillingInvoice, BillingSubscription
from billing.models.erasure import ERASED
from billing.projection.accounts import invoice_row, subscription_row

SUBSCRIPTION_FIELDS = (
    "status", "price_id", "quantity", "amount", "currency", "current_period_start",
    "current_period_end", "cancel_at_period_end", "cancel_at", "canceled_at", "ended_at",
    "cancellation_reason", "trial_end", "collection_paused", "latest_invoice_id",
    "stripe_customer_id",
)  # fmt: skip
INVOICE_FIELDS = (
    "status", "number", "billing_reason", "currency", "total", "amount_due", "amount_paid",
    "amount_remaining", "attempt_count", "next_payment_attempt", "due_date", "paid_at",
    "stripe_customer_id", "stripe_subscription_id",
)  # fmt: skip
MONEY = frozenset({"amount", "total", "amount_due", "amount_paid", "amount_remaining"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that our row has otherwise than Stripe, both in words."""

    field: str
    stripe: str
    ours: str

    def as_evidence(self) -> Evidence:
        return Evidence(label_of(self.field), f"{self.stripe} at Stripe, {self.ours} here")


def of_subscription(row: BillingSubscription, data: StripeDict) -> list[Difference]:
    """What the row has otherwise than Stripe's subscription; [] where they agree."""
    return between(row, subscription_row(data), SUBSCRIPTION_FIELDS)


def of_invoice(row: BillingInvoice, data: StripeDict) -> list[Difference]:
    """What the row has otherwise than Stripe's invoice; [] where they agree."""
    return between(row, invoice_row(data), INVOICE_FIELDS)


def between(row: Model, wanted: Mapping[str, Any], fields: Sequence[str]) -> list[Difference]:
    """The fields in which a row differs from what Stripe's object would make of it.

    What was erased here Stripe may know yet, and that is no difference.
    """
    currency = str(wanted.get("currency") or "")
    return [
        Difference(
            name,
            in_words(name, wanted[name], currency),
            in_words(name, getattr(row, name), getattr(row, "currency", "")),
        )
        for name in fields
        if getattr(row, name) not in (wanted[name], ERASED)
    ]


def label_of(name: str) -> str:
    """A column's name as it is shown."""
    return name.removesuffix("_id").replace("_", " ").capitalize()


def in_words(name: str, value: Any, currency: str) -> str:
    """A column's value as it is shown."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in MONEY:
        return format_money(value, currency)
    return format_time(value) if isinstance(value, datetime) else str(value)
