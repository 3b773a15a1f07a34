"""What a back office must hold, from the sandbox's state as its API tells it.

Nothing here uses the back office's own code: what is owed to whom is worked out once more. What
Stripe cannot tell is the model's (backoffice.drill.model).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from backoffice.drill.model import Model
from backoffice.drill.sandbox import SandboxClient

Books = dict[str, dict[str, Any]]
"""Rows by table and id."""

COLUMNS = {
    "billing_customers": "user_id, email, name, deleted",
    "billing_purchases": (
        "kind, status, user_id, stripe_customer_id, amount, currency, credits, created_at"
    ),
    "billing_payment_reversals": (
        "kind, payment_intent_id, charge_id, amount, currency, status, active, created_at"
    ),
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
    "billing_customers": "stripe_customer_id",
    "billing_purchases": "source",
    "billing_payment_reversals": "stripe_id",
    "billing_subscriptions": "stripe_subscription_id",
    "billing_invoices": "stripe_invoice_id",
    "billing_payments": "stripe_charge_id",
}

# dj-stripe's tables, with the lists of Stripe's that they mirror.
MIRRORS = {
    "djstripe_customer": "customers",
    "djstripe_subscription": "subscriptions",
    "djstripe_invoice": "invoices",
    "djstripe_charge": "charges",
    "djstripe_paymentintent": "payment_intents",
    "djstripe_session": "checkout/sessions",
    "djstripe_refund": "refunds",
    "djstripe_dispute": "disputes",
    "djstripe_price": "prices",
    "djstripe_product": "products",
}
ALL_OF = {
    "subscriptions": {"status": "all"},
    "checkout/sessions": {"expand[]": "data.line_items"},
}
# What each purchase was granted in all, by whatever entries.
GRANTED = """
    SELECT split_part(source, ':', 2) AS source, sum(delta - owed_delta)::bigint AS credits
    FROM credit_entries WHERE source ~ '^(checkout|invoice):' GROUP BY 1
    HAVING sum(delta - owed_delta) <> 0
"""


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
        books["billing_invoice_payments"] = {
            row["payment_intent_id"]: row["stripe_invoice_id"]
            for row in connection.execute(
                "SELECT payment_intent_id, stripe_invoice_id FROM billing_invoice_payments"
            )
        }
        books["credit_entries"] = {
            row["source"]: row["credits"] for row in connection.execute(GRANTED)
        }
    return books


def off_the_ledger(url: str) -> list[str]:
    """Users whose balance, or what they owe, is not what their entries add up to."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT coalesce(e.user_id, c.user_id) FROM"
            " (SELECT user_id, sum(delta) AS balance, sum(owed_delta) AS owed FROM credit_entries"
            "  GROUP BY user_id) e FULL JOIN lead_credits c USING (user_id)"
            " WHERE (coalesce(e.balance, 0), coalesce(e.owed, 0))"
            " IS DISTINCT FROM (coalesce(c.balance, 0), coalesce(c.owed, 0)) ORDER BY 1"
        )
        return [user for (user,) in rows]


def mirrored(url: str) -> Books:
    """The status of every object that dj-stripe's tables have, '' where it has none."""
    with psycopg.connect(url) as connection:
        return {
            table: dict(
                connection.execute(
                    f"SELECT id, coalesce(stripe_data->>'status', '') FROM {table}"  # noqa: S608
                ).fetchall()
            )
            for table in MIRRORS
        }


@dataclass(frozen=True)
class Grant:
    """The credits of one purchase; money that was paid and taken back in minor units."""

    user_id: str
    purchase: str
    credits: int
    paid: int
    taken_back: int

    def left(self) -> int:
        """The credits that are left: refunds and lost disputes take their share of them."""
        taken = self.credits * min(self.taken_back, self.paid) // self.paid if self.paid else 0
        return self.credits - taken


