"""A database that somebody else has made and filled is ours as well, and nobody has noticed."""

from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from billing.adoption import applying, undoing
from billing.database import rows
from billing.models import (
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    LeadCredits,
    acting_as,
)
from billing.operations.base import Actor
from billing.operations.credits import CorrectBalance, GrantCredits
from tests.adoption import foreign
from tests.adoption.conftest import Adopted, on
from tests.support.databases import Database, Databases

BACKEND = "django.contrib.auth.backends.ModelBackend"
RITA: dict[str, Any] = {"actor": Actor.cli("rita"), "reason": "The books were wrong"}


def in_the_way(adopted: Adopted) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (table["table"], each["kind"]): each
        for table in adopted.check["tables"]
        for each in table["in_the_way"]
    }


def test_the_check_names_every_defect(adopted: Adopted) -> None:
    """Table by table, with how many rows and which."""
    found = in_the_way(adopted)
    planted = adopted.planted
    twice = [
        row["value"]
        for (_, kind), each in found.items()
        if kind == "duplicate"
        for row in each["rows"]
    ]
    assert set(twice) == {*planted.duplicates, planted.doubled_user}
    negative = found["lead_credits", "negative"]
    assert {row["row"] for row in negative["rows"]} == set(planted.negative)
    assert found["billing_subscriptions", "unknown_status"]["count"] == 1
    assert found["billing_invoices", "unknown_status"]["rows"][0]["value"] == "settled"
    assert found["billing_events", "event_without_id"]["count"] == planted.events_without_id
    assert found["billing_invoices", "no_key"]["count"] == 1
    assert found["billing_customers", "null"]["count"] >= 3
    assert not any(each["refuses"] for each in found.values())


def test_no_claim_failed_and_the_ledger_adds_up(adopted: Adopted, shop_floor: Database) -> None:
    """Though the first try was killed, and leads were claimed all the time."""
    assert adopted.killed
    assert adopted.application.failures == []
    assert adopted.application.claimed.total() > 20
    off = rows(
        "SELECT c.user_id FROM lead_credits c LEFT JOIN credit_entries e USING (user_id)"
        " GROUP BY c.user_id, c.balance HAVING c.balance <> coalesce(sum(e.delta), 0)"
    )
    assert off == []
    first = rows(
        "SELECT DISTINCT ON (user_id) user_id, kind, delta, balance_after FROM credit_entries"
        " ORDER BY user_id, id"
    )
    assert {each["kind"] for each in first} <= {"opening", "sql"}  # those who came afterwards
    opened = {each["user_id"]: each for each in first if each["kind"] == "opening"}
    assert set(adopted.planted.users[:20]) <= set(opened)
    assert all(each["delta"] == each["balance_after"] for each in opened.values())
    assert CreditEntry.objects.filter(kind="opening").count() == len(opened)


def test_what_was_there_is_as_it_was(adopted: Adopted) -> None:
    now = foreign.rows(adopted.database.url)
    for table in ("billing_customers", "billing_subscriptions", "billing_invoices"):
        assert now[table] == adopted.rows_before[table], table
    for table in ("billing_events", "lead_claims"):
        assert set(adopted.rows_before[table]) <= set(now[table]), table


def test_our_code_reads_and_writes_it_as_its_own(adopted: Adopted, shop_floor: Database) -> None:
    user = adopted.planted.users[2]
    assert isinstance(BillingSubscription.objects.first().pk, int)  # type: ignore[union-attr]
    held = LeadCredits.objects.get(user_id=user).balance
    GrantCredits(user_id=user, amount=5, **RITA).apply()
    assert LeadCredits.objects.get(user_id=user).balance == held + 5
    with transaction.atomic(), acting_as("stripe"), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status, price_id,"
            " created_at) VALUES (%s, 'sub_new', 'active', 'price_new', '2026-01-02T03:04:05Z')"
            " ON CONFLICT (stripe_subscription_id) DO UPDATE SET status = excluded.status",
            [user],
        )
    [row] = rows(
        "SELECT user_id::text AS user_id, status::text AS status, created_at::text AS created_at"
        " FROM public.billing_subscriptions WHERE stripe_subscription_id = 'sub_new'"
    )
    assert row == {"user_id": user, "status": "active", "created_at": "2026-01-02 03:04:05"}
    call_command("verify_audit")


