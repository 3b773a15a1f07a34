"""Every SQL statement of the runbook, taken from the document, on our schema.

The rows are made as they are in production, from Stripe's events or objects. Where the
document writes sub_xxx or price_xxx, the id of a real one is put in, as a person would;
`user-id` is the id of a user here.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from billing.models import (
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    LeadCredits,
)
from billing.projection.bulk import sync_everything
from tests.runbook.document import RUNBOOK, Statement, statements
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.events import Event, deliver_and_drain, events_of

pytestmark = pytest.mark.django_db

MINUTE, DAY = 60, 86400  # seconds
USER = "user-id"  # the document's own

Row = dict[str, Any]

DOCUMENT = {statement.name: statement for statement in statements()}
COVERED: set[str] = set()


def covers(*names: str) -> Any:
    """Marks the test of the statements with these names; it is given them as `statement`."""
    COVERED.update(names)
    return pytest.mark.parametrize("statement", [DOCUMENT[name] for name in names], ids=names)


def test_the_document_is_the_one_that_is_handed_around() -> None:
    handed_around = BASE_DIR.parent / "shared" / "runbook.md"
    if handed_around.exists():
        assert RUNBOOK.read_bytes() == handed_around.read_bytes()


def test_every_statement_of_the_document_has_a_test() -> None:
    verbs = ("SELECT", "INSERT", "UPDATE", "DELETE")
    lines = RUNBOOK.read_text(encoding="utf-8").splitlines()
    assert len(DOCUMENT) == sum(line.lstrip().startswith(verbs) for line in lines) == 20
    assert set(DOCUMENT) == COVERED


# --- What the statements are run on ---------------------------------------------------------


@pytest.fixture
def plan(sandbox: SandboxProcess) -> str:
    """A monthly price of 29.00 USD."""
    product = sandbox.stripe.v1.products.create({"name": "Monthly"})
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
        }
    )
    return price.id


@pytest.fixture
def pack(sandbox: SandboxProcess) -> str:
    """A price of 60 credits for 45.00 USD."""
    product = sandbox.stripe.v1.products.create({"name": "60 credits"})
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 4500,
            "metadata": {"lead_credits": "60"},
        }
    )
    return price.id


def subscribe(sandbox: SandboxProcess, plan: str, user_id: str = USER) -> Row:
    told: Row = sandbox.story(
        "subscribe", user_id=user_id, email=f"{user_id}@example.com", price=plan
    )
    return told


def buy(sandbox: SandboxProcess, pack: str, user_id: str = USER) -> Row:
    told: Row = sandbox.story(
        "buy_pack", user_id=user_id, email=f"{user_id}@example.com", price=pack
    )
    return told


def of_story(sandbox: SandboxProcess, told: Row) -> list[Event]:
    return [event for event in events_of(sandbox) if event["id"] in told["events"]]


def dated(events: Iterable[Event], created: Callable[[int], float]) -> list[Event]:
    """The events as if they had happened at `created(position)`, in Unix seconds."""
    return [{**event, "created": int(created(position))} for position, event in enumerate(events)]


def run(statement: Statement | str, **ids: str) -> list[Row]:
    """Runs a statement with these ids for its placeholders, as raw SQL; what it returns."""
    sql = statement if isinstance(statement, str) else statement.sql
    for placeholder, real in ids.items():
        assert placeholder in sql
        sql = sql.replace(placeholder, real)
    with connection.cursor() as cursor:
        cursor.execute(sql)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def raw_writer() -> str:
    """The actor that the database writes down where nobody says who it is."""
    [row] = run("SELECT session_user AS name")
    return f"sql:{row['name']}"


def only_audit_event(kind: str) -> Row:
    """The payload of the one `sql.*` event that there is, which is of type `kind`."""
    event = BillingEvent.objects.get(type__startswith="sql.")
    assert (event.type, event.actor) == (kind, raw_writer())
    assert timezone.now() - event.created_at < timedelta(minutes=1)
    payload: Row = event.payload
    return payload


def changed(payload: Row) -> set[str]:
    """The columns in which an audit event's `before` and `after` differ."""
    before, after = payload["before"], payload["after"]
    return {name for name in before | after if before.get(name) != after.get(name)}


# --- Webhook failures -----------------------------------------------------------------------


