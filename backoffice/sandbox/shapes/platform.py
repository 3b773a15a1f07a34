"""The account, webhook endpoints and events."""

from typing import Any

from backoffice.sandbox import API_VERSION
from backoffice.sandbox.shapes.base import filled, listing
from backoffice.sandbox.types import Json

ACCOUNT_ID = "acct_1SandboxMarketplace"
CLOCK_LIFETIME = 7 * 86400
"""Seconds after which a test clock is deleted, as in Stripe's documentation."""


def account(created: int, *, payouts: str) -> Json:
    """The one account whose keys the sandbox accepts; `payouts` is their rhythm."""
    requirements: Json = {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": [],
        "disabled_reason": None,
        "errors": [],
        "eventually_due": [],
        "past_due": [],
        "pending_verification": [],
    }
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": {
            "annual_revenue": None,
            "estimated_worker_count": None,
            "mcc": "7311",
            "minority_owned_business_designation": None,
            "name": "Lead Marketplace",
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": created,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "billing@marketplace.example",
        "external_accounts": listing([], f"/v1/accounts/{ACCOUNT_ID}/external_accounts"),
        "future_requirements": requirements,
        "metadata": {},
        "payouts_enabled": True,
        "requirements": requirements,
        "settings": account_settings(payouts),
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }


def account_settings(payouts: str) -> Json:
    """The account's settings."""
    return {
        "bacs_debit_payments": {"display_name": None, "service_user_number": None},
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False},
            "statement_descriptor_prefix": None,
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {"display_name": "Lead Marketplace", "timezone": "Etc/UTC"},
        "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "offer"},
        "payments": {
            "statement_descriptor": "LEADS",
            "statement_descriptor_kana": None,
            "statement_descriptor_kanji": None,
        },
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 2, "interval": payouts},
            "statement_descriptor": None,
        },
        "sepa_debit_payments": {},
    }


def webhook_endpoint(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A webhook endpoint without its secret, which Stripe shows only when it is made."""
    return filled(
        {
            "id": id,
            "object": "webhook_endpoint",
            "api_version": None,
            "application": None,
            "created": created,
            "description": None,
            "enabled_events": ["*"],
            "livemode": False,
            "metadata": {},
            "status": "enabled",
            "url": "",
        },
        given,
    )


def test_clock(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A test clock that stands still."""
    return filled(
        {
            "id": id,
            "object": "test_helpers.test_clock",
            "created": created,
            "deletes_after": created + CLOCK_LIFETIME,
            "frozen_time": created,
            "livemode": False,
            "name": None,
            "status": "ready",
            "status_details": {},
        },
        given,
    )


def event(
    id: str,  # noqa: A002
    created: int,
    kind: str,
    data: Json,
    *,
    request: Json,
    pending_webhooks: int,
) -> Json:
    """An event of type `kind`; `data` is `{"object": ..., "previous_attributes"?: ...}`."""
    return {
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": data,
        "livemode": False,
        "pending_webhooks": pending_webhooks,
        "request": request,
        "type": kind,
    }
