"""Customers: deleted, unknown or otherwise at Stripe; rows that somebody changed by raw SQL."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from billing.diagnosis import differences
from billing.diagnosis.causes import open_events, replay_of, sync_of
from billing.diagnosis.checks.subscriptions import LIVE
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_time
from billing.gateway.observation import StripeDict
from billing.models import BillingCustomer, BillingEvent
from billing.models.erasure import ERASED
from billing.projection.accounts import customer_row, invoice_row, payment_row, subscription_row


def at_stripe(facts: Facts) -> Iterator[Finding]:
    """Customers whom Stripe has deleted, does not know, or has otherwise."""
    for row in facts.customers:
        data = facts.stripe.of("customer").get(row.stripe_customer_id) if facts.stripe else None
        if facts.stripe and row.stripe_customer_id in facts.stripe.unknown:
            yield _unknown(row)
        elif data is not None and data.get("deleted") is True and not row.deleted:
            verdict = "Stripe has deleted the customer, and here nobody knows."
            yield _deleted(facts, row, verdict, _replay(facts, row))
        elif row.deleted and (left := _left_behind(facts, row)):
            verdict = f"The customer is deleted at Stripe, and here {left} still open."
            yield _deleted(facts, row, verdict)
        elif data is not None and not data.get("deleted"):
            yield from _otherwise(facts, row, customer_row(data))


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


def _replay(facts: Facts, row: BillingCustomer) -> Fix | None:
    """The lost events of a deletion, and of the subscriptions that ended with the customer; None
    where the customer's own is not among them: their end alone does not tell of it."""
    theirs = row.stripe_customer_id
    if not open_events(facts, theirs):
        return None
    subscriptions = [s for s in facts.subscriptions if s.stripe_customer_id == theirs]
    return replay_of(facts, theirs, *(each.stripe_subscription_id for each in subscriptions))


def _deleted(
    facts: Facts, row: BillingCustomer, verdict: str, replay: Fix | None = None
) -> Finding:
    return Finding(
        Kind.CUSTOMER_DELETED,
        Severity.ACCESS,
        row.stripe_customer_id,
        f"{verdict} Their subscriptions ended with them.",
        (Evidence("Customer", row.email or row.name, row.stripe_customer_id, row.created_at),),
        replay or Fix("sync_from_stripe", {"kind": "customer", "id": row.stripe_customer_id}),
        open_events(facts, row.stripe_customer_id),
    )


def _left_behind(facts: Facts, row: BillingCustomer) -> str:
    """What a deleted customer still has here, and not at Stripe, as a clause; '' for nothing."""
    theirs = row.stripe_customer_id
    live = sum(s.stripe_customer_id == theirs and s.status in LIVE for s in facts.subscriptions)
    closed = sum(
        i.stripe_customer_id == theirs and i.status == "open" and facts.status_of(i) != "open"
        for i in facts.invoices
    )
    left = [_counted(live, "subscription"), _counted(closed, "invoice")]
    named = " and ".join(each for each in left if each)
    return f"{named} {'is' if live + closed == 1 else 'are'}" if named else ""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""


