"""What a back office must hold after a year, from the sandbox's state as its API tells it.

Nothing here uses the back office's own code: what is owed to whom is worked out once more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.sandbox.server import SandboxProcess

Books = dict[str, dict[str, Any]]
"""Rows by table and id."""

COLUMNS = {
    "billing_subscriptions": (
        "user_id, stripe_customer_id, status, price_id, quantity, amount, currency,"
        " current_period_start, current_period_end, cancel_at_period_end, cancel_at, canceled_at,"
        " ended_at, cancellation_reason, trial_end, collection_paused, latest_invoice_id"
    ),
    "billing_invoices": (
        "user_id, stripe_customer_id, stripe_subscription_id, number, status, billing_reason,"
        " currency, total, amount_due, amount_paid, amount_remaining, attempt_count,"
        " next_payment_attempt, due_date, period_start, period_end, paid_at"
    ),
    "billing_payments": (
        "stripe_customer_id, payment_intent_id, status, amount, amount_refunded, currency,"
        " disputed, failure_code, failure_message, brand, last4, created_at"
    ),
}
KEYS = {
    "billing_subscriptions": "stripe_subscription_id",
    "billing_invoices": "stripe_invoice_id",
    "billing_payments": "stripe_charge_id",
}


def found(url: str) -> Books:
    """The back office's rows."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET timezone TO 'UTC'")
        books: Books = {
            table: {
                row.pop(KEYS[table]): row
                for row in connection.execute(
                    f"SELECT {KEYS[table]}, {columns} FROM {table}"  # noqa: S608
                )
            }
            for table, columns in COLUMNS.items()
        }
        books["lead_credits"] = {
            row["user_id"]: row["credits"]
            for row in connection.execute(
                "SELECT user_id, balance - owed AS credits FROM lead_credits WHERE balance <> owed"
            )
        }
        books["credit_entries"] = {
            row["source"]: row["credits"]
            for row in connection.execute(
                "SELECT source, delta - owed_delta AS credits FROM credit_entries"
                " WHERE kind IN ('pack', 'subscription')"
            )
        }
        sums = connection.execute(
            "SELECT user_id, sum(delta)::bigint, sum(owed_delta)::bigint FROM credit_entries"
            " GROUP BY user_id EXCEPT SELECT user_id, balance, owed FROM lead_credits"
        ).fetchall()
    assert not sums, f"the ledger does not add up for {sums[:5]}"
    return books


@dataclass(frozen=True)
class Grant:
    """The credits of one purchase; money that was paid and taken back in minor units."""

    user_id: str
    by_source: dict[str, int]
    paid: int
    taken_back: int

    def left(self) -> int:
        """The credits that are left: refunds and lost disputes take their share of them."""
        granted = sum(self.by_source.values())
        taken = granted * min(self.taken_back, self.paid) // self.paid if self.paid else 0
        return granted - taken


