"""Finance's figures of a year, worked out once more from the sandbox's own state.

Plain loops over Stripe's objects, by month of a time zone: nothing here uses the back office's
own code or rows. Money is minor units by (month, currency).
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from backoffice.drill.books import Stripe
from tests.sandbox.server import SandboxProcess
from tests.year.lines import lines_of, shares

Figures = dict[tuple[str, ...], Counter[str]]
"""By month (`2027-03-01`), currency and, where something is split, its part."""

DECIMALS = {"jpy": 0}
COUNTED = ("active", "past_due")


@dataclass(frozen=True)
class Movement:
    """Money that moved for a charge or on an invoice, at a moment, as the report counts it."""

    at: int
    currency: str
    item: str
    amount: int
    fee: int
    tax: int
    charge: Any
    invoice: Any


class Finance(Stripe):
    """The sandbox's state, as finance asks for it. `zone` is an IANA name."""

    def __init__(self, sandbox: SandboxProcess, zone: str) -> None:
        super().__init__(sandbox)
        self.zone = ZoneInfo(zone)
        self.first: dict[tuple[str, str], tuple[str, int]] = {}  # by customer and currency
        self.left: dict[str, dict[tuple[str, str], int]] = {}  # MRR at the end of each month
        both = {"expand[]": ["data.balance_transaction", "data.failure_balance_transaction"]}
        self.charges = {charge["id"]: charge for charge in self.all("charges", **both)}
        self.refunds = list(self.all("refunds", **both))
        self.disputes = list(self.all("disputes"))
        off = {"expand[]": "data.amount_paid_off_stripe"}
        self.invoices = {made["id"]: made for made in self.all("invoices", **off)}
        self.paid_by: dict[str, str] = {  # payment intent -> invoice
            payment["payment"]["payment_intent"]: payment["invoice"]
            for payment in self.all("invoice_payments")
        }
        self.failures: dict[str, list[int]] = defaultdict(list)
        for seconds, made in self.events("invoice.payment_failed"):
            self.failures[made["id"]].append(seconds)
        self.changes: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for seconds, made in self.snapshots():
            self.changes[made["id"]].append((seconds, made))
        self.packs: dict[str, Any] = {
            made["payment_intent"]: made
            for made in self.all("checkout/sessions", **{"expand[]": "data.line_items"})
            if made["mode"] == "payment" and made["payment_status"] == "paid"
        }

    def month(self, seconds: int) -> str:
        """The first day of the month of a moment."""
        return f"{datetime.fromtimestamp(seconds, self.zone):%Y-%m}-01"

    # --- Revenue -----------------------------------------------------------------------------

    def revenue(self, split: str = "") -> Figures:
        """Gross, refunds, disputes, fees, net, tax and out of band."""
        found: Figures = defaultdict(Counter)
        for moved in self.movements():
            for part, amount, fee, tax in self._parts(moved, split):
                sums = found[self.month(moved.at), moved.currency, *part]
                sums[moved.item] += amount
                sums["fees"] += fee
                sums["tax"] += tax if moved.item == "gross" else 0
        for sums in found.values():
            taken = sums["refunds"] + sums["disputes"] + sums["fees"]
            sums["net"] = sums["gross"] - taken
        return found

    def movements(self) -> Iterator[Movement]:
        """All that was booked for a charge, and what was paid out of band."""
        for charge in self.charges.values():
            for name, sign in (("balance_transaction", 1), ("failure_balance_transaction", -1)):
                if booked := charge.get(name):
                    yield self._moved(charge, booked, "gross", sign * charge["amount"])
        for refund in self.refunds:
            for name, sign in (("balance_transaction", 1), ("failure_balance_transaction", -1)):
                if booked := refund.get(name):
                    charge = self.charges[refund["charge"]]
                    yield self._moved(charge, booked, "refunds", sign * refund["amount"])
        for dispute in self.disputes:
            for booked in dispute["balance_transactions"]:
                sign = 1 if booked["amount"] < 0 else -1
                charge = self.charges[dispute["charge"]]
                yield self._moved(charge, booked, "disputes", sign * dispute["amount"])
        for invoice in self.invoices.values():
            if off := invoice["amount_paid_off_stripe"]:
                at = invoice["status_transitions"]["paid_at"]
                yield Movement(at, invoice["currency"], "out_of_band", off, 0, 0, None, invoice)

    def _moved(self, charge: Any, booked: Any, item: str, amount: int) -> Movement:
        invoice = self.invoices.get(self.paid_by.get(charge["payment_intent"], ""))
        fee = _in_currency(booked["fee"], booked["exchange_rate"], charge["currency"])
        tax = _tax(invoice, amount)
        return Movement(
            booked["created"], charge["currency"], item, amount, fee, tax, charge, invoice
        )

    def _parts(
        self, moved: Movement, split: str
    ) -> Iterator[tuple[tuple[str, ...], int, int, int]]:
        """What a movement is split into: each part with its amount, fee and tax."""
        if split == "price":
            yield from self._by_price(moved)
            return
        part: dict[str, tuple[str, ...]] = {
            "": (),
            "kind": ("subscription" if moved.invoice else "pack",),
            "country": (_country(moved.charge),),
        }
        yield part[split], moved.amount, moved.fee, moved.tax

    def _by_price(self, moved: Movement) -> Iterator[tuple[tuple[str, ...], int, int, int]]:
        if moved.invoice is None:
            (line,) = self.packs[moved.charge["payment_intent"]]["line_items"]["data"]
            yield (line["price"]["id"],), moved.amount, moved.fee, moved.tax
            return
        lines = lines_of(moved.invoice)
        weights = [line.weight for line in lines]
        taxes = [line.tax for line in lines]
        columns = (
            shares(moved.amount, weights),
            shares(moved.fee, weights),
            shares(moved.tax, taxes if any(taxes) else weights),
        )
        for line, *parts in zip(lines, *columns, strict=True):
            yield (line.price,), *parts

    def settled(self) -> Figures:
        """The net of the balance's own transactions, but for payouts."""
        found: Figures = defaultdict(Counter)
        for booked in self.all("balance_transactions"):
            if not booked["reporting_category"].startswith("payout"):
                found[self.month(booked["created"]), booked["currency"]]["net"] += booked["net"]
        return found

    def categories(self) -> Figures:
        """The balance's transactions by reporting category."""
        found: Figures = defaultdict(Counter)
        for booked in self.all("balance_transactions"):
            key = self.month(booked["created"]), booked["currency"], booked["reporting_category"]
            found[key]["count"] += 1
            for name in ("amount", "fee", "net"):
                found[key][name] += booked[name]
        return found

    def balance(self) -> dict[str, int]:
        """What is on it now, available or not, by currency."""
        found: Counter[str] = Counter()
        told = self.sandbox.get("/v1/balance").json()
        for part in (*told["available"], *told["pending"]):
            found[part["currency"]] += part["amount"]
        return dict(found)

    # --- Subscriptions -----------------------------------------------------------------------

    def snapshots(self) -> list[tuple[int, Any]]:
        """Each subscription at each of its events, in the order in which they were made."""
        return self.events("customer.subscription.%")

    def events(self, kind: str) -> list[tuple[int, Any]]:
        """When events of a kind were made, and their objects."""
        with closing(sqlite3.connect(self.sandbox.data)) as stripe:
            found = stripe.execute(
                "SELECT json FROM objects WHERE kind = 'event' AND type LIKE ?"
                " ORDER BY created, seq",
                (kind,),
            ).fetchall()
        events = [json.loads(text) for (text,) in found]
        return [(event["created"], event["data"]["object"]) for event in events]

    def mrr(self, months: list[str]) -> Figures:
        """Opening, movements and closing; statuses and customers at each month's end."""
        found: Figures = defaultdict(Counter)
        held: dict[str, Any] = {}
        had: set[tuple[str, str]] = set()
        moved = list(self._moments())
        currencies = {made["currency"] for _, many in moved for made in many}
        for month in months:
            for currency in currencies:
                found[month, currency]["opening"] = _total(held, currency)
            while moved and self.month(moved[0][0]) <= month:
                seconds, changed = moved.pop(0)
                self._move(found, self.month(seconds), held, had, changed)
            for (at, currency), sums in found.items():
                if at == month:
                    _close(sums, held, currency)
            self.left[month] = {key: _of_customer(held, *key) for key in had}
        return found

    def cohorts(self, month: str, currency: str, months: list[str]) -> list[tuple[float, float]]:
        """Of who had MRR first in a month, the shares of customers and MRR left in each later."""
        first = {k: mrr for k, (at, mrr) in self.first.items() if (at, k[1]) == (month, currency)}
        found = []
        for later in months[months.index(month) :]:
            left = [self.left[later].get(key, 0) for key in first]
            found.append((sum(map(bool, left)) / len(first), sum(left) / sum(first.values())))
        return found

    def _moments(self) -> list[tuple[int, list[Any]]]:
        grouped = groupby(self.snapshots(), lambda snapshot: snapshot[0])
        return [(seconds, [made for _, made in many]) for seconds, many in grouped]

    def _move(
        self,
        found: Figures,
        month: str,
        held: dict[str, Any],
        had: set[tuple[str, str]],
        changed: list[Any],
    ) -> None:
        """What the subscriptions that changed at one moment do to their customers' MRR."""
        keys = {(made["customer"], made["currency"]) for made in changed}
        before = {key: _of_customer(held, *key) for key in keys}
        for made in changed:
            held[made["id"]] = made
        for key in sorted(keys):
            was, now = before[key], _of_customer(held, *key)
            if was == now:
                continue
            sums = found[month, key[1]]
            if was == 0 and key not in had:
                self.first[key] = (month, now)
            if was == 0:
                sums["reactivated" if key in had else "new"] += now
            elif now == 0:
                asked_for = any(
                    made["cancellation_details"]["reason"] == "cancellation_requested"
                    for made in changed
                    if made["customer"] == key[0]
                )
                sums["churned"] += was
                sums["voluntary" if asked_for else "involuntary"] += was
                sums["churned_customers"] += 1
            else:
                sums["expansion" if now > was else "contraction"] += abs(now - was)
            had.add(key)

    def trials(self) -> Figures:
        """Trials that began and ended, and how many had revenue right after."""
        found: Figures = defaultdict(Counter)
        before: dict[str, Any] = {}
        for seconds, made in self.snapshots():
            was, key = before.get(made["id"]), (self.month(seconds), made["currency"])
            if made["status"] == "trialing" and (was is None or was["status"] != "trialing"):
                found[key]["started"] += 1
            if was and was["status"] == "trialing" != made["status"]:
                found[key].update(ended=1, converted=int(_worth(made) > 0))
            before[made["id"]] = made
        return found

    # --- Invoices ----------------------------------------------------------------------------

    def ageing(self, day: date) -> Figures:
        """What is open at the end of a day, by currency and days past due."""
        after = day + timedelta(days=1)  # not 86,400 seconds, twice a year
        limit = int(datetime(after.year, after.month, after.day, tzinfo=self.zone).timestamp())
        found: Figures = defaultdict(Counter)
        for made in self.invoices.values():
            passed = made["status_transitions"]
            over = [passed[name] for name in ("paid_at", "voided_at", "marked_uncollectible_at")]
            begun = passed["finalized_at"]
            if begun is None or begun >= limit or any(at and at < limit for at in over):
                continue
            due = made["due_date"] or begun
            late = (day - datetime.fromtimestamp(due, self.zone).date()).days
            bucket = "Not due" if due >= limit else _bucket(max(late, 0))
            found[made["currency"], bucket].update(invoices=1, amount=made["amount_due"])
        return found

    def dunning(self, *, by_reason: bool = False) -> Figures:
        """Invoices that failed to be paid: by the month in which they did, and what became.

        Or by the reason of the first charge that failed, all months together.
        """
        found: Figures = defaultdict(Counter)
        for made in self.invoices.values():
            failed = self._first_failed(made)
            paid = made["status_transitions"]["paid_at"]
            if failed is None or (paid and paid < failed):
                continue
            lost = self._lost(made, failed, paid)
            for name, at in (("entered", failed), ("recovered", paid), ("lost", lost)):
                if at is not None:
                    when = "" if by_reason else self.month(at)
                    why = (self._reason(made),) if by_reason else ()
                    sums = found[when, made["currency"], *why]
                    sums.update({name: 1, f"{name}_amount": made["amount_due"]})
        return found

    def _first_failed(self, invoice: Any) -> int | None:
        failed = [charge["created"] for charge in self._failed(invoice)]
        return min(failed or self.failures.get(invoice["id"], []), default=None)

    def _failed(self, invoice: Any) -> list[Any]:
        """The charges of an invoice that failed, the first one first."""
        failed = (
            charge
            for charge in self.charges.values()
            if charge["status"] == "failed"
            and self.paid_by.get(charge["payment_intent"]) == invoice["id"]
        )
        return sorted(failed, key=lambda charge: (charge["created"], charge["id"]))

    def _reason(self, invoice: Any) -> str:
        first = next(iter(self._failed(invoice)), None)
        if first is None:
            return "not_known"
        return str((first["outcome"] or {}).get("reason") or first["failure_code"] or "not_known")

    def _lost(self, invoice: Any, failed: int, paid: int | None) -> int | None:
        """When it was given up: by itself, or with its subscription."""
        passed = invoice["status_transitions"]
        ends = [passed["voided_at"], passed["marked_uncollectible_at"]]
        subscription = invoice["parent"]["subscription_details"]["subscription"]
        ends += [
            seconds
            for seconds, made in self.changes[subscription]
            if made["status"] in ("unpaid", "canceled", "incomplete_expired")
            and (made["status"] != "unpaid" or seconds >= failed)
        ]
        lost = [max(at, failed) for at in ends if at is not None]
        return min((at for at in lost if paid is None or at < paid), default=None)


