"""F6, F3, P1, P2, P3: what a customer reads on their own page, and Manage Billing."""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from backoffice.logs import message_of
from billing.models import BillingCustomer, BillingEvent, LeadCredits
from billing.selfservice import portal
from tests.admin import rows
from tests.operations.shop import Shop, audits, owing
from tests.selfservice.visits import IDS, Visitor, link_for, path_of, text_of

pytestmark = pytest.mark.django_db
SOON = datetime(2030, 3, 3, 12, tzinfo=UTC)
DAY = "3 March 2030"


def page_of(visitor: Visitor) -> str:
    return visitor.opens(link_for(rows.CUSTOMER))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"status": "active"}, f"Active, renews on {DAY}."),
        ({"status": "active", "current_period_end": None}, "Active."),
        ({"status": "active", "cancel_at": SOON}, f"Active, and cancelled: it ends on {DAY}."),
        (
            {"status": "active", "cancel_at_period_end": True},
            f"Active, and cancelled: it ends on {DAY}.",
        ),
        (
            {"status": "active", "collection_paused": True},
            "Active. Payments are paused at the moment.",
        ),
        (
            {"status": "trialing", "trial_end": SOON},
            f"Free trial, the first payment is due on {DAY}.",
        ),
        ({"status": "past_due"}, "Payment failed. Please update your payment method under"),
        ({"status": "unpaid"}, "On hold: its invoices are not paid. Please update your payment"),
        ({"status": "incomplete"}, "Not started yet: the first payment is not complete."),
        ({"status": "incomplete_expired"}, "Never started: the first payment was not completed"),
        ({"status": "paused"}, "Paused: the free trial ended without a payment method."),
        ({"status": "canceled", "ended_at": SOON}, f"Cancelled on {DAY}."),
        ({"status": "a_new_one"}, "We are looking into its state."),
    ],
)
def test_every_status_is_said_in_words(visitor: Visitor, row: dict[str, Any], words: str) -> None:
    rows.customer()
    rows.subscription(**{"current_period_end": SOON, **row})
    text = page_of(visitor)
    assert words in text
    assert "29.00 USD" in text
    assert row["status"] not in text.replace("active", "") or row["status"] == "active"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"status": "paid", "paid_at": SOON}, f"Paid on {DAY}"),
        ({"status": "open", "attempt_count": 2}, "Payment failed"),
        ({"status": "open", "due_date": SOON}, f"Open, due on {DAY}"),
        ({"status": "open"}, "Open"),
        ({"status": "void"}, "Cancelled, nothing to pay"),
        ({"status": "uncollectible"}, "Not paid"),
        ({"status": "a_new_one"}, "In preparation"),
    ],
)
def test_every_invoice_is_said_in_words(visitor: Visitor, row: dict[str, Any], words: str) -> None:
    rows.customer()
    rows.invoice(stripe_subscription_id="", **row)
    assert f"NUMBER-in_1 29.00 USD {datetime.now(UTC):%-d %B %Y} {words}" in page_of(visitor)


@pytest.mark.parametrize(
    ("currency", "amount"),
    [("usd", "12,345.67 USD"), ("jpy", "1,234,567 JPY"), ("kwd", "1,234.567 KWD")],
)
def test_amounts_have_their_currencys_decimals(
    visitor: Visitor, currency: str, amount: str
) -> None:
    rows.customer()
    rows.subscription(amount=1_234_567, currency=currency)
    rows.invoice(total=1_234_567, currency=currency)
    assert page_of(visitor).count(amount) == 2


def test_drafts_are_nobodys_business_yet(visitor: Visitor) -> None:
    rows.customer()
    rows.invoice(status="draft")
    assert "There are no invoices yet." in page_of(visitor)


def test_credits_and_what_is_owed_are_said(visitor: Visitor) -> None:
    rows.customer()
    assert "Your credits 0 credits" in page_of(visitor)
    rows.grant(rows.USER, 1_250)
    assert "1,250 credits" in page_of(visitor)
    owing(rows.USER, 1_280)
    assert LeadCredits.objects.get().owed == 30
    text = page_of(visitor)
    assert "0 credits 30 credits are still to be made up for: your next purchase covers" in text


