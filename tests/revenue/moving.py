"""Rows of Stripe's balance, of its payouts and of revenue, as reading Stripe would leave them."""

from datetime import UTC, datetime
from typing import Any

from billing.models import BalanceReading, BalanceTransaction, Payout, RevenueEntry

OCTOBER = datetime(2025, 10, 10, 12, tzinfo=UTC)
NOVEMBER = datetime(2025, 11, 3, 12, tzinfo=UTC)


def moved(id_: str, amount: int, *, fee: int = 0, **more: Any) -> BalanceTransaction:
    """A movement of the balance, in dollars unless told otherwise."""
    given = {"category": "charge", "currency": "usd", "created_at": OCTOBER, **more}
    return BalanceTransaction.objects.create(
        stripe_id=id_,
        type=given["category"],
        amount=amount,
        fee=fee,
        net=amount - fee,
        available_on=given["created_at"],
        charged_currency=given["currency"],
        charged_amount=amount,
        **given,
    )


def entered(source: str, amount: int, *, fee: int = 0, **more: Any) -> RevenueEntry:
    """An entry whose currencies are the same, unless told otherwise."""
    given = {
        "line": 0, "at": OCTOBER, "item": "gross", "currency": "usd", "tax": 0, "kind": "pack",
        "settled_amount": amount, "settled_fee": fee, **more,
    }  # fmt: skip
    settled = given.pop("settled_currency", given["currency"])
    return RevenueEntry.objects.create(
        source=source, amount=amount, fee=fee, settled_currency=settled, **given
    )


def sold(id_: str, amount: int, *, fee: int = 0, **more: Any) -> None:
    """A charge with its one entry."""
    at = more.pop("at", OCTOBER)
    charge = f"ch_{id_}"
    moved(f"txn_{id_}", amount, fee=fee, created_at=at, source_id=charge, charge_id=charge)
    entered(f"txn_{id_}", amount, fee=fee, at=at, charge_id=charge, **more)


def refunded(id_: str, amount: int, *, of: str, at: datetime) -> None:
    """A refund of the charge that `sold` made of the same name."""
    moved(f"txn_{id_}", -amount, category="refund", created_at=at, source_id=f"re_{id_}")
    entered(f"txn_{id_}", -amount, item="refunds", at=at, charge_id=f"ch_{of}")


def paid_out(id_: str, amount: int, *, at: datetime = OCTOBER, **more: Any) -> Payout:
    """An automatic payout, and its movement; what it contains is the movements' to say."""
    moved(f"txn_{id_}", -amount, category="payout", created_at=at, source_id=id_)
    given = {"automatic": True, "resolved_at": at, "status": "paid", **more}
    return Payout.objects.create(
        stripe_id=id_, amount=amount, currency="usd", created_at=at, arrival_date=at, **given
    )


def read_up_to(moment: datetime) -> None:
    for what in ("balance_transactions", "payouts", "revenue_entries"):
        BalanceReading.objects.update_or_create(what=what, defaults={"read_up_to": moment})
