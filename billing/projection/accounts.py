"""Stripe's customers, subscriptions, invoices and charges as rows of the billing tables.

Each mapping is a pure function of one object; each table is written by one statement,
whatever the number of objects. Who a customer is for us is decided here too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from billing.database import as_json, cursor, recordset
from billing.gateway.observation import Observation, StripeDict, from_timestamp
from billing.gateway.shapes import (
    dig,
    id_of,
    invoice_subscription_id,
    metadata_user_id,
    session_user_id,
    subscription_items,
    subscription_period,
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """How rows of one billing table are written: its key, and each column's SQL type."""

    name: str
    key: str
    columns: dict[str, str]
    user_id_from: str


# An operator's word on the customer, then the object's own metadata, then the customer's.
WHOSE = (
    "coalesce(CASE WHEN c.attributed_by = 'operator' THEN c.user_id END,"
    " nullif(n.user_id, ''), c.user_id)"
)

CUSTOMERS = Table(
    "billing_customers",
    "stripe_customer_id",
    {
        "email": "text",
        "name": "text",
        "delinquent": "bool",
        "deleted": "bool",
        "livemode": "bool",
        "created_at": "timestamptz",
    },
    user_id_from="",
)
SUBSCRIPTIONS = Table(
    "billing_subscriptions",
    "stripe_subscription_id",
    {
        "stripe_customer_id": "text",
        "status": "text",
        "price_id": "text",
        "quantity": "bigint",
        "amount": "bigint",
        "currency": "text",
        "current_period_start": "timestamptz",
        "current_period_end": "timestamptz",
        "cancel_at_period_end": "bool",
        "cancel_at": "timestamptz",
        "canceled_at": "timestamptz",
        "ended_at": "timestamptz",
        "cancellation_reason": "text",
        "trial_end": "timestamptz",
        "collection_paused": "bool",
        "latest_invoice_id": "text",
        "livemode": "bool",
        "created_at": "timestamptz",
    },
    user_id_from=WHOSE,
)
INVOICES = Table(
    "billing_invoices",
    "stripe_invoice_id",
    {
        "stripe_customer_id": "text",
        "stripe_subscription_id": "text",
        "number": "text",
        "status": "text",
        "billing_reason": "text",
        "currency": "text",
        "total": "bigint",
        "amount_due": "bigint",
        "amount_paid": "bigint",
        "amount_remaining": "bigint",
        "attempt_count": "int",
        "next_payment_attempt": "timestamptz",
        "due_date": "timestamptz",
        "period_start": "timestamptz",
        "period_end": "timestamptz",
        "finalized_at": "timestamptz",
        "paid_at": "timestamptz",
        "voided_at": "timestamptz",
        "uncollectible_at": "timestamptz",
        "hosted_invoice_url": "text",
        "livemode": "bool",
        "created_at": "timestamptz",
    },
    user_id_from=WHOSE,
)


PAYMENTS = Table(
    "billing_payments",
    "stripe_charge_id",
    {
        "stripe_customer_id": "text",
        "payment_intent_id": "text",
        "status": "text",
        "amount": "bigint",
        "amount_refunded": "bigint",
        "currency": "text",
        "disputed": "bool",
        "failure_code": "text",
        "decline_reason": "text",
        "failure_message": "text",
        "brand": "text",
        "last4": "text",
        "livemode": "bool",
        "created_at": "timestamptz",
    },
    user_id_from="",
)


def customer_row(customer: StripeDict) -> Row:
    return {
        "stripe_customer_id": customer["id"],
        "email": text(customer.get("email")),
        "name": text(customer.get("name")),
        "delinquent": customer.get("delinquent") is True,
        "deleted": customer.get("deleted") is True,
        "livemode": customer.get("livemode") is True,
        "created_at": moment(customer.get("created")),
    }