def test_a_customer_of_no_known_user_has_no_credits(visitor: Visitor) -> None:
    rows.customer(user=None)
    rows.invoice(user_id=None)
    text = page_of(visitor)
    assert "Your credits" not in text
    assert "NUMBER-in_1" in text


def test_the_newest_invoices_come_first_and_older_ones_by_page(visitor: Visitor) -> None:
    rows.customer()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(25):
        rows.invoice(
            f"in_{number}", number=f"N-{number:02}", created_at=start + timedelta(days=number)
        )
    first = page_of(visitor)
    assert re.findall(r"N-\d\d", first) == [f"N-{n:02}" for n in range(24, 0, -1)]
    assert "Show older" in first
    assert "Show newer" not in first
    path = path_of(visitor.url)
    second = text_of(visitor.client.get(path, {"page": "2"}))
    assert re.findall(r"N-\d\d", second) == ["N-00"]
    assert "Show newer" in second
    assert "Show older" not in second
    assert "There are no older invoices." in text_of(visitor.client.get(path, {"page": "9"}))
    for odd in ("0", "-1", "x", "9" * 5_000, "²", "\x00", ""):
        assert "N-24" in text_of(visitor.client.get(path, {"page": odd}))


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "http://invoice.stripe.com/i/x", "https://evil.example/i",
        "https://stripe.com.evil.example/i", "https://evilstripe.com/i", "//invoice.stripe.com/i",
        "https://invoice.stripe.com@evil.example/i", "https://[", "data:text/html,x",
    ],
)  # fmt: skip
def test_only_stripes_own_pages_are_linked(visitor: Visitor, url: str) -> None:
    rows.customer()
    rows.invoice(hosted_invoice_url=url)
    assert "View" not in page_of(visitor)


def test_stripes_pages_are_linked_without_telling_where_from(visitor: Visitor) -> None:
    rows.customer()
    rows.invoice(hosted_invoice_url="https://invoice.stripe.com/i/acct_1/test_x?s=ap")
    page_of(visitor)
    html = visitor.client.get(path_of(visitor.url)).content.decode()
    assert (
        'href="https://invoice.stripe.com/i/acct_1/test_x?s=ap" rel="noopener noreferrer"' in html
    )


