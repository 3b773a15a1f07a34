"""Stripe's balance transactions and payouts as rows of the billing tables.

Each mapping is a pure function of one object; each table is written by one statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings

from billing.database import TEXTS, as_json, cursor
from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import dig, id_of
from billing.projection.accounts import Row, Table, moment, text, upsert

TRANSACTIONS = Table(
    "billing_balance_transactions",
    "stripe_id",
    {
        "type": "text",
        "category": "text",
        "currency": "text",
        "amount": "bigint",
        "fee": "bigint",
        "net": "bigint",
        "created_at": "timestamptz",
        "available_on": "timestamptz",
        "source_id": "text",
        "charge_id": "text",
        "charged_currency": "text",
        "charged_amount": "bigint",
        "exchange_rate": "numeric",
        "country": "text",
        "description": "text",
        "livemode": "bool",
    },
    user_id_from="",
)
PAYOUTS = Table(
    "billing_payouts",
    "stripe_id",
    {
        "status": "text",
        "amount": "bigint",
        "currency": "text",
        "created_at": "timestamptz",
        "arrival_date": "timestamptz",
        "automatic": "bool",
        "method": "text",
        "description": "text",
        "failure_code": "text",
        "failure_message": "text",
        "reconciliation_status": "text",
        "livemode": "bool",
    },
    user_id_from="",
)
# By reporting category: the kind of object moved, and the sign of its amount in the movement.
MOVES = {
    "charge": ("charge", 1),
    "charge_failure": ("charge", -1),
    "partial_capture_reversal": ("charge", -1),
    "refund": ("refund", -1),
    "refund_failure": ("refund", 1),
    "dispute": ("dispute", -1),
    "dispute_reversal": ("dispute", 1),
}


def transaction_row(booked: StripeDict) -> Row:
    """A balance transaction whose `source` is expanded."""
    source = booked.get("source")
    moved: StripeDict = source if isinstance(source, dict) else {}
    is_charge = moved.get("object") == "charge"
    currency, amount = charged(booked, moved)
    return {
        "stripe_id": booked["id"],
        "type": text(booked.get("type")),
        "category": text(booked.get("reporting_category")),
        "currency": text(booked.get("currency")),
        "amount": booked.get("amount") or 0,
        "fee": booked.get("fee") or 0,
        "net": booked.get("net") or 0,
        "created_at": moment(booked.get("created")),
        "available_on": moment(booked.get("available_on")) or moment(booked.get("created")),
        "source_id": id_of(source),
        "charge_id": moved["id"] if is_charge else id_of(moved.get("charge")),
        "charged_currency": currency,
        "charged_amount": amount,
        "exchange_rate": booked.get("exchange_rate"),
        "country": country_of(moved) if is_charge else "",
        "description": text(booked.get("description")),
        "livemode": settings.STRIPE_LIVE_MODE,  # the object itself does not say
    }


def charged(booked: StripeDict, moved: StripeDict) -> tuple[str, int]:
    """(currency, amount) of a movement as the customer paid it, or got it back.

    The amount has the sign of the movement. It is the movement's own where nothing was exchanged.
    """
    currency = text(booked.get("currency"))
    kind, sign = MOVES.get(booked.get("reporting_category") or "", ("", 1))
    if moved.get("object") != kind or moved.get("currency") in (None, currency):
        return currency, booked.get("amount") or 0
    amount = moved.get("amount") or 0
    if booked["reporting_category"] == "partial_capture_reversal":
        amount -= moved.get("amount_captured") or 0
    return text(moved["currency"]), sign * amount


def country_of(charge: StripeDict) -> str:
    """Where a charge was paid from: the billing address, else the card's or bank's country."""
    method = charge.get("payment_method_details")
    named = dig(charge, "billing_details", "address", "country") or dig(
        method, text(dig(method, "type")), "country"
    )
    return text(named).upper()


def payout_row(payout: StripeDict) -> Row:
    return {
        "stripe_id": payout["id"],
        "status": text(payout.get("status")),
        "amount": payout.get("amount") or 0,
        "currency": text(payout.get("currency")),
        "created_at": moment(payout.get("created")),
        "arrival_date": moment(payout.get("arrival_date")) or moment(payout.get("created")),
        "automatic": payout.get("automatic") is True,
        "method": text(payout.get("method")),
        "description": text(payout.get("description")),
        "failure_code": text(payout.get("failure_code")),
        "failure_message": text(payout.get("failure_message")),
        "reconciliation_status": text(payout.get("reconciliation_status")),
        "livemode": payout.get("livemode") is True,
    }


def project(items: Iterable[Observation]) -> set[str]:
    """Writes the rows of the payouts among these objects; returns the ids of those changed."""
    payouts = [item.data for item in items if item.kind == "payout" and not item.deleted]
    return upsert(PAYOUTS, [payout_row(payout) for payout in payouts])


def store(transactions: Sequence[StripeDict]) -> set[str]:
    """Writes the rows of balance transactions; returns the ids of those that were changed."""
    return upsert(TRANSACTIONS, [transaction_row(booked) for booked in transactions])


def pay_out(payout_id: str, transactions: Iterable[dict[str, Any]]) -> None:
    """Notes which movements a payout paid out: not its own, that Stripe lists among them."""
    with cursor() as bound:
        bound.execute(
            f"""
            UPDATE billing_balance_transactions SET payout_id = %s, updated_at = now()
            WHERE stripe_id = ANY({TEXTS}) AND source_id <> %s AND payout_id <> %s
            """,  # noqa: S608  (TEXTS stands in billing.database)
            [payout_id, as_json(booked["id"] for booked in transactions), payout_id, payout_id],
        )