def subscription_row(subscription: StripeDict) -> Row:
    items = subscription_items(subscription)
    first: StripeDict = items[0] if items else {}
    start, end = subscription_period(subscription)
    amounts = [
        (dig(item, "price", "unit_amount") or 0) * (item.get("quantity") or 0) for item in items
    ]
    return {
        "stripe_subscription_id": subscription["id"],
        "user_id": metadata_user_id(subscription),
        "stripe_customer_id": id_of(subscription.get("customer")),
        "status": text(subscription.get("status")),
        "price_id": id_of(first.get("price")) or id_of(first.get("plan")),
        "quantity": first.get("quantity") or 1,
        "amount": sum(amounts) if items else None,
        "currency": text(subscription.get("currency")),
        "current_period_start": moment(start),
        "current_period_end": moment(end),
        "cancel_at_period_end": subscription.get("cancel_at_period_end") is True,
        "cancel_at": moment(subscription.get("cancel_at")),
        "canceled_at": moment(subscription.get("canceled_at")),
        "ended_at": moment(subscription.get("ended_at")),
        "cancellation_reason": text(dig(subscription, "cancellation_details", "reason")),
        "trial_end": moment(subscription.get("trial_end")),
        "collection_paused": bool(subscription.get("pause_collection")),
        "latest_invoice_id": id_of(subscription.get("latest_invoice")),
        "livemode": subscription.get("livemode") is True,
        "created_at": moment(subscription.get("created")),
    }


def invoice_row(invoice: StripeDict) -> Row:
    times = invoice.get("status_transitions")
    return {
        "stripe_invoice_id": invoice["id"],
        "user_id": metadata_user_id(invoice),
        "stripe_customer_id": id_of(invoice.get("customer")),
        "stripe_subscription_id": invoice_subscription_id(invoice),
        "number": text(invoice.get("number")),
        "status": text(invoice.get("status")),
        "billing_reason": text(invoice.get("billing_reason")),
        "currency": text(invoice.get("currency")),
        "total": invoice.get("total") or 0,
        "amount_due": invoice.get("amount_due") or 0,
        "amount_paid": invoice.get("amount_paid") or 0,
        "amount_remaining": invoice.get("amount_remaining") or 0,
        "attempt_count": invoice.get("attempt_count") or 0,
        "next_payment_attempt": moment(invoice.get("next_payment_attempt")),
        "due_date": moment(invoice.get("due_date")),
        "period_start": moment(invoice.get("period_start")),
        "period_end": moment(invoice.get("period_end")),
        "finalized_at": moment(dig(times, "finalized_at")),
        "paid_at": moment(dig(times, "paid_at")),
        "voided_at": moment(dig(times, "voided_at")),
        "uncollectible_at": moment(dig(times, "marked_uncollectible_at")),
        "hosted_invoice_url": text(invoice.get("hosted_invoice_url")),
        "livemode": invoice.get("livemode") is True,
        "created_at": moment(invoice.get("created")),
    }


def payment_row(charge: StripeDict) -> Row:
    """A charge. What kind of method it was says where its brand and last digits stand."""
    method = charge.get("payment_method_details")
    kind = text(dig(method, "type"))
    return {
        "stripe_charge_id": charge["id"],
        "stripe_customer_id": id_of(charge.get("customer")),
        "payment_intent_id": id_of(charge.get("payment_intent")),
        "status": text(charge.get("status")),
        "amount": charge.get("amount") or 0,
        "amount_refunded": charge.get("amount_refunded") or 0,
        "currency": text(charge.get("currency")),
        "disputed": charge.get("disputed") is True,
        "failure_code": text(charge.get("failure_code")),
        "decline_reason": text(dig(charge, "outcome", "reason")),
        "failure_message": text(charge.get("failure_message")),
        "brand": text(dig(method, kind, "brand")) or kind,
        "last4": text(dig(method, kind, "last4")),
        "livemode": charge.get("livemode") is True,
        "created_at": moment(charge.get("created")),
    }