class Stripe:
    """The sandbox's state, read through its API alone."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.users = {
            customer["id"]: customer["metadata"].get("user_id")
            for customer in self.all("customers")
        }
        self.worth = {
            price["id"]: int(price["metadata"]["lead_credits"]) for price in self.all("prices")
        }

    def all(self, path: str, **params: Any) -> Iterator[Any]:
        """Every object of a list."""
        after: dict[str, str] = {}
        while True:
            page = self.sandbox.get(f"/v1/{path}", limit=100, **params, **after).json()
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    def books(self) -> Books:
        """The rows that a back office must hold."""
        invoices = list(self.all("invoices"))
        grants = self.grants(invoices)
        balances: Counter[str] = Counter()
        for grant in grants:
            balances[grant.user_id] += grant.left()
        return {
            "billing_subscriptions": {
                made["id"]: self.subscription(made)
                for made in self.all("subscriptions", status="all")
            },
            "billing_invoices": {made["id"]: self.invoice(made) for made in invoices},
            "billing_payments": {made["id"]: self.payment(made) for made in self.all("charges")},
            "lead_credits": {user: credits_ for user, credits_ in balances.items() if credits_},
            "credit_entries": {
                source: credits_ for grant in grants for source, credits_ in grant.by_source.items()
            },
        }

    def subscription(self, made: Any) -> dict[str, Any]:
        item = made["items"]["data"][0]
        return {
            "user_id": self.users[made["customer"]],
            "stripe_customer_id": made["customer"],
            "status": made["status"],
            "price_id": item["price"]["id"],
            "quantity": item["quantity"],
            "amount": item["price"]["unit_amount"] * item["quantity"],
            "currency": made["currency"],
            "current_period_start": moment(item["current_period_start"]),
            "current_period_end": moment(item["current_period_end"]),
            "cancel_at_period_end": made["cancel_at_period_end"],
            "cancel_at": moment(made["cancel_at"]),
            "canceled_at": moment(made["canceled_at"]),
            "ended_at": moment(made["ended_at"]),
            "cancellation_reason": made["cancellation_details"]["reason"] or "",
            "trial_end": moment(made["trial_end"]),
            "collection_paused": made["pause_collection"] is not None,
            "latest_invoice_id": made["latest_invoice"],
        }

    def invoice(self, made: Any) -> dict[str, Any]:
        plain = ("status", "billing_reason", "currency", "total", "amount_due", "amount_paid",
                 "amount_remaining", "attempt_count")  # fmt: skip
        times = ("next_payment_attempt", "due_date", "period_start", "period_end")
        return {
            "user_id": self.users[made["customer"]],
            "stripe_customer_id": made["customer"],
            "stripe_subscription_id": made["parent"]["subscription_details"]["subscription"],
            "number": made["number"] or "",
            **{name: made[name] for name in plain},
            **{name: moment(made[name]) for name in times},
            "paid_at": moment(made["status_transitions"]["paid_at"]),
        }

    def payment(self, made: Any) -> dict[str, Any]:
        plain = ("status", "amount", "amount_refunded", "currency", "disputed")
        kind = made["payment_method_details"]["type"]
        method = made["payment_method_details"][kind]
        return {
            "stripe_customer_id": made["customer"] or "",
            "payment_intent_id": made["payment_intent"],
            **{name: made[name] for name in plain},
            "failure_code": made["failure_code"] or "",
            "failure_message": made["failure_message"] or "",
            "brand": method.get("brand", kind),
            "last4": method["last4"],
            "created_at": moment(made["created"]),
        }

    def grants(self, invoices: list[Any]) -> list[Grant]:
        """What every paid period and every paid pack is worth."""
        taken = self.taken_back()
        intents: dict[str, list[str]] = defaultdict(list)
        for payment in self.all("invoice_payments"):
            intents[payment["invoice"]].append(payment["payment"]["payment_intent"])
        grants = []
        for made in invoices:
            periods = made["billing_reason"] in ("subscription_create", "subscription_cycle")
            if made["status"] == "paid" and periods:
                sources = {
                    f"invoice:{made['id']}:{line['id']}": self.line_worth(line)
                    for line in self.lines_of(made)
                    if line["parent"]["type"] == "subscription_item_details"
                }
                reversed_ = sum(taken[intent] for intent in intents[made["id"]])
                user = self.users[made["customer"]]
                grants.append(Grant(user, sources, made["amount_paid"], reversed_))
        for made in self.all("checkout/sessions", **{"expand[]": "data.line_items"}):
            if made["mode"] == "payment" and made["payment_status"] == "paid":
                worth = sum(
                    self.worth[line["price"]["id"]] * line["quantity"]
                    for line in made["line_items"]["data"]
                )
                sources = {f"checkout:{made['id']}": worth}
                reversed_ = taken[made["payment_intent"]]
                user = made["client_reference_id"]
                grants.append(Grant(user, sources, made["amount_total"], reversed_))
        return grants

    def lines_of(self, invoice: Any) -> list[Any]:
        """All lines, also those that an invoice does not embed."""
        if not invoice["lines"]["has_more"]:
            return list(invoice["lines"]["data"])
        return list(self.all(f"invoices/{invoice['id']}/lines"))

    def line_worth(self, line: Any) -> int:
        """What a line of an invoice is worth in credits; a free trial is a period, too."""
        return self.worth[line["pricing"]["price_details"]["price"]] * line["quantity"]

    def taken_back(self) -> Counter[str]:
        """Minor units taken back, by payment intent."""
        taken: Counter[str] = Counter()
        for refund in self.all("refunds"):
            if refund["status"] not in ("failed", "canceled"):
                taken[refund["payment_intent"]] += refund["amount"]
        for dispute in self.all("disputes"):
            if sum(moved["amount"] for moved in dispute["balance_transactions"]) < 0:
                taken[dispute["payment_intent"]] += dispute["amount"]
        return taken


def moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def differences(ours: Books, stripes: Books) -> list[str]:
    """One line for each row that differs, is missing, or should not be there."""
    lines = []
    for table, expected in stripes.items():
        rows = ours[table]
        for key in sorted(expected.keys() | rows.keys()):
            mine, theirs = rows.get(key), expected.get(key)
            if mine == theirs:
                continue
            if isinstance(mine, dict) and isinstance(theirs, dict):
                fields = [name for name in theirs if mine[name] != theirs[name]]
                mine = {name: str(mine[name]) for name in fields}
                theirs = {name: str(theirs[name]) for name in fields}
            lines.append(f"{table} {key}: here {mine}, at Stripe {theirs}")
    return lines
