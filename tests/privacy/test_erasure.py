"""Erasing one person: nothing of them is left, the books balance, the audit chain is whole."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from billing.diagnosis import audit
from billing.models import (
    Alert,
    BillingCustomer,
    BillingEvent,
    BulkJob,
    CreditEntry,
    ErasedObject,
    FindingRecord,
    InboxEvent,
    Incident,
    Note,
    OperationRecord,
    Purchase,
    SavedView,
)
from billing.models.erasure import ERASED
from billing.operations import approvals
from billing.operations.base import Actor, BlockedError, CannotUndoError, OperationError
from billing.operations.credits import GrantCredits
from billing.operations.erasure import EraseCustomer, erase_again
from billing.operations.notes import AddNote
from billing.operations.sync import SyncFromStripe
from tests.commands.conftest import Run
from tests.operations.shop import BOB, Shop, audits, balance, record_of
from tests.privacy.conftest import Found

CAROL = Actor.cli("carol")
EMAIL, OLD_EMAIL, GUEST = (
    "ada.lovelace@example.com",
    "a.byron@example.com",
    "Ada.Lovelace@example.com",
)
NAME, PHONE = "Ada Lovelace", "+44 20 7946 0958"
STREET, FLAT, TOWN, CODE = "12 St James's Square", "Flat Ockham", "Marylebone", "SW1Y 4JH"
NOTE = 'Her "secretary", Mr Wheatstone,\ncalls every Monday.'
PLANTED = [
    EMAIL, OLD_EMAIL, NAME, "Lovelace", PHONE, STREET, FLAT, TOWN, CODE, "Wheatstone",
    "calls every Monday", "difference engine",
]  # fmt: skip
OTHERS = ["grace.hopper@example.com"]


@dataclass
class Known:
    """The person, by the ids that stay."""

    customer: str
    charge: str
    subscription: str


@pytest.fixture
def ada(shop: Shop) -> Known:
    """All that a person may leave behind: at Stripe, in words of ours, and by raw SQL."""
    made = shop.subscribe(email=OLD_EMAIL)
    customer = str(made["customer"])
    tell_stripe(shop, customer)
    bought = shop.buy(email=EMAIL, customer=customer)
    shop.buy(email=GUEST, user_id="u_ada")
    shop.subscribe(email=OTHERS[0], user_id="u_grace")
    shop.deliver()
    shop.sandbox.story("refund", charge=bought["charge"], amount=1000)
    shop.deliver()
    known = Known(customer, str(bought["charge"]), str(made["subscription"]))
    write_about(known)
    return known


def tell_stripe(shop: Shop, customer: str) -> None:
    """Who she is, as she typed it."""
    changes = {
        "email": EMAIL, "name": NAME, "phone": PHONE, "description": "Likes her difference engine",
        "address[line1]": STREET, "address[line2]": FLAT, "address[city]": TOWN,
        "address[postal_code]": CODE, "address[country]": "GB",
    }  # fmt: skip
    shop.sandbox.post(f"/v1/customers/{customer}", changes).raise_for_status()


def write_about(known: Known) -> None:
    """What colleagues and we ourselves wrote of her."""
    AddNote(about=known.customer, text=NOTE, **BOB).apply()
    why = f"{NAME} ({EMAIL}) rang from {PHONE}"
    GrantCredits(user_id="u_ada", amount=5, actor=Actor.cli("bob"), reason=why).apply()
    GrantCredits(user_id="u_grace", amount=5, actor=Actor.cli("bob"), reason=why).apply()
    with connection.cursor() as cursor:  # raw SQL, which its audit event shows before and after
        cursor.execute(
            "UPDATE billing_customers SET name = 'Countess Lovelace' WHERE stripe_customer_id = %s",
            [known.customer],
        )
        cursor.execute(
            "INSERT INTO axes_accessattempt (user_agent, username, path_info, attempt_time,"
            " http_accept, get_data, post_data, failures_since_start)"
            " VALUES ('', 'bob', '/admin/login/', now(), '', %s, '', 1)",
            [f"next=/admin/?q={EMAIL}"],
        )
    SavedView.objects.create(name=f"Of {NAME}", report="revenue", query=f"q={EMAIL}")
    Alert.objects.create(
        rule="x", key="x", severity="danger", title="A payment", detail=f"Of {EMAIL}."
    )
    FindingRecord.objects.create(
        kind="customer_differs", subject=known.customer, severity="warning", rank=1, verdict="x",
        evidence=[["Email", f"{OLD_EMAIL} here", known.customer]], fix={},
        stripe_customer_id=known.customer,
    )  # fmt: skip
    Incident.objects.create(title=f"{NAME} cannot pay", owner="bob", opened_by="bob",
                            started_at="2026-01-01T00:00Z", operation_key="op_i")  # fmt: skip
    BulkJob.objects.create(key="j", name="sync", answers={"q": EMAIL}, actor="bob", reason=why)


def erase(whom: str, **more: Any) -> EraseCustomer:
    said: dict[str, Any] = {"actor": Actor.cli("bob"), "reason": "They asked for it", **more}
    return EraseCustomer(whom=whom, **said)


def erased(whom: str) -> EraseCustomer:
    operation = erase(whom)
    assert operation.apply(seen=operation.plan().digest).requested
    approvals.approve(record_of(operation.key), actor=CAROL, words="Yes")
    return operation


def figures() -> dict[str, Any]:
    """What the books say."""
    queries = {
        "ledger": "SELECT user_id, delta, balance_after, kind, source FROM credit_entries",
        "balances": "SELECT user_id, balance, owed FROM lead_credits",
        "payments": "SELECT stripe_charge_id, amount, currency, status FROM billing_payments",
        "invoices": "SELECT stripe_invoice_id, status, user_id FROM billing_invoices",
        "purchases": "SELECT source, amount, credits, user_id, status FROM billing_purchases",
        "events": "SELECT id, type, stripe_event_id, created_at FROM billing_events"
                  " WHERE stripe_event_id IS NOT NULL",
        "chain": "SELECT position, event_id, hash FROM billing_audit_chain WHERE position <= 4",
    }  # fmt: skip
    found = {}
    with connection.cursor() as cursor:
        for name, query in queries.items():
            cursor.execute(query)
            found[name] = sorted(map(str, cursor.fetchall()))
    return found


def test_a_second_person_approves_what_the_plan_says_and_nothing_of_them_is_left(
    ada: Known, shop: Shop, found: Found, run: Run
) -> None:
    assert set(found([*PLANTED, *OTHERS])) == {*PLANTED, *OTHERS}
    before, head = figures(), audit.verify().head

    operation = erase(ada.customer)
    plan = operation.plan()
    said = " ".join([plan.summary, *plan.warnings])
    for word in ("ids, amounts", "delete the customer there", "Backups hold it", "Cancel first"):
        assert word in said
    assert not any(word in said for word in PLANTED)
    assert set(found(PLANTED)) == set(PLANTED)  # a plan changes nothing
    assert operation.apply(seen=plan.digest).requested
    assert set(found(PLANTED)) == set(PLANTED)  # nor does a request
    result = approvals.approve(record_of(operation.key), actor=CAROL, words="Yes")

    assert found(PLANTED) == {}
    assert set(found(OTHERS)) == set(OTHERS)
    assert figures() == before
    verdict = audit.verify(head)
    assert (verdict.broken, verdict.redacted > 3) == ("", True)
    assert "redacted" in run("verify_audit").stdout
    [event] = audits("manual.customer_erased")
    assert event["approved_by"] == "cli:carol"
    assert event["customers"] == [ada.customer]
    assert event["rows"] == result.details["rows"]
    row = BillingCustomer.objects.get(stripe_customer_id=ada.customer)
    assert (row.user_id, row.email, row.name) == ("u_ada", "", ERASED)
    assert Note.objects.get().text == ERASED
    with pytest.raises(CannotUndoError):
        EraseCustomer.undoing(record_of(operation.key), actor=CAROL, reason="x")


def test_what_arrives_later_is_stored_redacted(ada: Known, shop: Shop, found: Found) -> None:
    erased(ada.customer)
    assert found(PLANTED) == {}
    tell_stripe(shop, ada.customer)  # at Stripe they are known as long as nobody deletes them
    late = shop.buy(email=EMAIL, customer=ada.customer)
    shop.sandbox.story("refund", charge=late["charge"], amount=500)
    shop.deliver()
    assert found(PLANTED) == {}
    pack = Purchase.objects.get(source=late["checkout_session"])
    assert (pack.user_id, pack.status, pack.email) == ("u_ada", "granted", "")
    assert ErasedObject.objects.filter(object_id=late["charge"]).exists()
    assert not InboxEvent.objects.exclude(status__in=("processed", "ignored")).exists()

    SyncFromStripe(kind="customer", id=ada.customer, **BOB).apply()
    SyncFromStripe(kind="subscription", id=ada.subscription, **BOB).apply()
    assert found(PLANTED) == {}
    assert balance("u_ada")[0] > 100


def test_the_books_tie_out_and_no_difference_comes_of_it(
    ada: Known, shop: Shop, run: Run, found: Found
) -> None:
    erased(ada.customer)
    FindingRecord.objects.all().delete()
    ran = run("reconcile", "full", "--json")
    assert found(PLANTED) == {}
    differing = FindingRecord.objects.exclude(kind="raw_sql").values_list("kind", "subject")
    assert list(differing) == [], ran.stdout


def test_a_redacted_event_cannot_be_changed_again_unseen(ada: Known) -> None:
    erased(ada.customer)
    link = audits("manual.customer_erased")[0]["redacted"][0]
    event = BillingEvent.objects.get(pk=link["event"])

    def rewrite(payload: dict[str, Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_erase('billing_events.payload', %s, %s)",
                [event.pk, json.dumps(payload)],
            )

    rewrite({**event.payload, "admin": "cli:nobody"})
    broken = audit.verify().broken
    assert f"Event {event.pk} of link {link['position']} is not what was written" in broken
    rewrite(event.payload)
    assert audit.verify().broken == ""
    other = BillingEvent.objects.filter(type="manual.operation_approved").latest("id")
    with connection.cursor() as cursor:  # without an erasure that says so
        cursor.execute(
            "SELECT billing_erase('billing_events.payload', %s, '{\"x\": 1}')", [other.pk]
        )
    assert f"Event {other.pk} of link" in audit.verify().broken


def test_what_a_restore_brings_back_is_erased_again(ada: Known, shop: Shop, found: Found) -> None:
    """As after a backup that is older than the erasure: rows are there, and so is the list."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept_customers AS SELECT * FROM djstripe_customer")
        cursor.execute("CREATE TABLE kept_inbox AS SELECT * FROM billing_inbox")
    erased(ada.customer)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE djstripe_customer DISABLE TRIGGER billing_keep_erased")
        cursor.execute(
            "UPDATE djstripe_customer c SET stripe_data = k.stripe_data, email = k.email"
            " FROM kept_customers k WHERE k.id = c.id"
        )
        cursor.execute("ALTER TABLE djstripe_customer ENABLE TRIGGER billing_keep_erased")
        cursor.execute("DROP TABLE kept_customers, kept_inbox")
    GrantCredits(user_id="u_ada", amount=1, actor=Actor.cli("bob"), reason=f"{NAME} again").apply()
    assert NAME in found(PLANTED)
    assert erase_again()["djstripe_customer"] == 1
    assert found(PLANTED) == {}
    assert audit.verify().broken == ""
    assert erase_again() == {}


