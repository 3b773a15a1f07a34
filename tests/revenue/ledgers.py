"""Ledgers to derive lots from, and a plain first in, first out to compare them with."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from billing.models import (
    CreditEntry,
    CreditLot,
    CreditPrice,
    CreditUse,
    PaymentReversal,
    Purchase,
    acting_as,
)
from billing.projection import ledger, settlement
from billing.projection.ledger import Entry

AT = datetime(2026, 11, 2, tzinfo=UTC)
Kind = CreditEntry.Kind


def price(price_id: str, credits_: int) -> None:
    with acting_as("test"):
        CreditPrice.objects.get_or_create(price_id=price_id, defaults={"credits": credits_})


def buy(
    source: str,
    amount: int,
    lines: Mapping[str, int],
    *,
    user: str = "ada",
    currency: str = "usd",
    quantity: int = 1,
) -> None:
    """A paid purchase, a pack where `source` is a session; `lines` are credits by price."""
    for price_id, credits_ in lines.items():
        price(price_id, credits_)
    Purchase.objects.create(
        source=source,
        kind="pack" if source.startswith("cs_") else "subscription",
        status=Purchase.Status.UNATTRIBUTED,
        user_id=user,
        payment_intent_id=f"pi_{source}",
        amount=amount,
        currency=currency,
        lines=[
            {"id": f"il_{source}_{price_id}", "price": price_id, "quantity": quantity}
            for price_id in lines
        ],
        created_at=AT,
    )
    settle(source)


def settle(*sources: str) -> None:
    with acting_as("stripe"):
        settlement.settle(sources)


def reverse(stripe_id: str, source: str, amount: int, *, active: bool = True) -> None:
    """A refund (re_) or a dispute (dp_) of a purchase; not `active` where the money is back."""
    PaymentReversal.objects.update_or_create(
        stripe_id=stripe_id,
        defaults={
            "kind": "refund" if stripe_id.startswith("re_") else "dispute",
            "payment_intent_id": f"pi_{source}",
            "amount": amount,
            "status": "succeeded" if active else "failed",
            "active": active,
            "created_at": AT,
        },
    )
    settle(source)


def sql(change: str, user: str = "ada") -> None:
    """The application's own statement, or the runbook's: `balance - 3`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lead_credits (user_id) VALUES (%s) ON CONFLICT DO NOTHING", [user]
        )
        cursor.execute(
            f"UPDATE lead_credits SET balance = {change} WHERE user_id = %s",  # noqa: S608
            [user],
        )


def post(amount: int, kind: CreditEntry.Kind, source: str | None = None, user: str = "ada") -> None:
    with acting_as("test"):
        ledger.post([Entry(user, amount, kind, source)])


@contextmanager
def at(moment: datetime) -> Iterator[None]:
    """What the ledger gets meanwhile, it got at that moment: its clock is the database's own."""
    last = CreditEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE credit_entries SET created_at = %s WHERE id > %s", [moment, last])
        cursor.execute("SET LOCAL session_replication_role = origin")


@dataclass
class Lot:
    id: int
    credits: int
    paid: int
    currency: str
    used: int = 0

    def take(self, count: int) -> int:
        """What was paid for the next `count` of them."""
        before, self.used = self.used, self.used + count
        return self.paid * self.used // self.credits - self.paid * before // self.credits


@dataclass
class Fifo:
    """Lots and uses as one would reckon them by hand, entry after entry."""

    lots: dict[int, Lot] = field(default_factory=dict)
    uses: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # lot, entry, credits, value
    open: dict[str, deque[Lot]] = field(default_factory=lambda: defaultdict(deque))
    taken: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)

    def read(self, entry: CreditEntry) -> None:
        if entry.delta > 0:
            lot = Lot(entry.pk, entry.delta, *self.paid(entry))
            self.lots[lot.id] = lot
            self.open[entry.user_id].append(lot)
        left, parts = max(-entry.delta, 0), []
        while left:
            lot = self.open[entry.user_id][0]
            count = min(left, lot.credits - lot.used)
            value = lot.take(count)
            self.uses.append((lot.id, entry.pk, count, value))
            parts.append((lot.currency, count, value))
            left -= count
            if lot.used == lot.credits:
                self.open[entry.user_id].popleft()
        self.taken[entry.source or ""] = parts

    def paid(self, entry: CreditEntry) -> tuple[int, str]:
        kind, _, source = (entry.source or "").partition(":")
        if kind == "checkout" and entry.kind == Kind.PACK:
            bought = Purchase.objects.get(source=source)
            return bought.amount * entry.delta // (entry.delta - entry.owed_delta), bought.currency
        parts = self.taken.get(f"{kind.removesuffix('_reversed')}:{source}", [])
        if not kind.endswith("_reversed") or not parts:
            return 0, ""
        value = sum(value for _, _, value in parts)
        count = sum(count for _, count, _ in parts)
        currency = max(currency for currency, _, _ in parts)
        return value * min(entry.delta, count) // count, currency


def by_hand() -> Fifo:
    fifo = Fifo()
    for entry in CreditEntry.objects.order_by("id"):
        fifo.read(entry)
    return fifo


def lots() -> list[tuple[Any, ...]]:
    return list(CreditLot.objects.order_by("pk").values_list("pk", "credits", "paid", "currency"))


def uses() -> list[tuple[int, int, int, int]]:
    return list(
        CreditUse.objects.order_by("entry_id", "lot_id").values_list(
            "lot_id", "entry_id", "credits", "value"
        )
    )


def used() -> list[Any]:
    """What used what, for people: origin, purpose, credits, value, currency."""
    fields = ("lot__origin", "purpose", "credits", "value", "currency")
    return list(CreditUse.objects.order_by("entry_id", "lot_id").values_list(*fields))


def held() -> Sequence[tuple[str, int, int]]:
    """What lots have left, of what was paid: credits and value by currency."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT currency, sum(credits - used)::bigint, sum(paid - value)::bigint FROM (
                SELECT l.currency, l.credits, l.paid, coalesce(sum(u.credits), 0) AS used,
                       coalesce(sum(u.value), 0) AS value
                FROM billing_credit_lots l LEFT JOIN billing_credit_uses u ON u.lot_id = l.entry_id
                GROUP BY l.entry_id
            ) s GROUP BY currency HAVING sum(credits - used) <> 0 ORDER BY currency
            """
        )
        return cursor.fetchall()
