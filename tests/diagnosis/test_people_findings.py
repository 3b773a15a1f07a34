"""Customers deleted, unknown or otherwise at Stripe, and rows that were changed by raw SQL."""

from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from billing.diagnosis.checks.people import LONGEST
from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingCustomer, BillingEvent, BillingSubscription
from tests.diagnosis.planting import deliver_all_but, fix, found, kinds, said, subscribed
from tests.operations.shop import Shop, status_here
from tests.sandbox.server import run_sandbox

pytestmark = pytest.mark.django_db
SYNCS = "sync_from_stripe"


@pytest.fixture
def customer(shop: Shop) -> str:
    """The customer of u_ada, who has a subscription."""
    return str(shop.at_stripe(subscribed(shop))["customer"])


def delete(shop: Shop, customer: str) -> None:
    """In Stripe's dashboard somebody deletes the customer."""
    shop.sandbox.request("DELETE", f"/v1/customers/{customer}").raise_for_status()


def run_sql(statement: str, *values: object) -> None:
    """What somebody types into psql."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_deleted_at_stripe_and_nobody_here_knows(shop: Shop, customer: str) -> None:
    """All events of the deletion are lost: the row is there, and the subscription lives on."""
    delete(shop, customer)
    finding = found("u_ada", Kind.CUSTOMER_DELETED)
    assert (finding.subject, finding.severity) == (customer, Severity.ACCESS)
    assert finding.verdict.startswith("Stripe has deleted the customer, and here nobody knows.")
    assert "ada@example.com" in said(finding)
    assert finding.fix == Fix(SYNCS, {"kind": "customer", "id": customer})

    fix(finding)
    assert BillingCustomer.objects.get().deleted
    assert kinds("u_ada") == [Kind.CANCELED_BY_CUSTOMER]


def test_deleted_here_too_and_the_subscription_lives_on(shop: Shop, customer: str) -> None:
    """Only customer.deleted arrived; the end of the subscription did not."""
    delete(shop, customer)
    deliver_all_but(shop, "customer.subscription.deleted")
    finding = found("u_ada", Kind.CUSTOMER_DELETED)
    assert finding.verdict.startswith(
        "The customer is deleted at Stripe, and here 1 subscription is still open."
    )
    assert Kind.CUSTOMER_DELETED in kinds("u_ada", ask_stripe=False)
    fix(finding)
    assert kinds("u_ada") == [Kind.CANCELED_BY_CUSTOMER]


def test_deleted_here_too_and_an_invoice_is_open(shop: Shop) -> None:
    """It was voided before the customer was deleted, and the event of that was lost."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.deliver()
    shop.sandbox.post(f"/v1/invoices/{told['invoice']}/void").raise_for_status()
    delete(shop, told["customer"])
    deliver_all_but(shop, "invoice.voided", "invoice.updated")
    finding = found("u_ada", Kind.CUSTOMER_DELETED)
    assert "here 1 invoice is still open" in finding.verdict
    fix(finding)
    assert Kind.CUSTOMER_DELETED not in kinds("u_ada")


def test_deleted_and_known_is_no_finding(shop: Shop, customer: str) -> None:
    delete(shop, customer)
    shop.deliver()
    assert kinds("u_ada") == [Kind.CANCELED_BY_CUSTOMER]


def test_unknown_to_the_account_whose_key_is_used(
    shop: Shop, customer: str, settings: Settings, tmp_path: Path
) -> None:
    """Somebody put the key of another account into the settings; then it is put right."""
    right = settings.STRIPE_API_BASE
    with run_sandbox(tmp_path / "other.sqlite3") as other:
        settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = other.url
        finding = found("u_ada", Kind.CUSTOMER_UNKNOWN)
        assert (finding.subject, finding.severity) == (customer, Severity.WARNING)
        assert "the key is that of another mode or account" in finding.verdict
        assert "They are of test mode" in finding.verdict
        assert finding.fix is None
        assert finding.for_customer == ""
        assert kinds("u_ada") == [Kind.CUSTOMER_UNKNOWN]
    settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = right
    assert kinds("u_ada") == []


def test_another_email_at_stripe(shop: Shop, customer: str) -> None:
    """They changed it in the portal, and customer.updated was lost: search does not find them."""
    change = {"email": "ada@new.example", "name": "Ada L."}
    shop.sandbox.post(f"/v1/customers/{customer}", change).raise_for_status()
    finding = found("u_ada", Kind.CUSTOMER_DIFFERS)
    assert (finding.subject, finding.severity) == (customer, Severity.WARNING)
    assert finding.verdict == "Stripe has another email and name of the customer than we do."
    assert "Email: ada@new.example at Stripe, ada@example.com here" in said(finding)
    assert finding.fix == Fix(SYNCS, {"kind": "customer", "id": customer})
    fix(finding)
    assert kinds("u_ada") == []


