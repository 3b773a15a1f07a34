"""What raw SQL may not do, and that whatever it may do is seen."""

import pytest
from django.db import IntegrityError, connection, transaction

from billing.models import BillingEvent, BillingSubscription, CreditEntry, LeadClaim, LeadCredits

pytestmark = pytest.mark.django_db


def run(sql: str) -> int:
    """Runs a statement as somebody in psql would; the number of rows that it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.rowcount


@pytest.fixture
def rows() -> None:
    """A row in each of the tables."""
    run("INSERT INTO lead_credits (user_id, balance) VALUES ('ada', 10), ('bob', 5)")


@pytest.mark.parametrize("table", ["billing_events", "credit_entries"])
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {} SET created_at = now()",
        "UPDATE {} SET created_at = now() WHERE false",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "TRUNCATE {} CASCADE",
    ],
)
@pytest.mark.usefixtures("rows")
def test_the_append_only_tables_refuse_every_change(table: str, sql: str) -> None:
    before = rows_of(table)
    assert len(before) == 2
    with pytest.raises(IntegrityError, match=f"{table} is append-only"), transaction.atomic():
        run(sql.format(table))
    assert rows_of(table) == before


def rows_of(table: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608
        return cursor.fetchall()


@pytest.mark.usefixtures("rows")
def test_the_balances_cannot_be_truncated() -> None:
    with pytest.raises(IntegrityError, match="TRUNCATE is refused"), transaction.atomic():
        run("TRUNCATE lead_credits")
    assert LeadCredits.objects.count() == 2


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE lead_credits SET balance = balance - 11 WHERE user_id = 'ada'",
        "UPDATE lead_credits SET owed = -1 WHERE user_id = 'ada'",
        "INSERT INTO lead_credits (user_id, balance) VALUES ('eve', -1)",
        """INSERT INTO lead_credits (user_id) VALUES ('ada')
        ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance - 11""",
    ],
)
def test_a_balance_is_never_negative(sql: str) -> None:
    with pytest.raises(IntegrityError, match="not_negative"), transaction.atomic():
        run(sql)
    assert dict(LeadCredits.objects.values_list("user_id", "balance")) == {"ada": 10, "bob": 5}
    assert CreditEntry.objects.count() == 2


@pytest.mark.usefixtures("rows")
def test_a_statement_over_many_rows_leaves_an_entry_and_an_event_for_each() -> None:
    assert run("UPDATE lead_credits SET balance = balance * 2") == 2
    entries = CreditEntry.objects.order_by("user_id", "id").values_list(
        "user_id", "delta", "balance_after"
    )
    assert list(entries) == [("ada", 10, 10), ("ada", 10, 20), ("bob", 5, 5), ("bob", 5, 10)]
    events = BillingEvent.objects.filter(type="sql.lead_credits.update")
    assert {event.payload["user_id"]: event.payload["after"]["balance"] for event in events} == {
        "ada": 20,
        "bob": 10,
    }


@pytest.mark.usefixtures("rows")
def test_a_deleted_balance_is_an_entry_too() -> None:
    run("DELETE FROM lead_credits WHERE user_id = 'ada'")
    entry = CreditEntry.objects.latest("id")
    assert (entry.user_id, entry.delta, entry.balance_after) == ("ada", -10, 0)
    audit = BillingEvent.objects.get(type="sql.lead_credits.delete").payload
    assert (audit["user_id"], audit["before"]["balance"]) == ("ada", 10)
    assert "after" not in audit


@pytest.mark.usefixtures("rows")
def test_a_user_id_that_is_changed_takes_the_credits_along_in_the_ledger() -> None:
    run("UPDATE lead_credits SET user_id = 'eve' WHERE user_id = 'ada'")
    changes = CreditEntry.objects.order_by("id")[2:]
    assert {(entry.user_id, entry.delta, entry.balance_after) for entry in changes} == {
        ("ada", -10, 0),
        ("eve", 10, 10),
    }
    audits = [e.payload for e in BillingEvent.objects.filter(type="sql.lead_credits.update")]
    assert {audit["user_id"] for audit in audits} == {"ada", "eve"}


def test_a_statement_that_changes_no_row_leaves_nothing() -> None:
    run("UPDATE lead_credits SET balance = 1 WHERE user_id = 'nobody'")
    run("DELETE FROM billing_subscriptions")
    assert not BillingEvent.objects.exists()
    assert not CreditEntry.objects.exists()


def test_deletions_and_claims_by_hand_are_seen() -> None:
    run(
        "INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status)"
        " VALUES ('ada', 'sub_1', 'active')"
    )
    run("DELETE FROM billing_subscriptions")
    run("INSERT INTO lead_claims (user_id, lead_id, credits_spent) VALUES ('ada', 'lead-1', 3)")
    assert not BillingSubscription.objects.exists()
    assert LeadClaim.objects.count() == 1
    seen = BillingEvent.objects.order_by("id").values_list("type", "payload__user_id")
    assert list(seen) == [
        ("sql.billing_subscriptions.insert", "ada"),
        ("sql.billing_subscriptions.delete", "ada"),
        ("sql.lead_claims.insert", "ada"),
    ]