def test_hostile_names_are_text(visitor: Visitor) -> None:
    rows.customer(name=rows.HOSTILE, email=rows.HOSTILE)
    rows.invoice(number=f'"{rows.HOSTILE}')
    page_of(visitor)
    html = visitor.client.get(path_of(visitor.url)).content.decode()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(" in html


def test_nothing_of_other_people_is_shown(visitor: Visitor) -> None:
    """The same user's other customer is the same person; nobody else is."""
    rows.customer()
    rows.customer(id_="cus_Ada2", email="ada@work.example")
    rows.invoice("in_mine", stripe_customer_id="cus_Ada2", number="MINE-2")
    rows.customer(user="u_bob", id_="cus_Bob", email="bob@example.com", name="Bob")
    rows.subscription("sub_bob", user_id="u_bob", stripe_customer_id="cus_Bob", amount=777_00)
    rows.invoice("in_bob", user_id="u_bob", stripe_customer_id="cus_Bob", number="BOBS")
    rows.grant("u_bob", 4_321)
    text = page_of(visitor)
    assert "MINE-2" in text
    for bobs in ("Bob", "bob@", "777.00", "BOBS", "4,321"):
        assert bobs not in text


def test_the_headers_keep_it_between_us(visitor: Visitor) -> None:
    rows.customer()
    page_of(visitor)
    response = visitor.client.get(path_of(visitor.url))
    assert response["Cache-Control"] == "no-store, private"
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert response["Referrer-Policy"] == "strict-origin"
    assert response["X-Frame-Options"] == "DENY"
    policy = response["Content-Security-Policy"].split("; ")
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:9" in policy
    html = response.content.decode()
    assert '<meta name="robots" content="noindex, nofollow">' in html
    assert "style=" not in html
    assert "<style" not in html


def test_the_form_may_lead_to_stripes_portal(visitor: Visitor, settings: Settings) -> None:
    rows.customer()
    url = link_for(rows.CUSTOMER)
    settings.STRIPE_API_BASE = "https://api.stripe.com"
    policy = visitor.client.get(path_of(url))["Content-Security-Policy"]
    assert "form-action 'self' https://billing.stripe.com" in policy.split("; ")


def test_the_page_takes_few_statements_however_much_there_is(visitor: Visitor) -> None:
    rows.customer()
    rows.subscription()
    path = path_of(link_for(rows.CUSTOMER))
    visitor.client.get(path)
    with CaptureQueriesContext(connection) as few:
        visitor.client.get(path)
    for number in range(30):
        rows.invoice(f"in_{number}")
        rows.subscription(f"sub_more{number}")
    with CaptureQueriesContext(connection) as many:
        visitor.client.get(path)
    assert len(many) <= len(few) + 2
    assert len(many) <= 35


def past_due(shop: Shop) -> str:
    """u_ada's customer, whose renewal was declined for want of money."""
    told = shop.subscribe()
    shop.sandbox.story("past_due", subscription=told["subscription"])
    shop.deliver()
    return str(told["customer"])


def test_a_declined_renewal_is_explained_and_paid_in_the_portal(
    visitor: Visitor, shop: Shop
) -> None:
    """F3, F6: from “payment failed” by Manage Billing to “active”."""
    customer = past_due(shop)
    url = link_for(customer)
    text = visitor.opens(url)
    assert "Payment failed: your bank said “insufficient funds”." in text
    assert "What you should know Your last payment of 29.00 USD did not go through" in text
    assert "20 credits 29.00 USD a month" in text
    assert "View PDF" in text

    response = visitor.clicks_manage_billing()
    assert response.status_code == 303
    address = response["Location"]
    assert address.startswith(f"{shop.sandbox.url}/p/session/")
    shown = shop.sandbox.http.get(address).text
    assert f'href="{url}"' in shown  # the way back
    [payload] = audits(portal.AUDIT_TYPE)
    assert (payload["customer"], payload["user_id"]) == (customer, "u_ada")
    assert BillingEvent.objects.get(type=portal.AUDIT_TYPE).actor == f"customer:{customer}"
    assert address not in str(payload)
    assert path_of(url) not in str(payload)

    open_invoice = shop.sandbox.get("/v1/invoices", customer=customer, status="open").json()
    shop.sandbox.story("pay_invoice", invoice=open_invoice["data"][0]["id"])
    shop.deliver()
    after = visitor.opens(url)
    assert "Active, renews on" in after
    assert "All is well There is nothing you have to do." in after
    assert "40 credits" in after


def test_no_internal_id_is_shown(visitor: Visitor, shop: Shop) -> None:
    """Neither Stripe's ids nor ours stand on the page, but in Stripe's own addresses."""
    visitor.opens(link_for(past_due(shop)))
    html = visitor.client.get(path_of(visitor.url)).content.decode()
    without_links = re.sub(rf'href="{re.escape(shop.sandbox.url)}[^"]*"', "", html)
    assert without_links != html
    assert IDS.findall(without_links) == []
    assert "u_ada" not in without_links


def test_a_cancelled_subscription_says_when_it_ended(visitor: Visitor, shop: Shop) -> None:
    """P3: whoever asks why reads it here."""
    told = shop.subscribe()
    shop.sandbox.story("cancel", subscription=told["subscription"])
    shop.deliver()
    text = visitor.opens(link_for(told["customer"]))
    assert f"Cancelled on {datetime.now(UTC):%-d %B %Y}." in text


def test_manage_billing_needs_the_pages_own_form(shop: Shop) -> None:
    """A form from elsewhere is refused; the page's own works on the first visit."""
    told = shop.subscribe()
    shop.deliver()
    visitor = Visitor(Client(enforce_csrf_checks=True))
    visitor.opens(link_for(told["customer"]))
    assert visitor.clicks_manage_billing().status_code == 403
    html = visitor.client.get(path_of(visitor.url)).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert token
    path = f"{path_of(visitor.url)}portal/"
    response = visitor.client.post(path, {"csrfmiddlewaretoken": token[1]})
    assert response.status_code == 303
    assert len(audits(portal.AUDIT_TYPE)) == 1


def test_an_address_alone_opens_no_portal(visitor: Visitor, shop: Shop) -> None:
    told = shop.subscribe()
    shop.deliver()
    visitor.opens(link_for(told["customer"]))
    response = visitor.client.get(f"{path_of(visitor.url)}portal/")
    assert (response.status_code, response["Location"]) == (302, path_of(visitor.url))
    assert audits(portal.AUDIT_TYPE) == []


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ({"status": 500}, 503, "Please try again in a few minutes."),
        ({"status": 403}, 502, "cannot be opened for your account. Nothing was changed."),
    ],
)
def test_stripes_errors_are_said_plainly(
    visitor: Visitor, shop: Shop, fault: dict[str, int], status: int, words: str
) -> None:
    told = shop.subscribe()
    shop.deliver()
    visitor.opens(link_for(told["customer"]))
    shop.sandbox.control("faults", path="/v1/billing_portal/sessions", **fault)
    response = visitor.clicks_manage_billing()
    assert response.status_code == status
    assert words in text_of(response)
    assert "Your plan" in text_of(response)
    assert audits(portal.AUDIT_TYPE) == []
    shop.sandbox.control("faults", http="DELETE")
    assert visitor.clicks_manage_billing().status_code == 303