def test_a_negative_balance_can_be_mended_and_sinks_no_further(
    adopted: Adopted, shop_floor: Database
) -> None:
    user = adopted.planted.negative[0]
    with psycopg.connect(shop_floor.url, autocommit=True) as db:
        with pytest.raises(psycopg.errors.CheckViolation, match="would be"):
            db.execute(
                "UPDATE public.lead_credits SET balance = balance - 1 WHERE user_id = %s", [user]
            )
        db.execute(
            "UPDATE public.lead_credits SET balance = balance + 1 WHERE user_id = %s", [user]
        )
    CorrectBalance(user_id=user, balance=0, **RITA).apply()
    assert LeadCredits.objects.get(user_id=user).balance == 0
    other = adopted.planted.negative[1]
    CorrectBalance(user_id=other, balance=0, **RITA).apply()
    applying.apply(lambda said: None)  # with none left, the constraint takes the guard's place
    [found] = rows(
        "SELECT convalidated AS it_is FROM pg_constraint"
        " WHERE conname = 'backoffice_lead_credits_not_negative'"
    )
    assert found["it_is"]


def test_the_pages_show_it(adopted: Adopted, shop_floor: Database) -> None:
    client = Client()
    client.force_login(User.objects.create_user("root", is_staff=True, is_superuser=True), BACKEND)
    for name in (
        "billingcustomer", "billingsubscription", "billinginvoice", "billingevent", "leadcredits",
        "leadclaim", "creditentry",
    ):  # fmt: skip
        page = client.get(f"/admin/billing/{name}/")
        assert page.status_code == 200, name
    row = LeadClaim.objects.first()
    assert row is not None
    assert client.get(f"/admin/billing/leadclaim/{row.pk}/change/").status_code == 200


def test_it_can_be_taken_back(adopted: Adopted, databases: Databases, shop_floor: Database) -> None:
    """All that was added goes, and nothing else; not before somebody lets go of what is ours."""
    GrantCredits(user_id=adopted.planted.users[2], amount=5, **RITA).apply()
    with pytest.raises(undoing.CannotUndoError, match="1 operations of people"):
        undoing.undo(lambda said: None)
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
    undoing.undo(lambda said: None, discard=True)
    plain = databases.database(shop_floor.name).url
    assert foreign.schema(plain) == adopted.schema_before
    events, before = foreign.rows(plain)["billing_events"], adopted.rows_before["billing_events"]
    assert set(before) <= set(events)
    [of_rita] = set(events) - set(before)  # what people did stays in the log
    assert ",manual.credit_adjustment," in of_rita


def test_what_cannot_be_adopted_is_refused(
    databases: Databases, adopted: Adopted, django_db_blocker: Any
) -> None:
    """Each with what to do; and nothing was written."""
    database = databases.create(empty=True)
    with psycopg.connect(database.url, autocommit=True) as db:
        db.execute("CREATE TABLE lead_credits (user_id text, balance numeric(10,2))")
        db.execute("CREATE TABLE billing_invoices (id int, stripe_invoice_id text)")
        db.execute(
            "CREATE TABLE billing_subscriptions (id serial PRIMARY KEY, status text,"
            " stripe_subscription_id text UNIQUE, tenant int NOT NULL)"
        )
    before = foreign.schema(database.url)
    with on(database, django_db_blocker), pytest.raises(CommandError) as refused:
        call_command("adopt", "--apply")
    said = str(refused.value)
    assert "lead_credits: Column balance: it is of type numeric(10,2), and ours is bigint" in said
    assert "billing_invoices: Column status: there is none" in said
    assert "ALTER TABLE billing_subscriptions ALTER tenant SET DEFAULT" in said
    assert foreign.schema(database.url) == before
    databases.drop(database)