@dataclass(slots=True)
class Projected:
    """Customers whose user became known, and Stripe ids of rows that were made or changed."""

    attributed: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)


def project(written: Iterable[Observation]) -> Projected:
    """Writes the rows of these objects.

    Sessions and customers are looked at for who a customer is before the rows that
    inherit it are written.
    """
    by_kind: dict[str, list[Observation]] = {}
    for item in written:
        by_kind.setdefault(item.kind, []).append(item)
    customers = [_customer_data(item) for item in by_kind.get("customer", [])]
    changed = _upsert_customers(customers)
    newly_known = attribute(
        [
            *_from_customers(customers),
            *_from_sessions(item.data for item in by_kind.get("checkout.session", [])),
        ]
    )
    changed |= upsert(SUBSCRIPTIONS, _rows(subscription_row, by_kind.get("subscription", [])))
    changed |= upsert(INVOICES, _rows(invoice_row, by_kind.get("invoice", [])))
    changed |= upsert(PAYMENTS, _rows(payment_row, by_kind.get("charge", [])))
    return Projected(newly_known, changed | newly_known)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What says that a Stripe customer is a user of ours. The lower rank wins, then the earlier."""

    customer_id: str
    user_id: str
    by: str
    at: datetime
    livemode: bool = False


OPERATOR = "operator"
RANKS = (OPERATOR, "customer", "checkout")


def attribute(attributions: Sequence[Attribution]) -> set[str]:
    """Notes who these customers are; returns those whose user became known or changed.

    Rows of the customer that had no user inherit it. An operator's word stands over
    the customer's own metadata, that over a session's reference, and of two sessions
    the earlier one counts: so the order of arrival does not.
    """
    if not attributions:
        return set()
    best: dict[str, Attribution] = {}
    for item in sorted(attributions, key=lambda a: (RANKS.index(a.by), a.at, a.user_id)):
        best.setdefault(item.customer_id, item)
    chosen = [best[customer_id] for customer_id in sorted(best)]
    with cursor() as bound:
        bound.execute(
            """
            INSERT INTO billing_customers AS c (stripe_customer_id, user_id, attributed_by,
                                                attributed_at, livemode)
            SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::bool[])
            ON CONFLICT (stripe_customer_id) DO UPDATE
            SET user_id = excluded.user_id, attributed_by = excluded.attributed_by,
                attributed_at = excluded.attributed_at, updated_at = now()
            WHERE c.user_id IS NULL
               OR (array_position(%s::text[], excluded.attributed_by), excluded.attributed_at,
                   excluded.user_id)
                < (coalesce(array_position(%s::text[], nullif(c.attributed_by, '')), 0),
                   coalesce(c.attributed_at, '-infinity'), c.user_id)
            RETURNING stripe_customer_id
            """,
            [
                [item.customer_id for item in chosen],
                [item.user_id for item in chosen],
                [item.by for item in chosen],
                [item.at for item in chosen],
                [item.livemode for item in chosen],
                list(RANKS),
                list(RANKS),
            ],
        )
        known = sorted(row[0] for row in bound.fetchall())
        for table in ("billing_subscriptions", "billing_invoices") if known else ():
            bound.execute(
                f"""
                UPDATE {table} AS t SET user_id = c.user_id, updated_at = now()
                FROM billing_customers c
                WHERE c.stripe_customer_id = ANY(%s)
                  AND t.stripe_customer_id = c.stripe_customer_id AND t.user_id IS NULL
                """,  # noqa: S608  (the tables are named above)
                [known],
            )
    return set(known)


def _customer_data(item: Observation) -> StripeDict:
    return {**item.data, "deleted": True} if item.deleted else item.data


def _from_customers(customers: Iterable[StripeDict]) -> list[Attribution]:
    return [
        Attribution(
            customer["id"],
            metadata_user_id(customer),
            "customer",
            dated(customer),
            customer.get("livemode") is True,
        )
        for customer in customers
        if metadata_user_id(customer)
    ]


def _from_sessions(sessions: Iterable[StripeDict]) -> list[Attribution]:
    return [
        Attribution(
            id_of(session.get("customer")),
            session_user_id(session),
            "checkout",
            dated(session),
            session.get("livemode") is True,
        )
        for session in sessions
        if session.get("status") == "complete"
        and id_of(session.get("customer"))
        and session_user_id(session)
    ]


def _rows(mapping: Callable[[StripeDict], Row], items: Sequence[Observation]) -> list[Row]:
    return [mapping(item.data) for item in items if not item.deleted]


def _upsert_customers(customers: Sequence[StripeDict]) -> set[str]:
    """A deleted customer keeps what was known of them: Stripe then tells only the id."""
    present = [customer for customer in customers if customer.get("deleted") is not True]
    gone = [customer["id"] for customer in customers if customer.get("deleted") is True]
    changed = upsert(CUSTOMERS, [customer_row(customer) for customer in present])
    if gone:
        with cursor() as bound:
            bound.execute(
                """
                INSERT INTO billing_customers (stripe_customer_id, deleted)
                SELECT unnest(%s::text[]), true
                ON CONFLICT (stripe_customer_id) DO UPDATE SET deleted = true, updated_at = now()
                WHERE NOT billing_customers.deleted
                RETURNING stripe_customer_id
                """,
                [sorted(gone)],
            )
            changed |= {row[0] for row in bound.fetchall()}
    return changed


def upsert(table: Table, rows: Sequence[Row]) -> set[str]:
    """One INSERT ... ON CONFLICT for all rows; returns the ids of those that changed."""
    if not rows:
        return set()
    names = list(table.columns)
    inherits = bool(table.user_id_from)
    types = {table.key: "text", "user_id": "text", **table.columns}
    user_column, user_value = (", user_id", f", {table.user_id_from}") if inherits else ("", "")
    join = "LEFT JOIN billing_customers c USING (stripe_customer_id)" if inherits else ""
    keep_user = f"user_id = coalesce(excluded.user_id, {table.name}.user_id)," if inherits else ""
    old = ", ".join(f"{table.name}.{name}" for name in names)
    new = ", ".join(f"excluded.{name}" for name in names)
    user_differs = (
        f"OR {table.name}.user_id IS DISTINCT FROM coalesce(excluded.user_id, {table.name}.user_id)"
        if inherits
        else ""
    )
    # `created_at` is NOT NULL; what Stripe does not date keeps the database's default.
    selected = ", ".join(
        "coalesce(n.created_at, now())" if name == "created_at" else f"n.{name}" for name in names
    )
    sql = f"""
        INSERT INTO {table.name} ({table.key}{user_column}, {", ".join(names)})
        SELECT n.{table.key}{user_value}, {selected}
        FROM {recordset(types)} {join}
        ORDER BY n.{table.key}
        ON CONFLICT ({table.key}) DO UPDATE
        SET {keep_user} {", ".join(f"{name} = excluded.{name}" for name in names)},
            updated_at = now()
        WHERE ({old}) IS DISTINCT FROM ({new}) {user_differs}
        RETURNING {table.key}
    """  # noqa: S608  (names of tables and columns stand above)
    with cursor() as bound:
        bound.execute(sql, [as_json(rows)])
        return {row[0] for row in bound.fetchall()}


def text(value: Any) -> str:
    """A text as PostgreSQL stores it: '' for none, no NUL character."""
    return str(value).replace("\x00", "\ufffd") if value is not None else ""


def moment(value: Any) -> datetime | None:
    """Unix seconds as UTC, None for none."""
    return from_timestamp(value) if isinstance(value, int) else None


def dated(data: StripeDict) -> datetime:
    """When Stripe made the object, UTC; the earliest time where it does not say."""
    return moment(data.get("created")) or datetime.min.replace(tzinfo=UTC)
