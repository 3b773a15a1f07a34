"""The commands for invoices, links and cancellations."""

import pytest
from django.conf import settings
from django.core.management import load_command_class
from django.test import Client

from billing.models import BillingInvoice, OperationRecord
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, status_here

WHY = ("--reason", "The customer called", "--ticket", "T-1", "--actor", "carol")
NAMES = (
    "billing_link", "cancel_subscription", "checkout_link", "mark_invoice_paid", "pay_invoice",
    "portal_link", "resend_invoice", "void_invoice",
)  # fmt: skip


@pytest.fixture
def overdue(shop: Shop) -> str:
    """An invoice of u_ada's subscription whose payment was declined."""
    told = shop.sandbox.story("past_due", subscription=shop.subscribe()["subscription"])
    shop.deliver()
    return str(told["invoice"])


def status_at_stripe(shop: Shop, invoice: str) -> str:
    return str(shop.sandbox.get(f"/v1/invoices/{invoice}").json()["status"])


@pytest.mark.django_db
def test_pay_invoice(run: Run, shop: Shop, overdue: str) -> None:
    plan = run("pay_invoice", overdue, "--dry-run", "--json")
    assert (plan.code, status_at_stripe(shop, overdue)) == (0, "open")
    assert plan.document["plan"]["calls"][0].startswith(f"Pay {overdue}: charge 29.00 USD")
    assert not OperationRecord.objects.exists()

    ran = run("pay_invoice", overdue, *WHY, "--reason-code", "other")
    assert ran.code == 0
    assert ran.stdout.startswith(f"{overdue} is paid.\n")
    assert "  Credits of user u_ada: balance: 20 -> 40" in ran.stdout
    [payload] = audits("manual.invoice_payment")
    assert (payload["admin"], payload["ticket"]) == ("cli:carol", "T-1")
    assert run("pay_invoice", overdue, *WHY).error.startswith("It is paid already.")


@pytest.mark.django_db
def test_mark_invoice_paid(run: Run, shop: Shop, overdue: str) -> None:
    ran = run("mark_invoice_paid", overdue, "--evidence", "Cheque 12", *WHY, "--json")
    assert (ran.code, ran.document["status"]) == (0, "done")
    assert ran.document["result"]["details"]["stripe_status"] == "paid"
    assert audits("manual.invoice_marked_paid")[0]["evidence"] == "Cheque 12"
    assert BillingInvoice.objects.get(stripe_invoice_id=overdue).status == "paid"


@pytest.mark.django_db
def test_void_invoice_waits_for_a_second_person(run: Run, shop: Shop, overdue: str) -> None:
    plan = run("void_invoice", overdue, "--dry-run")
    assert "approval: To void an invoice gives up 29.00 USD for good" in plan.stdout
    ran = run("void_invoice", overdue, *WHY, "--json")
    assert (ran.code, ran.document["status"]) == (1, "attention")
    assert ran.document["result"]["requested"] is True
    assert status_at_stripe(shop, overdue) == "open"


@pytest.mark.django_db
def test_resend_invoice_says_what_to_do_instead(run: Run, shop: Shop, overdue: str) -> None:
    for dry in ((), ("--dry-run",)):
        ran = run("resend_invoice", overdue, *WHY, *dry, "--json")
        assert ran.code == 1
        assert "charged to their payment method" in ran.error
    assert audits("manual.invoice_sent") == []


@pytest.mark.django_db
def test_cancel_subscription(run: Run, shop: Shop) -> None:
    subscription = shop.subscribe()["subscription"]
    shop.deliver()
    assert run("cancel_subscription", subscription, "--dry-run").code == 0
    assert not shop.at_stripe(subscription)["cancel_at_period_end"]
    ran = run("cancel_subscription", subscription, *WHY, "--json")
    assert ran.document["result"]["summary"].startswith(f"{subscription} ends at the end of")
    assert shop.at_stripe(subscription)["cancel_at_period_end"]
    assert run("reactivate_subscription", subscription, *WHY).code == 0
    assert not shop.at_stripe(subscription)["cancel_at_period_end"]
    assert status_here(subscription) == "active"


@pytest.mark.django_db
def test_portal_link_is_printed_once(run: Run, shop: Shop) -> None:
    customer = shop.subscribe()["customer"]
    shop.deliver()
    assert "at Stripe: Open a session" in run("portal_link", customer, "--dry-run").stdout
    ran = run("portal_link", "u_ada", *WHY, "--json")
    link = ran.document["result"]["once"]
    assert shop.sandbox.http.get(link).status_code == 200
    again = run("portal_link", "u_ada", *WHY, "--key", ran.document["key"])
    assert "Done by an earlier try" in again.stdout
    assert link not in again.stdout
    assert run("portal_link", customer, *WHY).stdout.splitlines()[-1].startswith(shop.sandbox.url)


@pytest.mark.django_db
def test_billing_link_is_printed_once(run: Run, shop: Shop, client: Client) -> None:
    """F6: the page opens, and a second try with the same key does not tell the link again."""
    customer = shop.subscribe()["customer"]
    shop.deliver()
    assert "good for 24 hours" in run("billing_link", customer, "--hours", "24", "--dry-run").stdout
    ran = run("billing_link", "u_ada", *WHY, "--json")
    link = ran.document["result"]["once"]
    assert client.get(link.removeprefix(settings.PUBLIC_URL)).status_code == 200
    again = run("billing_link", "u_ada", *WHY, "--key", ran.document["key"])
    assert "Done by an earlier try" in again.stdout
    assert link not in again.stdout
    last = run("billing_link", customer, *WHY).stdout.splitlines()[-1]
    assert last.startswith(f"{settings.PUBLIC_URL}/billing/")


@pytest.mark.django_db
def test_checkout_link(run: Run, shop: Shop) -> None:
    plan = run("checkout_link", "u_ada", "--price", shop.pack, "--dry-run", "--json")
    assert plan.document["plan"]["warnings"] == []
    ran = run("checkout_link", "u_ada", "--price", shop.pack, *WHY)
    assert ran.code == 0
    link = ran.stdout.splitlines()[-1]
    assert shop.sandbox.http.get(link).status_code == 200
    assert audits("manual.checkout_link")[0]["link"] == link


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pay_invoice", "sub_1", *WHY), "begin with in_"),
        (("resend_invoice", "", *WHY), "begin with in_"),
        (("void_invoice", "in_1"), "Give a reason"),
        (("mark_invoice_paid", "in_1", "--evidence", " ", *WHY), "Name the evidence"),
        (("cancel_subscription", "in_1", *WHY), "begin with sub_"),
        (("portal_link", "", *WHY), "Give a user id"),
        (("portal_link", "u_nobody", *WHY), "No customer of user u_nobody is known here"),
        (("checkout_link", "u", "--price", "prod_1", *WHY), "price_ or plan_"),
        (("billing_link", "u", "--hours", "169", *WHY), "The hours must be from 1 to 168"),
        (("billing_link", "u_nobody", *WHY), "sync them from Stripe first"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments, "--json")
    assert ran.code == 2
    assert said in ran.error
    assert ran.document == {"status": "failed", "error": ran.error}


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())