@covers("Webhook Failures: Check Database 1")
def test_it_shows_the_ten_latest_events(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    events = of_story(sandbox, subscribe(sandbox, plan))
    start = int(time.time()) - 30 * MINUTE
    events = dated(events, lambda position: start + position * MINUTE)
    deliver_and_drain(reversed(events))
    assert [(row["type"], row["created_at"].timestamp()) for row in run(statement)] == [
        (event["type"], event["created"]) for event in events[:-11:-1]
    ]


@covers("Webhook Failures: Check Database 2")
def test_it_shows_the_checkouts_of_the_last_hour(
    statement: Statement, sandbox: SandboxProcess, pack: str
) -> None:
    now = time.time()
    before = dated(of_story(sandbox, buy(sandbox, pack)), lambda _: now - 61 * MINUTE)
    told = buy(sandbox, pack)
    after = dated(of_story(sandbox, told), lambda _: now - 59 * MINUTE)
    deliver_and_drain([*before, *after])
    [row] = run(statement)
    assert json.loads(row["payload"])["id"] == told["checkout_session"]
    assert row["created_at"].timestamp() == after[0]["created"]


@covers("Webhook Failures: Manual Data Correction 1")
def test_it_records_a_subscription_by_hand_and_webhooks_take_it_over(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    run(statement, sub_xxx=told["subscription"], price_xxx=plan)

    by_hand = BillingSubscription.objects.get()
    assert (by_hand.user_id, by_hand.stripe_subscription_id) == (USER, told["subscription"])
    assert (by_hand.status, by_hand.price_id) == ("active", plan)
    assert by_hand.current_period_end == datetime(2024, 2, 1, tzinfo=UTC)
    assert timezone.now() - by_hand.created_at < timedelta(minutes=1)

    audit = only_audit_event("sql.billing_subscriptions.insert")
    assert (audit["user_id"], audit["subscription"]) == (USER, told["subscription"])
    assert "before" not in audit
    assert (audit["after"]["status"], audit["after"]["price_id"]) == ("active", plan)

    deliver_and_drain(events_of(sandbox))
    subscription = BillingSubscription.objects.get()
    assert subscription.pk == by_hand.pk
    assert subscription.current_period_end is not None
    assert subscription.current_period_end > timezone.now()


@covers(
    "Webhook Failures: Manual Data Correction 2",
    "Credit Balance Issues: Manual Credit Grant 1",
)
def test_it_grants_credits(statement: Statement) -> None:
    run(statement)
    assert LeadCredits.objects.get().balance == 50
    audit = only_audit_event("sql.lead_credits.insert")
    assert (audit["user_id"], audit["after"]["balance"]) == (USER, 50)
    assert "before" not in audit

    run(statement)
    assert LeadCredits.objects.get().balance == 100
    again = BillingEvent.objects.get(type="sql.lead_credits.update").payload
    assert (again["before"]["balance"], again["after"]["balance"]) == (50, 100)
    assert BillingEvent.objects.count() == 2

    assert [
        (entry.user_id, entry.delta, entry.balance_after, entry.kind, entry.source, entry.actor)
        for entry in CreditEntry.objects.order_by("id")
    ] == [
        (USER, 50, 50, "sql", None, raw_writer()),
        (USER, 50, 100, "sql", None, raw_writer()),
    ]


# --- Failed payments ------------------------------------------------------------------------


@covers("Failed Payments: Check Application Database 1")
def test_it_shows_the_subscriptions_of_a_user(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    subscribe(sandbox, plan, "somebody-else")
    sandbox.story("past_due", subscription=told["subscription"])
    deliver_and_drain(events_of(sandbox))
    [row] = run(statement)
    assert row["stripe_subscription_id"] == told["subscription"]
    assert (row["user_id"], row["status"], row["price_id"]) == (USER, "past_due", plan)


@covers("Failed Payments: Check Application Database 2")
def test_it_shows_the_invoices_of_a_user_the_newest_first(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    subscribe(sandbox, plan, "somebody-else")
    time.sleep(1.01)  # Stripe's times have whole seconds, and these are to be ordered by them
    failed = sandbox.story("past_due", subscription=told["subscription"])
    deliver_and_drain(events_of(sandbox))
    rows = run(statement)
    assert [(row["stripe_invoice_id"], row["status"]) for row in rows] == [
        (failed["invoice"], "open"),
        (told["invoice"], "paid"),
    ]
    assert [(row["amount_paid"], row["amount_due"]) for row in rows] == [(0, 2900), (2900, 2900)]


@covers("Failed Payments: Subscription Reactivation 1")
def test_it_sets_a_subscription_active(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    other = subscribe(sandbox, plan, "somebody-else")
    for one in (told, other):
        sandbox.story("past_due", subscription=one["subscription"])
    deliver_and_drain(events_of(sandbox))
    run(statement, sub_xxx=told["subscription"])

    status = BillingSubscription.objects.values_list("stripe_subscription_id", "status")
    assert dict(status) == {told["subscription"]: "active", other["subscription"]: "past_due"}
    audit = only_audit_event("sql.billing_subscriptions.update")
    assert (audit["user_id"], audit["subscription"]) == (USER, told["subscription"])
    assert (audit["before"]["status"], audit["after"]["status"]) == ("past_due", "active")
    assert changed(audit) <= {"status", "updated_at"}


# --- Subscription state mismatch ------------------------------------------------------------


@covers("Subscription State Mismatch: Compare Stripe vs Database 1")
def test_it_shows_one_subscription_as_stripe_has_it(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    subscribe(sandbox, plan, "somebody-else")
    sandbox.story("cancel", subscription=told["subscription"], at_period_end=True)
    deliver_and_drain(events_of(sandbox))
    [row] = run(statement, sub_xxx=told["subscription"])
    at_stripe = sandbox.get(f"/v1/subscriptions/{told['subscription']}").json()
    assert row["status"] == at_stripe["status"] == "active"
    assert row["cancel_at_period_end"] is at_stripe["cancel_at_period_end"] is True
    period_end = at_stripe["items"]["data"][0]["current_period_end"]
    assert row["current_period_end"].timestamp() == period_end


@covers("Subscription State Mismatch: Check Recent Webhook Events 1")
def test_it_shows_the_events_of_one_subscription(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    subscribe(sandbox, plan, "somebody-else")
    start = int(time.time()) - 60 * MINUTE
    events = dated(events_of(sandbox), lambda position: start + position * MINUTE)
    deliver_and_drain(events)

    prefixes = ("customer.subscription.", "invoice.", "checkout.session.")
    expected = [
        (event["type"], event["data"]["object"]["id"])
        for event in reversed(events)
        if event["id"] in told["events"] and event["type"].startswith(prefixes)
    ]
    rows = run(statement, sub_xxx=told["subscription"])
    shown = [(row["type"], json.loads(row["payload"])["id"]) for row in rows]
    assert shown == expected
    assert Counter(kind for kind, _ in shown)["invoice.paid"] == 1


@covers("Subscription State Mismatch: Manual Database Update 1")
def test_it_overwrites_a_subscription(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    told = subscribe(sandbox, plan)
    sandbox.story("past_due", subscription=told["subscription"])
    sandbox.story("cancel", subscription=told["subscription"], at_period_end=True)
    deliver_and_drain(events_of(sandbox))
    run(statement, sub_xxx=told["subscription"])

    row = BillingSubscription.objects.get()
    assert (row.status, row.cancel_at_period_end) == ("active", False)
    assert row.current_period_end == datetime(2024, 2, 1, tzinfo=UTC)
    audit = only_audit_event("sql.billing_subscriptions.update")
    assert (audit["before"]["status"], audit["after"]["status"]) == ("past_due", "active")
    assert audit["before"]["cancel_at_period_end"] is True
    assert audit["after"]["current_period_end"] == "2024-02-01T00:00:00+00:00"


# --- Credit balance issues ------------------------------------------------------------------


@covers("Credit Balance Issues: Check Credit History 1")
def test_it_shows_the_balance(statement: Statement, sandbox: SandboxProcess, pack: str) -> None:
    buy(sandbox, pack)
    buy(sandbox, pack, "somebody-else")
    deliver_and_drain(events_of(sandbox))
    assert run(statement) == [{"balance": 60}]


@covers("Credit Balance Issues: Check Credit History 2")
def test_it_shows_the_credit_events_of_a_user_once_its_expression_is_corrected(
    statement: Statement, sandbox: SandboxProcess, plan: str, pack: str
) -> None:
    session = buy(sandbox, pack)["checkout_session"]
    buy(sandbox, pack, "somebody-else")
    customer = sandbox.stripe.v1.customers.create(
        {
            "email": "a@example.com",
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    subscription = sandbox.stripe.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": plan}], "metadata": {"user_id": USER}}
    )
    deliver_and_drain(events_of(sandbox))

    # As it stands it is invalid: `->>` gives text, and text has no members.
    with pytest.raises(ProgrammingError, match="operator does not exist"), transaction.atomic():
        run(statement)

    corrected = {"payload->>'metadata'->>'user_id'": "payload->'metadata'->>'user_id'"}
    shown = {(row["type"], json.loads(row["payload"])["id"]) for row in run(statement, **corrected)}
    assert shown == {
        ("checkout.session.completed", session),
        ("invoice.paid", subscription.latest_invoice),
    }


@covers("Credit Balance Issues: Check Credit History 3")
def test_it_shows_the_ten_latest_claims_of_a_user(statement: Statement) -> None:
    now = timezone.now()
    LeadClaim.objects.bulk_create(
        LeadClaim(user_id=user, lead_id=f"lead-{age}", claimed_at=now - timedelta(hours=age))
        for user in (USER, "somebody-else")
        for age in range(12)
    )
    rows = run(statement)
    assert [row["lead_id"] for row in rows] == [f"lead-{age}" for age in range(10)]
    assert {row["user_id"] for row in rows} == {USER}
    assert {(row["credits_spent"], row["status"]) for row in rows} == {(1, "succeeded")}


@covers("Credit Balance Issues: Credit Correction 1")
def test_it_takes_a_balance_to_a_value(
    statement: Statement, sandbox: SandboxProcess, pack: str
) -> None:
    buy(sandbox, pack)
    buy(sandbox, pack, "somebody-else")
    deliver_and_drain(events_of(sandbox))
    run(statement)

    balances = LeadCredits.objects.values_list("user_id", "balance")
    assert dict(balances) == {USER: 25, "somebody-else": 60}
    entry = CreditEntry.objects.order_by("id").last()
    assert entry is not None
    assert (entry.user_id, entry.delta, entry.balance_after) == (USER, -35, 25)
    assert (entry.kind, entry.actor) == ("sql", raw_writer())
    audit = only_audit_event("sql.lead_credits.update")
    assert (audit["user_id"], changed(audit)) == (USER, {"balance"})
    assert (audit["before"]["balance"], audit["after"]["balance"]) == (60, 25)


@covers("Credit Balance Issues: Audit Trail 1")
def test_it_logs_an_adjustment(statement: Statement) -> None:
    run(statement)
    event = BillingEvent.objects.get()
    assert event.type == "manual.credit_adjustment"
    assert event.payload == {
        "user_id": USER,
        "amount": 50,
        "reason": "webhook_failure",
        "admin": "admin-email",
    }
    assert (event.actor, event.stripe_event_id) == (raw_writer(), None)
    assert timezone.now() - event.created_at < timedelta(minutes=1)


# --- Reconciliation -------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, settings: Settings) -> Any:
    """A sandbox with forty customers and their months, all of it synced."""
    with run_sandbox(tmp_path / "world.sqlite3", customers=40, seed=5) as running:
        settings.STRIPE_API_BASE = running.url
        sync_everything(actor="cli:test")
        yield running


@covers("Reconciliation Procedures: Compare Stripe vs Database Counts 1")
def test_it_counts_the_active_subscriptions_as_stripe_does(
    statement: Statement, world: SandboxProcess
) -> None:
    listed = world.get("/v1/subscriptions", status="active", limit=100).json()
    assert not listed["has_more"]
    assert run(statement) == [{"count": len(listed["data"])}]
    assert 0 < len(listed["data"]) < BillingSubscription.objects.count()


@covers("Reconciliation Procedures: Check for Missing Webhook Events 1")
def test_it_shows_the_days_without_events(
    statement: Statement, sandbox: SandboxProcess, plan: str
) -> None:
    events = of_story(sandbox, subscribe(sandbox, plan))
    now = time.time()
    ages = (8, 6, 5, 5, 3, 3, 3, 0)  # days; nothing on the fourth, and the eighth is too long ago
    shifted = dated(events[: len(ages)], lambda position: now - ages[position] * DAY)
    deliver_and_drain(shifted)
    expected = Counter(
        datetime.fromtimestamp(event["created"], UTC).date() for event in shifted[1:]
    )
    assert [(row["event_date"], row["event_count"]) for row in run(statement)] == sorted(
        expected.items()
    )


@covers("Reconciliation Procedures: Credit Usage Analysis 1")
def test_it_ranks_the_users_by_claims_of_the_week(statement: Statement) -> None:
    now = timezone.now()
    ages = {"often": [0, 1, 6], "twice": [2, 6], "once": [3, 8, 9, 10], "never": [8, 30]}  # days
    LeadClaim.objects.bulk_create(
        LeadClaim(user_id=user, claimed_at=now - timedelta(days=age))
        for user, days in ages.items()
        for age in days
    )
    assert run(statement) == [
        {"user_id": "often", "claims_this_week": 3},
        {"user_id": "twice", "claims_this_week": 2},
        {"user_id": "once", "claims_this_week": 1},
    ]


@covers("Reconciliation Procedures: Revenue Reconciliation 1")
def test_it_sums_the_paid_invoices_of_the_week_by_day(
    statement: Statement, world: SandboxProcess
) -> None:
    since = int(time.time()) - 7 * DAY
    listed = world.get("/v1/invoices", limit=100, status="paid").json()
    assert not listed["has_more"]
    paid: Counter[Any] = Counter()
    for invoice in listed["data"]:
        if invoice["created"] > since:
            day = datetime.fromtimestamp(invoice["created"], UTC).date()
            paid[day] += invoice["amount_paid"]
    rows = {row["invoice_date"]: row["total_revenue"] for row in run(statement)}
    assert rows == {day: Decimal(amount) / 100 for day, amount in paid.items()}
    assert len(paid) > 1
    assert (
        0 < sum(paid.values()) < sum(BillingInvoice.objects.values_list("amount_paid", flat=True))
    )