def test_a_period_extended_by_raw_sql(shop: Shop, customer: str) -> None:
    """Somebody's UPDATE: who, when, and each column before and after."""
    sub = BillingSubscription.objects.get().stripe_subscription_id
    run_sql("SET application_name = 'psql of erin'")
    run_sql("UPDATE billing_subscriptions SET status = 'trialing', current_period_end = NULL")
    finding = found("u_ada", Kind.RAW_SQL)
    assert (finding.subject, finding.severity) == (sub, Severity.WARNING)
    assert "(psql of erin) changed this subscription by raw SQL at " in finding.verdict
    assert "status: active → trialing" in said(finding)
    assert "current_period_end: 20" in said(finding)
    assert "→ none" in said(finding)
    assert finding.evidence[0].time is not None
    assert finding.fix == Fix(SYNCS, {"kind": "subscription", "id": sub})
    assert finding.for_customer == ""
    assert Kind.RAW_SQL in kinds("u_ada", ask_stripe=False)

    fix(finding)
    assert status_here(sub) == "active"
    assert kinds("u_ada") == kinds("u_ada", ask_stripe=False) == []


# What is changed in each table, as a statement, and what is synced then.
CHANGES = {
    "invoice": "UPDATE billing_invoices SET status = 'open', number = %s",
    "customer": "UPDATE billing_customers SET name = %s",
    "payment": "UPDATE billing_payments SET status = 'failed', failure_message = %s",
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_rows_that_were_changed(shop: Shop, customer: str, what: str) -> None:
    """Whatever somebody wrote into them: it is shown in part, and a sync brings Stripe's back."""
    run_sql(CHANGES[what], "<script>" + "x" * 5000)
    finding = found("u_ada", Kind.RAW_SQL)
    assert f"changed this {what} by raw SQL" in finding.verdict
    assert all(len(each.value) <= 2 * LONGEST + 10 for each in finding.evidence)
    fix(finding)
    assert kinds("u_ada") == kinds("u_ada", ask_stripe=False) == []


def test_one_row_is_one_finding(shop: Shop, customer: str) -> None:
    for status in ("unpaid", "canceled", "paused"):
        run_sql("UPDATE billing_subscriptions SET status = %s", status)
    assert kinds("u_ada").count(Kind.RAW_SQL) == 1
    assert "status: canceled → paused" in said(found("u_ada", Kind.RAW_SQL))


def test_a_deleted_row_is_brought_back(shop: Shop, customer: str) -> None:
    sub = BillingSubscription.objects.get().stripe_subscription_id
    run_sql("DELETE FROM billing_subscriptions")
    finding = found("u_ada", Kind.RAW_SQL)
    assert "deleted this subscription by raw SQL" in finding.verdict
    assert finding.subject == sub
    fix(finding)
    assert status_here(sub) == "active"
    assert kinds("u_ada") == []


def test_what_stripe_confirms_is_no_finding_any_more(shop: Shop) -> None:
    """W11: the runbook's own UPDATE, typed after the event was lost, says what Stripe says."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    run_sql("UPDATE billing_subscriptions SET status = 'past_due', updated_at = now()")
    assert Kind.RAW_SQL not in kinds("u_ada")
    assert Kind.RAW_SQL in kinds("u_ada", ask_stripe=False)
    assert status_here(told["subscription"]) == "past_due"


def test_an_update_that_changes_nothing_is_no_finding(shop: Shop, customer: str) -> None:
    run_sql("UPDATE billing_payments SET last4 = last4, updated_at = now()")
    assert BillingEvent.objects.filter(type="sql.billing_payments.update").exists()
    assert kinds("u_ada", ask_stripe=False) == []


def test_whose_it_is_stripe_cannot_confirm(shop: Shop, customer: str) -> None:
    """A user typed into the row is our own word: it stays a finding until somebody looked."""
    run_sql("UPDATE billing_invoices SET user_id = 'u_ada2'")
    finding = found("u_ada", Kind.RAW_SQL)
    assert "user_id: u_ada → u_ada2" in said(finding)
    fix(finding)
    assert Kind.RAW_SQL not in kinds("u_ada")