def _otherwise(facts: Facts, row: BillingCustomer, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    names = ("email", "name")
    if row.name == ERASED:  # Stripe may know them yet; we do not (billing.operations.erasure)
        return
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
            replay_of(facts, row.stripe_customer_id)
            or Fix("sync_from_stripe", {"kind": "customer", "id": row.stripe_customer_id}),
            open_events(facts, row.stripe_customer_id),
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows are Stripe's: what one is called, its key, and what brings it back."""

    kind: str  # as Stripe was asked for it
    key: str
    row: Callable[[StripeDict], Mapping[str, Any]]
    rows: Callable[[Facts], Sequence[Model]]
    sync: str  # the kind of object that is synced, and the column with its id
    sync_key: str


TABLES: Mapping[str, Table] = {
    "billing_subscriptions": Table(
        "subscription",
        "stripe_subscription_id",
        subscription_row,
        lambda facts: facts.subscriptions,
        "subscription",
        "stripe_subscription_id",
    ),
    "billing_invoices": Table(
        "invoice",
        "stripe_invoice_id",
        invoice_row,
        lambda facts: facts.invoices,
        "invoice",
        "stripe_invoice_id",
    ),
    "billing_customers": Table(
        "customer",
        "stripe_customer_id",
        customer_row,
        lambda facts: facts.customers,
        "customer",
        "stripe_customer_id",
    ),
    "billing_payments": Table(
        "charge",
        "stripe_charge_id",
        payment_row,
        lambda facts: facts.payments,
        "customer",
        "stripe_customer_id",
    ),
}
CALLED = {"charge": "payment"}
OURS = frozenset({"id", "user_id", "attributed_by", "attributed_at"})  # not Stripe's to confirm
BY_SYNC = ("sync_from_stripe", "record_subscription", "reactivate_subscription")
LONGEST = 200  # characters of a value that are shown


def by_raw_sql(facts: Facts) -> Iterator[Finding]:
    """Rows of Stripe's that somebody changed by hand, until they were brought back or confirmed."""
    seen: set[tuple[str, str]] = set()
    for event in facts.sql_events:
        name = event.type.split(".")[1]
        if name not in TABLES:
            continue
        table, row = TABLES[name], {**_state(event, "before"), **_state(event, "after")}
        subject, synced = str(row.get(table.key) or ""), str(row.get(table.sync_key) or "")
        if not subject or (name, subject) in seen or not _columns(event):
            continue
        if _is_synced(facts, event, {subject, synced}) or _agrees(facts, event, table, subject):
            continue
        seen.add((name, subject))
        yield _changed(event, table, subject, synced)


def _state(event: BillingEvent, when: str) -> dict[str, Any]:
    """The row `before` or `after` the change; {} where there was none. NULLs are left out."""
    found = event.payload.get(when)
    return found if isinstance(found, dict) else {}


def _columns(event: BillingEvent) -> list[str]:
    """The columns that were changed; all of them where the row was added or deleted."""
    before, after = _state(event, "before"), _state(event, "after")
    names = sorted({*before, *after} - {"updated_at"})
    return [name for name in names if before.get(name) != after.get(name)]


def _changed(event: BillingEvent, table: Table, subject: str, synced: str) -> Finding:
    payload, called = event.payload, CALLED.get(table.kind, table.kind)
    who = f"{payload.get('database_user')} ({payload.get('application') or 'no program named'})"
    verb = event.type.rpartition(".")[2]
    what = {"insert": "added", "delete": "deleted"}.get(verb, "changed")
    before, after = _state(event, "before"), _state(event, "after")
    columns = _columns(event) if before and after else ()
    return Finding(
        Kind.RAW_SQL,
        Severity.WARNING,
        subject,
        f"{who} {what} this {called} by raw SQL at {format_time(event.created_at)}, past the back"
        f" office. A sync of the {table.sync if synced else called} shows whether Stripe agrees.",
        (
            Evidence("Raw SQL", f"{verb} by {who}", subject, event.created_at),
            *(Evidence(n, f"{_shown(before.get(n))} → {_shown(after.get(n))}") for n in columns),
        ),
        sync_of("", subject)  # a payment that names no customer
        if not synced
        else Fix("sync_from_stripe", {"kind": table.sync, "id": synced}),
    )


def _shown(value: Any) -> str:
    return "none" if value is None or value == "" else str(value)[:LONGEST]


def _is_synced(facts: Facts, event: BillingEvent, subjects: set[str]) -> bool:
    """Whether the row, its customer or its user was synced after the change."""
    synced = {*subjects, facts.user_id, *facts.person.customer_ids}
    return any(
        operation.name in BY_SYNC
        and operation.subject in synced
        and operation.created_at > event.recorded_at
        for operation in facts.operations
    )


def _agrees(facts: Facts, event: BillingEvent, table: Table, subject: str) -> bool:
    """Whether Stripe was asked, and has what was changed as the row has it now."""
    data = facts.stripe.of(table.kind).get(subject) if facts.stripe else None
    row = next((r for r in table.rows(facts) if getattr(r, table.key) == subject), None)
    if data is None or data.get("deleted") or row is None:
        return False
    wanted, changed = table.row(data), set(_columns(event))
    theirs = changed & wanted.keys() - OURS
    is_whole_row = not (_state(event, "before") and _state(event, "after"))
    if changed - theirs and not is_whole_row:
        return False
    return not differences.between(row, wanted, sorted(theirs))


CHECKS: tuple[Check, ...] = (at_stripe, by_raw_sql)
