"""From what the customer wrote to the answer: search, page, script, fix, reply (P1, P2, P3)."""

import re
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from billing.admin.cells import page_url
from billing.models import BillingCustomer, OperationRecord
from tests.admin.test_operations import apply
from tests.admin.test_scripts import page, reply_in
from tests.commands.conftest import Run
from tests.diagnosis.planting import deliver_all_but
from tests.operations.shop import Shop, audits, balance, status_here

pytestmark = pytest.mark.django_db


def look_for(client: Client, term: str) -> BillingCustomer:
    """What the search box leads to: the one customer whom the term names."""
    found = client.get(reverse("admin:billing_search"), {"q": term})
    row = BillingCustomer.objects.get()
    assert (found.status_code, found["Location"]) == (302, page_url(row))
    return row


def recommended(client: Client, row: BillingCustomer, slug: str) -> tuple[str, dict[str, str]]:
    """The one fix of a script: the name of the operation's page, and what it fills in."""
    assert f"/scripts/{slug}/" in client.get(page_url(row)).content.decode()
    said = page(client, row, slug)
    [href] = re.findall(r'href="([^"]*/run/[^"]*)"', said.partition("data-finding=")[2])
    address = urlsplit(unescape(href))
    assert client.get(f"{address.path}?{address.query}").status_code == 200
    return address.path.rstrip("/").rpartition("/")[2], dict(parse_qsl(address.query))


def run_it(client: Client, fix: tuple[str, dict[str, str]]) -> HttpResponse:
    name, answers = fix
    done = apply(client, name, **answers)
    assert OperationRecord.objects.get().status == OperationRecord.Status.APPLIED
    return done


def test_my_payment_went_through_but_i_have_no_access(support: Client, shop: Shop) -> None:
    """P1: Ada paid late, and the notice that she is active again got lost."""
    sub = str(shop.subscribe()["subscription"])
    late = shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    shop.sandbox.story("pay_invoice", invoice=late["invoice"])
    deliver_all_but(shop, "customer.subscription.updated")
    assert status_here(sub) == "past_due"

    ada = look_for(support, "ADA@Example.com")
    before = reply_in(page(support, ada, "no-access"))
    assert "our system missed the notice that your subscription is active" in before

    run_it(support, recommended(support, ada, "no-access"))
    assert status_here(sub) == "active"
    after = page(support, ada, "no-access")
    assert 'data-state="found"' not in after
    assert "All is well." in after
    assert "This is put right now. Your subscription is active until" in reply_in(after)


def test_i_was_charged_but_my_credits_were_not_added(support: Client, shop: Shop, run: Run) -> None:
    """P2: the pack's webhook got lost; the card's last digits and the amount find Ada."""
    made = {"email": "ada@example.com", "metadata": {"user_id": "u_ada"}}
    customer = shop.sandbox.stripe.v1.customers.create(made)
    shop.deliver()
    shop.buy(customer=customer.id)
    deliver_all_but(shop, "checkout.session.completed")
    assert balance("u_ada") == (0, 0)

    ada = look_for(support, "4242 45.00")
    run_it(support, recommended(support, ada, "no-credits"))
    assert balance("u_ada") == (50, 0)
    [audit] = audits("manual.event_replay")
    assert audit["reason"] == "The customer called"
    after = page(support, ada, "no-credits")
    assert "its 50 credits were added" in reply_in(after)
    assert "Your balance is 50 credits now." in reply_in(after)
    assert run("diagnose", "ada@example.com").code == 0


def test_my_subscription_was_cancelled_but_i_did_not(support: Client, shop: Shop) -> None:
    """P3: it is set to end, which Ada does not want any more."""
    sub = str(shop.subscribe()["subscription"])
    shop.sandbox.story("cancel", subscription=sub, at_period_end=True)
    shop.deliver()

    ada = look_for(support, sub)
    before = page(support, ada, "cancelled")
    assert "Your subscription is set to end on" in reply_in(before)
    assert "4. Manually reactivate subscription if appropriate" in before

    run_it(support, recommended(support, ada, "cancelled"))
    assert shop.at_stripe(sub)["cancel_at_period_end"] is False
    after = page(support, ada, "cancelled")
    assert "nothing is set to end it" in after
    assert "Your subscription is active until" in reply_in(after)


def test_my_card_was_declined_and_i_fear_to_lose_it(support: Client, shop: Shop) -> None:
    """P3: nothing is cancelled yet; Ada changes her card herself."""
    sub = str(shop.subscribe()["subscription"])
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()

    ada = look_for(support, "u_ada")
    name, answers = recommended(support, ada, "cancelled")
    assert (name, answers["target"]) == ("portal-link", ada.stripe_customer_id)
    assert "did not go through" in reply_in(page(support, ada, "cancelled"))
