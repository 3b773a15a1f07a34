"""The balance, payouts, and the bank account that they go to. Amounts in minor units."""

from typing import Any

from backoffice.sandbox.shapes.base import filled
from backoffice.sandbox.shapes.platform import ACCOUNT_ID
from backoffice.sandbox.types import Json

BANK_ACCOUNT_ID = "ba_1SandboxPayoutAccount"


def payout(id: str, created: int, **given: Any) -> Json:  # noqa: A002
    """A payout that was not yet given to the bank."""
    return filled(
        {
            "id": id,
            "object": "payout",
            "amount": 0,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": created,
            "automatic": True,
            "balance_transaction": None,
            "created": created,
            "currency": "usd",
            "description": "STRIPE PAYOUT",
            "destination": BANK_ACCOUNT_ID,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "livemode": False,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "in_progress",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": None,
            "status": "pending",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        },
        given,
    )


def payout_schedule(id: str, created: int) -> Json:  # noqa: A002
    """When the next automatic payouts are made: the sandbox's own, which no call shows."""
    return {"id": id, "object": "payout_schedule", "created": created, "next": None}


def bank_account(currency: str) -> Json:
    """The account's own bank account."""
    return {
        "id": BANK_ACCOUNT_ID,
        "object": "bank_account",
        "account": ACCOUNT_ID,
        "account_holder_name": "Lead Marketplace",
        "account_holder_type": "company",
        "account_type": "checking",
        "available_payout_methods": ["standard"],
        "bank_name": "STRIPE TEST BANK",
        "country": "US",
        "currency": currency,
        "default_for_currency": True,
        "fingerprint": "SandboxPayoutBank",
        "last4": "6789",
        "metadata": {},
        "routing_number": "110000000",
        "status": "new",
    }


def balance(available: dict[str, int], pending: dict[str, int]) -> Json:
    """The account's balance by currency; it has no id."""

    def shown(amounts: dict[str, int]) -> list[Json]:
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(amounts.items())
        ]

    return {
        "object": "balance",
        "available": shown(available),
        "livemode": False,
        "pending": shown(pending),
    }
