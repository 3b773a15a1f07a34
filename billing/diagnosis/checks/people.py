"""Customers: deleted, unknown or otherwise at Stripe; rows that somebody changed by raw SQL."""

from collections.abc import Iterator, Mapping
from typing import Any

from billing.diagnosis.checks.subscriptions import LIVE
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingCustomer, BillingEvent
from billing.projection.accounts import customer_row


def at_stripe(facts: Facts) -> Iterator[Finding]:
    """Customers whom Stripe has deleted, does not know, or has otherwise."""
    for row in facts.customers:
        data = facts.stripe.of("customer").get(row.stripe_customer_id) if facts.stripe else None
        if facts.stripe and row.stripe_customer_id in facts.stripe.unknown:
            yield _unknown(row)
        elif data is not None and data.get("deleted") is True and not row.deleted:
            yield _deleted(row, "Stripe has deleted the customer, and here nobody knows.")
        elif row.deleted and (left := _left_behind(facts, row)):
            yield _deleted(row, f"The customer is deleted at Stripe, and here {left} still open.")
        elif data is not None and not data.get("deleted"):
            yield from _otherwise(row, customer_row(data))


def _unknown(row: BillingCustomer) -> Finding:
    mode = "live" if row.livemode else "test"
    return Finding(
        Kind.CUSTOMER_UNKNOWN,
        Severity.WARNING,
        row.stripe_customer_id,
        f"Stripe knows no customer {row.stripe_customer_id}. They are of {mode} mode: see whether"
        " the key is that of another mode or account, or whether test data was deleted there.",
        (Evidence("Customer", row.email or row.name, row.stripe_customer_id, row.created_at),),
    )


def _deleted(row: BillingCustomer, verdict: str) -> Finding:
    return Finding(
        Kind.CUSTOMER_DELETED,
        Severity.ACCESS,
        row.stripe_customer_id,
        f"{verdict} Their subscriptions ended with them.",
        (Evidence("Customer", row.email or row.name, row.stripe_customer_id, row.created_at),),
        Fix("sync_from_stripe", {"kind": "customer", "id": row.stripe_customer_id}),
    )


def _left_behind(facts: Facts, row: BillingCustomer) -> str:
    """What a deleted customer still has here, as a clause; '' for nothing."""
    live = sum(
        s.stripe_customer_id == row.stripe_customer_id and s.status in LIVE
        for s in facts.subscriptions
    )
    return f"{live} subscription{'s are' if live > 1 else ' is'}" if live else ""


def _otherwise(row: BillingCustomer, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    names = ("email", "name")
    differing = [name for name in names if getattr(row, name) != wanted[name]]
    if differing:
        yield Finding(
            Kind.CUSTOMER_DIFFERS,
            Severity.WARNING,
            row.stripe_customer_id,
            f"Stripe has another {' and '.join(differing)} of the customer than we do.",
            tuple(
                Evidence(
                    name.capitalize(),
                    f"{wanted[name] or 'none'} at Stripe, {getattr(row, name) or 'none'} here",
                )
                for name in differing
            ),
            Fix("sync_from_stripe", {"kind": "customer", "id": row.stripe_customer_id}),
        )


# Tables whose rows are Stripe's, and what a sync calls them.
SYNCED: Mapping[str, tuple[str, str]] = {
    "billing_subscriptions": ("subscription", "stripe_subscription_id"),
    "billing_invoices": ("invoice", "stripe_invoice_id"),
    "billing_customers": ("customer", "stripe_customer_id"),
    "billing_payments": ("customer", "stripe_customer_id"),
}


def by_raw_sql(facts: Facts) -> Iterator[Finding]:
    """Rows of Stripe's that somebody changed by hand, until they were brought back or confirmed."""
    seen: set[tuple[str, str]] = set()
    for event in facts.sql_events:
        table = event.type.split(".")[1]
        if table not in SYNCED:
            continue
        kind, key = SYNCED[table]
        row = event.payload.get("after") or event.payload.get("before") or {}
        subject = str(row.get(key) or "")
        if not subject or (table, subject) in seen or _is_answered(facts, event, kind, subject):
            continue
        seen.add((table, subject))
        yield _changed(event, kind, subject)


def _changed(event: BillingEvent, kind: str, subject: str) -> Finding:
    payload = event.payload
    before, after = payload.get("before") or {}, payload.get("after") or {}
    columns = [name for name in after if before.get(name) != after[name]] if before else []
    who = f"{payload.get('database_user')} ({payload.get('application') or 'no program named'})"
    verb = event.type.rpartition(".")[2]
    what = {"insert": "added", "delete": "deleted"}.get(verb, "changed")
    return Finding(
        Kind.RAW_SQL,
        Severity.WARNING,
        subject,
        f"{who} {what} this {kind} by raw SQL, past the back office."
        " A sync shows whether Stripe agrees.",
        (
            Evidence("Raw SQL", f"{verb} by {who}", subject, event.created_at),
            *(
                Evidence(name, f"{before.get(name)} → {after[name]}")
                for name in columns
                if name != "updated_at"
            ),
        ),
        Fix("sync_from_stripe", {"kind": kind, "id": subject}),
    )


def _is_answered(facts: Facts, event: BillingEvent, kind: str, subject: str) -> bool:
    """Whether a sync or a replay of it, or of its customer, came after the change."""
    subjects = {subject, facts.user_id, *facts.person.customer_ids}
    if any(
        operation.name in ("sync_from_stripe", "record_subscription", "reactivate_subscription")
        and operation.subject in subjects
        and operation.created_at > event.recorded_at
        for operation in facts.operations
    ):
        return True
    return kind != "customer" and any(
        each.object_id == subject
        and each.processed_at is not None
        and each.processed_at > event.recorded_at
        for each in facts.about.get(subject, ())
    )


CHECKS: tuple[Check, ...] = (at_stripe, by_raw_sql)