def _country(charge: Any) -> str:
    if charge is None:
        return ""
    address = (charge["billing_details"].get("address") or {}).get("country")
    method = charge["payment_method_details"]
    return str(address or method[method["type"]].get("country") or "")


def _tax(invoice: Any, amount: int) -> int:
    """Of an invoice's tax what belongs to the part of it that was paid."""
    if invoice is None or not invoice["total"]:
        return 0
    taxes = sum(tax["amount"] for tax in invoice["total_taxes"] or [])
    return _rounded(Decimal(amount) * taxes / invoice["total"])


def _in_currency(fee: int, rate: float | None, currency: str) -> int:
    """A fee in cents in the currency that was charged, rounded half up."""
    if rate is None:
        return fee
    minor = Decimal(fee) / Decimal(str(rate)) * Decimal(10) ** (DECIMALS.get(currency, 2) - 2)
    return _rounded(minor)


def _rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def _worth(subscription: Any) -> int:
    """What a subscription brings in a month, minor units."""
    if subscription["status"] not in COUNTED:
        return 0
    total = Decimal(0)
    for item in subscription["items"]["data"]:
        recurring = item["price"]["recurring"]
        a_month = {"month": Decimal(1), "year": Decimal(1) / 12}[recurring["interval"]]
        a_month /= recurring["interval_count"]
        total += Decimal(item["price"]["unit_amount"]) * item["quantity"] * a_month
    return _rounded(total)


