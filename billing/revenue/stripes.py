"""How Stripe's charges, refunds, disputes and balance transactions enter the bridge.

Pure functions of Stripe's objects. A balance transaction counts on the day that it was created,
in its own currency, the one in which Stripe settles; `available_on` is when it can be paid out.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import id_of
from billing.models.balance import NO_REVENUE
from billing.revenue.days import Days
from billing.revenue.ours import Placed
from billing.revenue.sums import Causes, Part, Sums

COLLECTED = Part(
    "collected",
    (
        "invoices",
        "customer_balance",
        "credit_notes",
        "out_of_band",
        "packs",
        "returned",
        "timing",
    ),
    "charges",
    besides=("tax",),
)
"""From what was paid here to what Stripe charged."""
SETTLED = Part(
    "settled",
    (
        "charges",
        "timing",
        "exchanged",
        "refunds",
        "disputes",
        "failed",
        "fees",
        "other",
    ),
    "net",
    besides=("payouts",),
)
"""From what Stripe charged to what its balance took in."""
ITEM_WORDS = {
    "collected": {
        "invoices": "Paid here, as they were billed, by the day on which they were paid.",
        "customer_balance": "Paid from the customer's balance, or into it.",
        "credit_notes": "Waived by credit notes.",
        "out_of_band": "Paid outside Stripe.",
        "packs": "Bought in Checkout without an invoice.",
        "returned": "Charged for nothing known here, and refunded in full or disputed.",
        "timing": "Counted here on another day than it was charged.",
        "charges": "What Stripe captured, by the day on which the charge was made.",
        "tax": "Inside of invoices.",
    },
    "settled": {
        "charges": "What Stripe captured, by the day on which the charge was made.",
        "timing": "Settled on another day than charged, or not yet.",
        "exchanged": "Settled in another currency: out of the one charged, into the one settled.",
        "refunds": "Given back, and brought back where the refund failed.",
        "disputes": "Withdrawn by disputes, and brought back by those that were won.",
        "failed": "Charges that came in and bounced.",
        "fees": "All of Stripe's fees.",
        "other": "Movements of other reporting categories.",
        "net": "The net of the balance transactions, but for payouts, which only move it on.",
        "payouts": "What payouts moved on. It is inside no other item.",
    },
}
"""What each item of a part is, minor units."""

PAYOUTS = frozenset(NO_REVENUE)
# By reporting category: the item, and the kind of object whose own list tells of it.
TOLD_BY = {
    "charge": ("charges", "charge"),
    "charge_failure": ("failed", "charge"),
    "partial_capture_reversal": ("exchanged", "charge"),
    "refund": ("refunds", "refund"),
    "refund_failure": ("refunds", "refund"),
    "dispute": ("disputes", "dispute"),
    "dispute_reversal": ("disputes", "dispute"),
}


@dataclass(slots=True)
class Exchange:
    """What was settled in another currency on one day: minor units of both, and the rates."""

    amount: int = 0
    settled: int = 0
    least: float | None = None
    most: float | None = None

    def add(self, amount: int, settled: int, rate: float | None) -> None:
        self.amount += amount
        self.settled += settled
        if rate is not None:
            self.least = rate if self.least is None else min(self.least, rate)
            self.most = rate if self.most is None else max(self.most, rate)


@dataclass(slots=True)
class Bridge:
    """A bridge while it is read: its sums, and never the objects themselves.

    Charges made since `read_since` come from Stripe's list of charges, and so on for refunds
    and disputes; what is older is known by its balance transaction alone.
    """

    days: Days
    read_since: datetime
    collected: Sums = field(default_factory=Sums)
    settled: Sums = field(default_factory=Sums)
    causes: Causes = field(default_factory=Causes)
    exchanges: dict[tuple[date, str, str], Exchange] = field(default_factory=dict)
    categories: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    def add_charge(self, charge: StripeDict, placed: Placed) -> None:
        """A charge, what it paid here, and how it was settled."""
        amount, currency = captured(charge), str(charge["currency"])
        day = self.days.of(from_timestamp(charge["created"]))
        for sums in (self.collected, self.settled):
            sums.add(day, currency, "charges", amount)
        if amount:
            self._explain(charge, placed, amount, day)
        self._settle(charge, _expanded(charge.get("balance_transaction")))
        if bounced := _expanded(charge.get("failure_balance_transaction")):
            self._book(bounced, "failed")

    def _explain(self, charge: StripeDict, placed: Placed, amount: int, day: date | None) -> None:
        """Ties a charge to what was paid here with it."""
        currency = str(charge["currency"])
        if placed.source:
            self._move(self.collected, currency, amount, self.days.of(placed.at), day)
            if placed.amount is not None and placed.amount != amount:
                why = f"{placed.source} says here that {placed.amount} were paid, not {amount}."
                self.causes.add(charge["id"], day, currency, amount - placed.amount, why)
        elif placed.awaits:
            self.collected.add(day, currency, "timing", amount)
        elif placed.is_disputed or (charge.get("amount_refunded") or 0) >= amount:
            self.collected.add(day, currency, "returned", amount)
        else:
            self.causes.add(charge["id"], day, currency, amount, _unexplained(placed))

    def _settle(self, charge: StripeDict, booked: StripeDict | None) -> None:
        """From a charge to its balance transaction: another day, another currency, the fee.

        The difference in a captured amount is a `partial_capture_reversal` of its own.
        """
        amount, currency = captured(charge), str(charge["currency"])
        day = self.days.of(from_timestamp(charge["created"]))
        if booked is None:
            self.settled.add(day, currency, "timing", -amount)
            return
        settled_on, settled_in = _day(self.days, booked), str(booked["currency"])
        if not amount:
            self._book(booked, "failed")
            return
        self._move(self.settled, currency, amount, day, settled_on)
        if settled_in != currency:
            self.settled.add(settled_on, currency, "exchanged", -amount)
            self.settled.add(settled_on, settled_in, "exchanged", booked["amount"])
            if settled_on is not None:
                exchange = self.exchanges.setdefault((settled_on, currency, settled_in), Exchange())
                exchange.add(amount, booked["amount"], booked.get("exchange_rate"))
        self.settled.add(settled_on, settled_in, "fees", -booked["fee"])

    def add_refund(self, refund: StripeDict) -> None:
        """A refund, and its return where it failed."""
        for name in ("balance_transaction", "failure_balance_transaction"):
            if booked := _expanded(refund.get(name)):
                self._book(booked, "refunds")

    def add_dispute(self, dispute: StripeDict) -> None:
        """What a dispute withdrew, and gave back where it was won."""
        for booked in dispute.get("balance_transactions") or []:
            self._book(booked, "disputes")

    def add_balance_transaction(self, booked: StripeDict) -> None:
        """A movement of Stripe's balance: part of the net, and of what nothing else tells."""
        day, currency = _day(self.days, booked), str(booked["currency"])
        category = str(booked.get("reporting_category") or "")
        if day is None:
            return
        totals = self.categories.setdefault((currency, category), Counter())
        totals.update(count=1, amount=booked["amount"], fee=booked["fee"], net=booked["net"])
        if category in PAYOUTS:
            self.settled.add(day, currency, "payouts", booked["net"])
            return
        self.settled.add(day, currency, "net", booked["net"])
        if category not in TOLD_BY:
            self._book(booked, "other")
        else:
            self._book_what_is_older(booked, *TOLD_BY[category])

    def _book_what_is_older(self, booked: StripeDict, item: str, kind: str) -> None:
        """A movement whose object was made before those that are read, and so is not among them.

        A capture of less than was authorised is told by its own transaction in any case.
        """
        source = _expanded(booked.get("source")) or {}
        day, currency = _day(self.days, booked), str(booked["currency"])
        category = booked["reporting_category"]
        made = from_timestamp(source.get("created"))
        if source.get("object") != kind or made is None:
            why = "This balance transaction is of nothing that Stripe lists."
            self.causes.add(booked["id"], day, currency, booked["net"], why)
        elif category == "partial_capture_reversal":
            exchanged = booked["amount"] if source["currency"] != currency else 0
            self.settled.add(day, currency, item, exchanged)
            self.settled.add(day, currency, "fees", -booked["fee"])
        elif made >= self.read_since:
            return
        elif category == "charge":
            self._settle(source, booked)
        else:
            self._book(booked, item)

    def _book(self, booked: StripeDict, item: str) -> None:
        """A balance transaction's amount and fee, on its day."""
        day, currency = _day(self.days, booked), str(booked["currency"])
        self.settled.add(day, currency, item, booked["amount"])
        self.settled.add(day, currency, "fees", -booked["fee"])

    @staticmethod
    def _move(sums: Sums, currency: str, amount: int, from_: date | None, to: date | None) -> None:
        """The same money, counted on one day and found on another."""
        if from_ != to:
            sums.add(from_, currency, "timing", -amount)
            sums.add(to, currency, "timing", amount)


def captured(charge: StripeDict) -> int:
    """What was taken with a charge, minor units: nothing while it is only authorised."""
    if charge.get("status") != "succeeded" or charge.get("captured") is False:
        return 0
    taken = charge.get("amount_captured")
    return int(charge["amount"] if taken is None else taken)


def intents_of(charges: Iterable[StripeDict]) -> list[tuple[str, str]]:
    """(charge, payment intent) of each."""
    return [(charge["id"], id_of(charge.get("payment_intent"))) for charge in charges]


def _unexplained(placed: Placed) -> str:
    if placed.unpaid:
        return f"Its invoice {placed.unpaid} is not paid here."
    if placed.is_here:
        return "No invoice and no purchase here explains it."
    return "It is not here at all."


def _expanded(value: Any) -> StripeDict | None:
    """The object in an expanded field; None for none, and for an id alone."""
    return value if isinstance(value, dict) else None


def _day(days: Days, booked: StripeDict) -> date | None:
    return days.of(from_timestamp(booked["created"]))