class Stripe:
    """The sandbox's state, read through its API alone, and what only we know.

    With `is_still` nothing changes at the sandbox meanwhile: each list is read once.
    """

    def __init__(
        self, sandbox: SandboxClient, model: Model | None = None, *, is_still: bool = False
    ) -> None:
        self.sandbox = sandbox
        self.model = model or Model()
        self.kept: dict[str, list[Any]] | None = {} if is_still else None
        self.customers = {customer["id"]: customer for customer in self.all("customers")}
        self.sessions = list(self.all("checkout/sessions", **ALL_OF["checkout/sessions"]))
        self.users = {
            customer: made["metadata"].get("user_id") or self.user_in_checkout(customer)
            for customer, made in self.customers.items()
        }
        self.worth = {
            price["id"]: int(price["metadata"]["lead_credits"]) for price in self.all("prices")
        }

    def all(self, path: str, **params: Any) -> Iterator[Any]:
        if self.kept is None:
            return listed(self.sandbox, path, **params)
        if path not in self.kept:
            self.kept[path] = list(listed(self.sandbox, path, **params))
        return iter(self.kept[path])

    def user_in_checkout(self, customer: str) -> str | None:
        """Who the customer said to be in the first session that says it."""
        named = [
            (made["created"], made["client_reference_id"])
            for made in self.sessions
            if made["customer"] == customer and made["client_reference_id"]
        ]
        return min(named)[1] if named else None

    def books(self) -> Books:
        """The rows that a back office must hold."""
        invoices = list(self.all("invoices"))
        purchases = dict(self.purchases(invoices))
        grants = self.grants(purchases)
        balances = self.model.by_user()
        for grant in grants:
            balances[grant.user_id] += grant.left()
        return {
            "billing_customers": {
                customer: self.customer(made) for customer, made in self.customers.items()
            },
            "billing_subscriptions": {
                made["id"]: self.subscription(made)
                for made in self.all("subscriptions", **ALL_OF["subscriptions"])
            },
            "billing_invoices": {made["id"]: self.invoice(made) for made in invoices},
            "billing_payments": {made["id"]: self.payment(made) for made in self.all("charges")},
            "billing_purchases": {source: bought["row"] for source, bought in purchases.items()},
            "billing_payment_reversals": {
                made["id"]: reversal(made)
                for kind in ("refunds", "disputes")
                for made in self.all(kind)
            },
            "billing_invoice_payments": {
                payment["payment"]["payment_intent"]: payment["invoice"]
                for payment in self.all("invoice_payments")
            },
            "lead_credits": {user: credits_ for user, credits_ in balances.items() if credits_},
            "credit_entries": {grant.purchase: grant.credits for grant in grants if grant.credits},
        }

    def mirrored(self) -> Books:
        """The status of every object that the mirror must have."""
        return {
            table: {
                made["id"]: made.get("status") or ""
                for made in self.all(path, **ALL_OF.get(path, {}))
            }
            for table, path in MIRRORS.items()
        }

    def customer(self, made: Any) -> dict[str, Any]:
        return {
            "user_id": self.users[made["id"]],
            "email": made["email"] or "",
            "name": made["name"] or "",
            "deleted": False,
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

    def purchases(self, invoices: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What every paid period and every paid pack is: its row, and what paid for it."""
        intents: dict[str, list[str]] = defaultdict(list)
        for payment in self.all("invoice_payments"):
            intents[payment["invoice"]].append(payment["payment"]["payment_intent"])
        for made in invoices:
            periods = made["billing_reason"] in ("subscription_create", "subscription_cycle")
            if made["status"] == "paid" and periods:
                worth = sum(
                    self.line_worth(line)
                    for line in self.lines_of(made)
                    if line["parent"]["type"] == "subscription_item_details"
                )
                row = self.bought("subscription", made, self.users[made["customer"]], worth)
                row["amount"] = made["amount_paid"]
                yield made["id"], {"row": row, "intents": intents[made["id"]]}
        for made in self.sessions:
            if made["mode"] == "payment" and made["payment_status"] == "paid":
                worth = sum(
                    self.worth[line["price"]["id"]] * line["quantity"]
                    for line in made["line_items"]["data"]
                )
                user = self.model.attributed.get(made["id"], made["client_reference_id"])
                row = self.bought("pack", made, user, worth)
                row["amount"] = made["amount_total"]
                yield made["id"], {"row": row, "intents": [made["payment_intent"]]}

    def bought(self, kind: str, made: Any, user: str | None, worth: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "status": "granted" if user else "unattributed",
            "user_id": user,
            "stripe_customer_id": made["customer"] or "",
            "currency": made["currency"],
            "credits": worth,
            "created_at": moment(made["created"]),
        }

    def grants(self, purchases: dict[str, dict[str, Any]]) -> list[Grant]:
        """What every purchase of somebody whom we know has brought."""
        taken = self.taken_back()
        return [
            Grant(
                row["user_id"],
                source,
                row["credits"],
                row["amount"],
                sum(taken[intent] for intent in bought["intents"]),
            )
            for source, bought in purchases.items()
            if (row := bought["row"])["user_id"]
        ]

    def lines_of(self, invoice: Any) -> list[Any]:
        """All lines, also those that an invoice does not embed."""
        if not invoice["lines"]["has_more"]:
            return list(invoice["lines"]["data"])
        return list(self.all(f"invoices/{invoice['id']}/lines"))

    def line_worth(self, line: Any) -> int:
        """What a line of an invoice is worth in credits; a free trial is a period, too."""
        return int(self.worth[line["pricing"]["price_details"]["price"]] * line["quantity"])

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


def listed(sandbox: SandboxClient, path: str, **params: Any) -> Iterator[Any]:
    """Every object of a list of Stripe's."""
    after: dict[str, str] = {}
    while True:
        page = sandbox.get(f"/v1/{path}", limit=100, **params, **after).json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"starting_after": page["data"][-1]["id"]}


def reversal(made: Any) -> dict[str, Any]:
    """A refund, or a dispute."""
    kind = made["object"]
    if kind == "refund":
        active = made["status"] not in ("failed", "canceled")
    else:
        active = sum(moved["amount"] for moved in made["balance_transactions"]) < 0
    return {
        "kind": kind,
        "payment_intent_id": made["payment_intent"] or "",
        "charge_id": made["charge"],
        "amount": made["amount"],
        "currency": made["currency"],
        "status": made["status"],
        "active": active,
        "created_at": moment(made["created"]),
    }


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