def test_the_reason_must_not_name_them(ada: Known) -> None:
    for reason in (f"{NAME} asked", f"Mail of {EMAIL}"):
        with pytest.raises(BlockedError, match="names them"):
            erase(ada.customer, reason=reason).apply()
    with pytest.raises(OperationError, match="Nobody is here"):
        erase("cus_nobody").plan()
    assert not ErasedObject.objects.exists()


def test_it_is_refused_where_it_would_not_be_whole(ada: Known, settings: Settings) -> None:
    settings.DATABASE_SCHEMA = "backoffice"
    with pytest.raises(BlockedError, match="that was adopted"):
        erase(ada.customer).apply()
    assert not ErasedObject.objects.exists()


def test_by_command_it_waits_for_approval_too(ada: Known, run: Run, found: Found) -> None:
    planned = run("erase_customer", "u_ada", "--reason", "They asked", "--dry-run", "--json")
    assert "another person" in planned.document["plan"]["approval"]
    ran = run("erase_customer", "u_ada", "--reason", "They asked", "--json")
    assert ran.code == 1
    assert OperationRecord.objects.get(name="erase_customer").status == "requested"
    assert set(found(PLANTED)) == set(PLANTED)
    assert run("erase_customer").code == 2
    assert "nothing had come back" in run("erase_customer", "--again").stdout
    assert CreditEntry.objects.exists()