def test_a_stripe_that_is_dead_is_said_plainly(visitor: Visitor) -> None:
    """Nothing listens where the settings lead: the page itself is there all the same."""
    rows.customer()
    page_of(visitor)
    response = visitor.clicks_manage_billing()
    assert response.status_code == 503
    assert "The billing portal cannot be opened at the moment." in text_of(response)


def test_a_customer_deleted_at_stripe_is_told_so(visitor: Visitor, shop: Shop) -> None:
    """Before the webhook comes, by the button; afterwards the link opens nothing."""
    told = shop.subscribe()
    shop.deliver()
    visitor.opens(link_for(told["customer"]))
    shop.sandbox.request("DELETE", f"/v1/customers/{told['customer']}").raise_for_status()
    response = visitor.clicks_manage_billing()
    assert response.status_code == 410
    assert "Your billing account was closed" in text_of(response)
    shop.deliver()
    assert BillingCustomer.objects.get().deleted
    assert visitor.client.get(path_of(visitor.url)).status_code == 404


def test_the_portal_is_opened_ten_times_an_hour_at_most(
    visitor: Visitor, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = shop.subscribe()
    shop.deliver()
    visitor.opens(link_for(told["customer"]))
    with rows.writing():
        for minutes in (*range(9), 61, 62):
            BillingEvent.objects.create(
                type=portal.AUDIT_TYPE,
                payload={"customer": told["customer"]},
                created_at=datetime.now(UTC) - timedelta(minutes=minutes),
            )
        for _ in range(20):
            BillingEvent.objects.create(type=portal.AUDIT_TYPE, payload={"customer": "cus_another"})
    assert visitor.clicks_manage_billing().status_code == 303
    response = visitor.clicks_manage_billing()
    assert response.status_code == 429
    assert "Please try again in an hour." in text_of(response)


def test_no_log_line_tells_a_link(visitor: Visitor, shop: Shop, settings: Settings) -> None:
    """Neither of what works, nor of what is refused, nor of what breaks."""
    told = shop.subscribe()
    shop.deliver()
    visitor.opens(link_for(told["customer"]))
    token = path_of(visitor.url).removeprefix("/billing/").removesuffix("/")
    handler = logging.Handler()
    lines: list[str] = []
    handler.emit = lambda record: lines.append(message_of(record))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        shop.sandbox.control("faults", path="/v1/billing_portal/sessions", status=403)
        visitor.clicks_manage_billing()
        visitor.client.get(f"/billing/{token}x/")
        Client(enforce_csrf_checks=True).post(f"/billing/{token}/portal/")
    finally:
        logging.getLogger().removeHandler(handler)
    assert [line for line in lines if token in line] == []
    assert "Not Found: /billing/(link)/" in lines
    assert any(line.startswith("Forbidden") and "/billing/(link)/portal/" in line for line in lines)
    assert settings.LOGGING["handlers"]["stderr"]["formatter"] == "line"