def _of_customer(held: dict[str, Any], customer: str, currency: str) -> int:
    own = (m for m in held.values() if (m["customer"], m["currency"]) == (customer, currency))
    return sum(map(_worth, own))


def _total(held: dict[str, Any], currency: str) -> int:
    return sum(_worth(made) for made in held.values() if made["currency"] == currency)


def _close(sums: Counter[str], held: dict[str, Any], currency: str) -> None:
    own = [made for made in held.values() if made["currency"] == currency]
    sums["closing"] = sum(map(_worth, own))
    customers = len({made["customer"] for made in own if _worth(made)})
    sums["closing_customers"] = customers
    sums["arpa"] = _rounded(Decimal(sums["closing"]) / customers) if customers else 0
    for status in ("active", "past_due", "trialing"):
        sums[status] = sum(made["status"] == status for made in own)


def _bucket(late: int) -> str:
    """Of days past due."""
    names = {30: "0 to 30 days", 60: "31 to 60 days", 90: "61 to 90 days"}
    return next((name for most, name in names.items() if late <= most), "Over 90 days")


def first_days(since: int, until: int, zone: str) -> list[str]:
    """The first days of the months between two moments."""
    day = datetime.fromtimestamp(since, UTC).astimezone(ZoneInfo(zone)).date().replace(day=1)
    last = datetime.fromtimestamp(until, UTC).astimezone(ZoneInfo(zone)).date()
    months = []
    while day <= last:
        months.append(day.isoformat())
        day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return months
