"""The page that shows Stripe, ours and after a sync, and where it leads."""

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from billing.admin.cells import page_url
from billing.admin.side_by_side import url_of
from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
)
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.rows import HOSTILE
from tests.diagnosis.planting import subscribed
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    return Shop(sandbox)


def cancelled_by_sql(shop: Shop, **params: Any) -> str:
    """A subscription that only our row says is canceled."""
    sub = subscribed(shop, **params)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_subscriptions SET status = 'canceled'")
    return sub


def compared(client: Client, sub: str) -> str:
    answer = client.get(url_of("subscription", sub), {"id": sub, "ask": "stripe"})
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_page_opens_at_once_and_asks_then(support: Client) -> None:
    """Without a Stripe at all: only the second request needs it."""
    rows.subscription()
    said = support.get(url_of("subscription", "sub_1")).content.decode()
    assert "Stripe has not been asked yet." in said
    assert f"{url_of('subscription', 'sub_1')}&amp;ask=stripe" in said
    assert "billing/sides.js" in said


def test_what_differs_is_marked_in_words(support: Client, shop: Shop) -> None:
    said = compared(support, cancelled_by_sql(shop))
    assert re.findall(r'data-differs="(\w+)"', said) == ["status"]
    [row] = re.findall(r'<tr data-differs="status">(.*?)</tr>', said, re.DOTALL)
    assert "differs</strong>" in row
    assert re.findall(r"<td[^>]*>(.*?)</td>", row) == ["active", "canceled", "active"]
    for words in ("1 field differs", "Stripe was asked at", "Events about it", "Raw JSON: our row"):
        assert words in said, words


def test_the_button_leads_to_the_plan_of_a_sync_and_back(support: Client, shop: Shop) -> None:
    """S3: what the third column says, the plan says too."""
    sub = cancelled_by_sql(shop)
    [href] = re.findall(r'href="([^"]*/run/sync/[^"]*|[^"]*/sync/\?[^"]*)"', compared(support, sub))
    plan = support.get(unescape(href)).content.decode()
    assert f"Sync subscription {sub}." in plan
    assert f"Subscription {sub}: status" in plan
    assert url_of("subscription", sub) in unescape(plan)


def test_a_lost_event_leads_to_its_replay(support: Client, shop: Shop) -> None:
    """W1: the event that should have changed it, and the button that brings it."""
    sub = subscribed(shop)
    shop.sandbox.story("past_due", subscription=sub)
    said = compared(support, sub)
    assert "Should have changed it:" in said
    assert "customer.subscription.updated never arrived" in said
    assert "https://dashboard.stripe.com/test/events/evt_" in said
    assert "Replay event" in said


def test_hostile_metadata_is_text(support: Client, shop: Shop) -> None:
    sub = cancelled_by_sql(shop)
    shop.sandbox.stripe.v1.subscriptions.update(sub, {"metadata": {"note": HOSTILE}})
    said = compared(support, sub)
    assert "Raw JSON: Stripe’s subscription" in said
    assert "onerror" in said
    assert "<script>alert" not in said
    assert "<img" not in said.partition('id="sides"')[2]


@pytest.mark.parametrize(
    "typed", ["", "\x00", "in_1", "sub_<script>", "sub_" + "x" * 5000, "\ud800"]
)
def test_what_is_no_subscription_is_not_found(support: Client, typed: str) -> None:
    query = {"id": typed.encode("utf-8", "surrogatepass")}
    assert support.get(url_of("subscription", ""), query).status_code == 404


def test_an_object_without_a_row_has_a_page(support: Client, shop: Shop) -> None:
    sub = str(shop.subscribe()["subscription"])
    said = compared(support, sub)
    assert f"{sub}: not here" in said
    assert "The subscription is at Stripe and not here." in said


def test_who_may_see_it_and_who_may_sync(log_in: LogIn, shop: Shop) -> None:
    sub = cancelled_by_sql(shop)
    assert log_in("nobody").get(url_of("subscription", sub)).status_code == 403
    assert log_in("nobody").get(url_of("invoice", "in_1")).status_code == 403
    assert Client().get(url_of("subscription", sub)).status_code == 302
    assert log_in("support").post(url_of("subscription", sub)).status_code == 405
    said = compared(log_in("finance"), sub)
    assert "1 field differs" in said
    assert "/sync/?" not in said


def test_a_dead_stripe_is_said(support: Client, shop: Shop) -> None:
    sub = subscribed(shop)
    shop.sandbox.control("faults", path="/v1/*", status=503)
    said = compared(support, sub)
    assert "Stripe did not answer: Stripe could not be reached" in said
    assert "Ask Stripe again" in said


def test_rows_and_customers_lead_there(support: Client, shop: Shop) -> None:
    """And each has Stripe's raw JSON, folded up."""
    sub = subscribed(shop)
    subscription, invoice = BillingSubscription.objects.get(), BillingInvoice.objects.get()
    ours = url_of("subscription", sub), url_of("invoice", invoice.stripe_invoice_id)
    assert ours[0] in support.get(page_url(subscription)).content.decode()
    assert ours[1] in support.get(page_url(invoice)).content.decode()
    paid = support.get(page_url(BillingPayment.objects.get())).content.decode()
    customer = support.get(page_url(BillingCustomer.objects.get())).content.decode()
    for kind, page in (("charge", paid), ("customer", customer)):
        folded = page.partition("<details><summary>")[2].partition("</details>")[0]
        assert f"&quot;object&quot;: &quot;{kind}&quot;" in folded
    assert ours[0] in customer
    assert ours[1] in customer
