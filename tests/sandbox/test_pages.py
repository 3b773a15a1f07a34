"""The sandbox's pages for people, as any browser gets them."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from backoffice.sandbox.pages.tales import TALES
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess
from tests.sandbox.storefront import HOSTILE, Storefront

MARK = "Sandbox: no real money moves"
NOBODY = "/p/session/bps_nobody"


@pytest.fixture
def shop(shared: SandboxProcess) -> Storefront:
    """A shop in a sandbox that other tests use too."""
    return Storefront(shared)


@pytest.fixture
def own_shop(sandbox: SandboxProcess) -> Storefront:
    """A shop in a sandbox of its own."""
    return Storefront(sandbox)


def register(shop: Storefront, receiver: Receiver) -> str:
    """The id of an endpoint for all events."""
    fields = {"url": receiver.url, "enabled_events[]": "*"}
    return str(shop.post("/v1/webhook_endpoints", **fields)["id"])


def wait_until(so: Callable[[], bool]) -> None:
    """Waits for a condition, patiently."""
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# The dashboard


def test_an_empty_sandbox_says_what_to_do(sandbox: SandboxProcess) -> None:
    page = sandbox.http.get(f"{sandbox.url}/")
    assert page.status_code == 200
    for words in (
        "Nothing yet. Tell a story to begin.",
        "There is none: nobody is told about events.",
        "Nothing has happened yet.",
        "Nobody has asked the API anything",
        "Nothing: Stripe works as it should.",
    ):
        assert words in page.text
    answer = sandbox.http.post(f"{sandbox.url}/stories/buy_pack", data={"buyer": "a@example.com"})
    assert answer.status_code == 400
    assert "There is no pack on sale" in answer.text


def test_the_dashboard_tells_of_objects_requests_events_and_deliveries(
    own_shop: Storefront, receiver: Receiver
) -> None:
    receiver.status = 503
    endpoint = register(own_shop, receiver)
    customer = own_shop.customer(card=None)
    own_shop.sandbox.get("/v1/customers/cus_nobody")
    wait_until(lambda: "1 attempt: answered 503" in own_shop.visit("/"))
    own_shop.sandbox.control("deliver")
    text = own_shop.visit("/")
    assert "1 customer " in text
    assert "3 prices" in text
    assert f"{receiver.url} enabled 0 1 0" in text  # delivered, waiting, failed
    assert "customer.created" in text
    assert "pending 2 attempts: answered 503" in text
    assert "GET /v1/customers/cus_nobody 404" in text
    assert f'href="/objects/{endpoint}"' in own_shop.sandbox.http.get(own_shop.sandbox.url).text

    receiver.status = 200
    answer = own_shop.submit("/deliver")
    assert "was tried once more" in own_shop.visit(answer.headers["location"])
    assert f"{receiver.url} enabled 1 0 0" in own_shop.visit("/")
    assert "delivered" not in own_shop.visit(f"/objects/{customer}")


def test_the_activity_page_looks_again_by_itself(shop: Storefront) -> None:
    page = shop.sandbox.http.get(f"{shop.sandbox.url}/activity").text
    assert '<meta http-equiv="refresh" content="3">' in page
    assert "Last API requests" in page


# Objects


def test_objects_are_listed_a_page_at_a_time(own_shop: Storefront) -> None:
    made = [own_shop.customer(card=None, name=f"Number {n}") for n in range(30)]
    first = own_shop.sandbox.http.get(f"{own_shop.sandbox.url}/objects/customer").text
    shown = re.findall(r'title="(cus_\w+)"', first)
    assert shown == made[:4:-1]
    (older,) = re.findall(r'href="(/objects/customer\?before=cus_\w+)"', first)
    second = own_shop.sandbox.http.get(own_shop.sandbox.url + older).text
    assert re.findall(r'title="(cus_\w+)"', second) == made[4::-1]
    assert "Newest" in second
    assert "Older" not in second


def test_an_object_is_shown_as_json_with_links_and_its_events(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    page = shop.sandbox.http.get(f"{shop.sandbox.url}/objects/{subscription}").text
    assert f'<a href="/objects/{customer}">{customer}</a>' in page
    assert f'<a href="/objects/{shop.plan}">{shop.plan}</a>' in page
    assert "customer.subscription.created" in page
    shop.sandbox.request("DELETE", f"/v1/customers/{customer}")
    assert "This object is deleted." in shop.visit(f"/objects/{customer}")
    assert "customer.deleted" in shop.visit(f"/objects/{customer}")


@pytest.mark.parametrize(
    "path",
    [
        "/c/pay/cs_test_nobody",
        "/c/pay/cs_test_nobody/done",
        "/i/in_nobody",
        "/i/in_nobody/pdf",
        "/r/ch_nobody",
        NOBODY,
        f"{NOBODY}/subscriptions/sub_nobody/cancel",
        "/objects/cus_nobody",
        "/told/nothing",
        "/c/pay/%3Cscript%3E",
    ],
)
def test_what_does_not_exist_is_told_kindly(shop: Storefront, path: str) -> None:
    text = shop.visit(path, status=404)
    assert "There is no such thing here" in text
    assert "To the dashboard" in text
    assert MARK in text


# Hosted checkout


def test_a_pack_is_paid_after_a_decline(own_shop: Storefront) -> None:
    session = own_shop.session()
    address, before = session["url"], own_shop.last_event()
    text = own_shop.visit(address)
    assert "Leads 2 × $15.00 $30.00" in text
    assert "Pay $30.00" in text

    buyer = {"email": "buyer@example.com", "name": "Bo"}
    declined = own_shop.submit(address, **buyer, method="pm_card_chargeDeclined")
    assert declined.status_code == 402
    assert "Your card was declined. Nothing was charged; try another way." in declined.text
    assert 'value="buyer@example.com"' in declined.text
    assert state(own_shop, session) == ("open", "unpaid")

    thanks = own_shop.follow(address, **buyer, method="pm_card_visa")
    assert "Thank you" in thanks
    assert state(own_shop, session) == ("complete", "paid")
    now = own_shop.get(f"/v1/checkout/sessions/{session['id']}")
    assert now["customer_details"]["email"] == "buyer@example.com"
    assert now["customer_details"]["name"] == "Bo"
    types = own_shop.types_since(before)
    assert types.count("charge.failed") == types.count("charge.succeeded") == 1
    assert types.count("checkout.session.completed") == 1

    assert "$30.00 was paid." in own_shop.visit(address)
    again = own_shop.submit(address, **buyer, method="pm_card_visa")
    assert again.status_code == 303
    assert own_shop.types_since(before) == types


def state(shop: Storefront, session: Any) -> tuple[str, str]:
    """(status, payment status) of a checkout session."""
    now = shop.get(f"/v1/checkout/sessions/{session['id']}")
    return now["status"], now["payment_status"]


def test_the_buyer_is_led_back_once_the_shop_was_told(
    own_shop: Storefront, receiver: Receiver
) -> None:
    """The waiting is made to last by a delivery that is late and an event of the near future."""
    register(own_shop, receiver)
    own_shop.sandbox.control("faults", delay_deliveries=600)
    own_shop.sandbox.control("faults", skew_events=3600)
    told, untold = own_shop.session(), own_shop.session()
    waits = '<meta http-equiv="refresh" content="1">'
    assert waits in pay_and_look(own_shop, told)
    own_shop.sandbox.control("deliver")
    text = look(own_shop, told)
    target = f"https://shop.example/done?s={told['id']}"
    assert f'<meta http-equiv="refresh" content="3; url={target}">' in text
    assert f'href="{target}"' in text

    assert waits in pay_and_look(own_shop, untold)
    let_pass(own_shop, 3600 + 11)
    assert waits not in look(own_shop, untold)


def pay_and_look(shop: Storefront, session: Any) -> str:
    """Pays, and returns the page that thanks for it."""
    shop.follow(session["url"], email="a@example.com", method="pm_card_visa")
    return look(shop, session)


def look(shop: Storefront, session: Any) -> str:
    """The page that thanks the buyer, as HTML."""
    return shop.sandbox.http.get(f"{shop.sandbox.url}/c/pay/{session['id']}/done").text


def test_a_bank_debit_is_on_its_way_for_days(shop: Storefront) -> None:
    kinds = {"payment_method_types[0]": "card", "payment_method_types[1]": "us_bank_account"}
    session = shop.session(**kinds)
    shop.follow(session["url"], email="a@example.com", method="us_bank_account")
    assert state(shop, session) == ("complete", "unpaid")
    assert "The payment is on its way" in shop.visit(session["url"])
    shop.sandbox.story("settle", checkout_session=session["id"], succeed=True)
    assert "$30.00 was paid." in shop.visit(session["url"])


def test_only_payment_methods_of_the_session_are_offered(shop: Storefront) -> None:
    session = shop.session()
    assert "Bank debit" not in shop.visit(session["url"])
    refused = shop.submit(session["url"], email="a@example.com", method="us_bank_account")
    assert refused.status_code == 400
    assert "Choose one of the payment methods." in refused.text


def test_a_session_without_a_payment_method_of_the_sandbox_says_so(shop: Storefront) -> None:
    session = shop.session(**{"payment_method_types[0]": "klarna"})
    assert "has none of the payment methods" in shop.visit(session["url"])
    refused = shop.submit(session["url"], email="a@example.com", method="klarna")
    assert refused.status_code == 400


def test_a_subscription_is_bought_in_checkout(shop: Storefront) -> None:
    session = shop.session(mode="subscription")
    assert "Leads 2 × $29.00 every month $58.00" in shop.visit(session["url"])
    declined = shop.submit(
        session["url"], email="s@example.com", method="pm_card_chargeDeclinedInsufficientFunds"
    )
    assert (declined.status_code, state(shop, session)) == (402, ("open", "unpaid"))
    assert "insufficient funds" in declined.text
    shop.follow(session["url"], email="s@example.com", method="pm_card_mastercard")
    now = shop.get(f"/v1/checkout/sessions/{session['id']}")
    assert shop.get(f"/v1/subscriptions/{now['subscription']}")["status"] == "active"
    assert shop.get(f"/v1/customers/{now['customer']}")["email"] == "s@example.com"


def test_a_card_is_saved_in_checkout(shop: Storefront) -> None:
    customer = shop.customer(card=None)
    session = shop.session(mode="setup", customer=customer, currency="usd")
    text = shop.visit(session["url"])
    assert "Save a payment method" in text
    assert "For ada@example.com" in text
    declined = shop.submit(session["url"], method="pm_card_chargeDeclined")
    assert declined.status_code == 402
    shop.follow(session["url"], method="pm_card_visa")
    methods = shop.get(f"/v1/customers/{customer}/payment_methods")["data"]
    assert [method["card"]["last4"] for method in methods] == ["4242"]
    assert "There was nothing to pay." in shop.visit(session["url"])


@pytest.mark.parametrize(
    ("email", "message"),
    [("", "Enter an email address."), ("nonsense", "Invalid email address: nonsense")],
)
def test_checkout_needs_an_email_address(shop: Storefront, email: str, message: str) -> None:
    session = shop.session()
    refused = shop.submit(session["url"], email=email, method="pm_card_visa")
    assert refused.status_code == 400
    assert message in refused.text
    assert state(shop, session) == ("open", "unpaid")


def test_an_expired_session_takes_no_payment(shop: Storefront) -> None:
    session = shop.session()
    shop.post(f"/v1/checkout/sessions/{session['id']}/expire")
    assert "This checkout has expired Nothing was charged." in shop.visit(session["url"])
    shop.follow(session["url"], email="a@example.com", method="pm_card_visa")
    assert state(shop, session) == ("expired", "unpaid")


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [
        ("jpy", 1234567, "¥1,234,567"),
        ("kwd", 12340, "12.340 KWD"),
        ("eur", 123456, "€1,234.56"),
        ("chf", 5, "0.05 CHF"),
    ],
)
def test_money_has_the_digits_of_its_currency(
    shop: Storefront, currency: str, amount: int, shown: str
) -> None:
    price = shop.price(currency=currency, unit_amount=amount)
    session = shop.session(price, **{"line_items[0][quantity]": "1"})
    assert f"Pay {shown} " in shop.visit(session["url"])
    shop.follow(session["url"], email="a@example.com", method="pm_card_visa")
    assert f"{shown} was paid." in shop.visit(session["url"])


# Invoices and receipts


def test_an_open_invoice_is_paid_after_a_decline(shop: Storefront) -> None:
    invoice = shop.invoice(shop.customer())
    address = invoice["hosted_invoice_url"]
    assert "Still to pay $50.00" in shop.visit(address)
    declined = shop.submit(address, method="pm_card_chargeDeclinedExpiredCard")
    assert declined.status_code == 402
    assert "Your card has expired." in declined.text
    assert "Still to pay $0.00" in shop.follow(address, method="pm_card_mastercard")
    assert "This invoice is paid. Thank you." in shop.visit(address)
    events = shop.last_event()
    shop.follow(address, method="pm_card_visa")
    assert shop.last_event() == events


def test_an_invoice_is_paid_with_the_method_on_file(shop: Storefront) -> None:
    address = shop.invoice(shop.customer())["hosted_invoice_url"]
    assert "Visa •••• 4242, expires 08/2034 on file" in shop.visit(address)
    assert "This invoice is paid." in shop.follow(address, method="saved")


def test_an_invoice_waits_for_a_bank_debit(shop: Storefront) -> None:
    address = shop.invoice(shop.customer(card=None))["hosted_invoice_url"]
    assert "on file" not in shop.visit(address)
    assert "A payment is on its way." in shop.follow(address, method="us_bank_account")
    events = shop.last_event()
    shop.follow(address, method="pm_card_visa")
    assert shop.last_event() == events


def test_an_invoice_that_was_given_up(shop: Storefront) -> None:
    customer = shop.customer()
    void, lost = shop.invoice(customer), shop.invoice(customer)
    shop.post(f"/v1/invoices/{void['id']}/void")
    shop.post(f"/v1/invoices/{lost['id']}/mark_uncollectible")
    text = shop.visit(void["hosted_invoice_url"])
    assert "There is nothing to pay." in text
    assert "Still to pay $0.00" in text
    assert "It can still be paid." in shop.visit(lost["hosted_invoice_url"])
    assert "This invoice is paid." in shop.follow(lost["hosted_invoice_url"], method="saved")


def test_a_draft_has_no_page(shop: Storefront) -> None:
    draft = shop.post("/v1/invoices", customer=shop.customer())
    assert "There is no such thing here" in shop.visit(f"/i/{draft['id']}", status=404)
    assert shop.submit(f"/i/{draft['id']}", method="pm_card_visa").status_code == 404


def test_the_pdf_of_an_invoice_is_one(shop: Storefront) -> None:
    customer = shop.customer(name="Zoë (\\ & Søn) 漢")
    invoice = shop.invoice(customer, description="Fünf (5) leads")
    answer = shop.sandbox.http.get(invoice["invoice_pdf"])
    assert answer.headers["content-type"] == "application/pdf"
    pdf = answer.content
    assert pdf.startswith(b"%PDF-1.4\n")
    assert pdf.endswith(b"%%EOF\n")
    table = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf[table:].startswith(b"xref\n")
    starts = re.findall(rb"\n(\d{10}) 00000 n (?=\n)", pdf[table:])
    assert len(starts) == 6
    for number, start in enumerate(starts, 1):
        assert pdf[int(start) :].startswith(b"%d 0 obj\n" % number)
    streams = re.findall(rb"/Length (\d+) >>\nstream\n([^\0]*?)\nendstream", pdf)
    assert [int(length) for length, _ in streams] == [len(stream) for _, stream in streams]
    written = pdf.decode("cp1252")
    assert "(Zoë \\(\\\\ & Søn\\) ?)" in written
    assert "(Fünf \\(5\\) leads)" in written
    assert "($50.00)" in written
    assert MARK in written


def test_what_is_too_long_for_a_line_of_the_pdf_is_cut(shop: Storefront) -> None:
    invoice = shop.invoice(shop.customer(), amount=1234500, description="leads " * 30)
    written = shop.sandbox.http.get(invoice["invoice_pdf"]).content.decode("cp1252")
    (line,) = re.findall(r"\((leads [^)]*)\) Tj", written)
    assert line.endswith("…")
    assert len(line) + len("$12,345.00") <= 78


def test_a_long_invoice_has_several_pages(shop: Storefront) -> None:
    customer = shop.customer()
    for number in range(60):
        item = {"customer": customer, "amount": 100, "currency": "usd"}
        shop.post("/v1/invoiceitems", **item, description=f"Line {number}")
    pending = {"pending_invoice_items_behavior": "include"}
    made = shop.post("/v1/invoices", customer=customer, **pending)["id"]
    pdf = shop.sandbox.http.get(shop.post(f"/v1/invoices/{made}/finalize")["invoice_pdf"]).content
    assert pdf.count(b"/Type /Page ") == 2
    assert b"/Count 2" in pdf
    assert all(b"(Line %d)" % number in pdf for number in range(60))


def test_a_receipt_says_what_was_paid_and_given_back(shop: Storefront) -> None:
    session = shop.session()
    shop.follow(session["url"], email="r@example.com", method="pm_card_visa")
    intent = shop.get(f"/v1/checkout/sessions/{session['id']}")["payment_intent"]
    charge = shop.get(f"/v1/charges/{shop.get(f'/v1/payment_intents/{intent}')['latest_charge']}")
    text = shop.visit(charge["receipt_url"])
    assert "Receipt $30.00" in text
    assert "By Visa •••• 4242" in text
    assert "To r@example.com" in text
    assert "Refunded" not in text
    shop.post("/v1/refunds", charge=charge["id"], amount=1000)
    assert "Refunded $10.00" in shop.visit(charge["receipt_url"])


def test_a_failed_charge_has_no_receipt(shop: Storefront) -> None:
    session = shop.session()
    shop.submit(session["url"], email="r@example.com", method="pm_card_chargeDeclined")
    charge = shop.get("/v1/charges", limit=1)["data"][0]
    assert (charge["status"], charge["receipt_url"]) == ("failed", None)
    assert "which is not paid" in shop.visit(f"/r/{charge['id']}", status=404)


# The billing portal


def test_a_subscription_is_cancelled_in_the_portal_and_kept_after_all(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    address = shop.portal(customer)
    text = shop.visit(address)
    assert "Leads active $29.00 every month Renews on" in text
    page = f"{address}/subscriptions/{subscription}"
    before = shop.last_event()

    assert "It stays yours until" in shop.visit(f"{page}/cancel")
    text = shop.follow(f"{page}/cancel", feedback="too_expensive", comment=HOSTILE)
    assert "Ends on" in text
    now = shop.get(f"/v1/subscriptions/{subscription}")
    end = now["items"]["data"][0]["current_period_end"]
    assert (now["status"], now["cancel_at"], now["cancel_at_period_end"]) == ("active", end, False)
    assert now["cancellation_details"] == {
        "comment": HOSTILE,
        "feedback": "too_expensive",
        "reason": "cancellation_requested",
    }
    assert shop.types_since(before) == ["customer.subscription.updated"] * 2

    assert "Renews on" in shop.follow(f"{page}/keep")
    now = shop.get(f"/v1/subscriptions/{subscription}")
    assert (now["cancel_at"], now["canceled_at"]) == (None, None)
    assert now["cancellation_details"]["feedback"] is None
    assert len(shop.types_since(before)) == 3


def test_what_cannot_be_cancelled_is_not_offered(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    address = shop.portal(customer)
    shop.sandbox.request("DELETE", f"/v1/subscriptions/{subscription}")
    before = shop.last_event()
    text = shop.visit(address)
    assert "canceled" in text
    assert "Ended on" in text
    assert "Change plan" not in text
    shop.visit(f"{address}/subscriptions/{subscription}/cancel", status=303)
    shop.follow(f"{address}/subscriptions/{subscription}/cancel")
    shop.follow(f"{address}/subscriptions/{subscription}/keep")
    assert shop.last_event() == before


def test_a_reason_that_is_none_is_refused(shop: Storefront) -> None:
    customer = shop.customer()
    page = f"{shop.portal(customer)}/subscriptions/{shop.subscription(customer)}/cancel"
    refused = shop.submit(page, feedback="boredom")
    assert refused.status_code == 400
    assert "Choose one of the reasons" in refused.text


def test_another_plan_is_chosen_in_the_portal(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    page = f"{shop.portal(customer)}/subscriptions/{subscription}/plan"
    assert "$99.00 every month" in shop.visit(page)
    assert "$99.00 every month" in shop.follow(page, price=shop.bigger)
    now = shop.get(f"/v1/subscriptions/{subscription}")
    assert now["items"]["data"][0]["price"]["id"] == shop.bigger
    items = shop.get("/v1/invoiceitems", customer=customer)["data"]
    assert [item["proration"] for item in items] == [True, True]
    refused = shop.submit(page, price=shop.pack)
    assert refused.status_code == 400
    assert "Choose one of the plans." in refused.text


def test_a_card_is_updated_in_the_portal(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    (old,) = shop.get(f"/v1/customers/{customer}/payment_methods")["data"]
    shop.post(f"/v1/subscriptions/{subscription}", default_payment_method=old["id"])
    address = shop.portal(customer)
    before = shop.last_event()

    refused = shop.submit(f"{address}/methods", method="pm_card_chargeDeclined")
    assert refused.status_code == 402
    assert "Your card was declined." in refused.text
    assert shop.last_event() == before

    text = shop.follow(f"{address}/methods", method="pm_card_mastercard")
    assert "Mastercard •••• 4444, expires 08/2034 default" in text
    types = ["payment_method.attached", "customer.updated", "customer.subscription.updated"]
    assert shop.types_since(before) == types
    default = shop.get(f"/v1/customers/{customer}")["invoice_settings"]["default_payment_method"]
    assert default != old["id"]
    assert shop.get(f"/v1/subscriptions/{subscription}")["default_payment_method"] == default

    text = shop.follow(f"{address}/methods/{old['id']}")
    assert "Visa •••• 4242, expires 08/2034 default" in text
    now = shop.get(f"/v1/customers/{customer}")
    assert now["invoice_settings"]["default_payment_method"] == old["id"]


def test_a_portal_shows_only_what_is_the_customers(shop: Storefront) -> None:
    stranger = shop.customer(email="stranger@example.com")
    theirs = shop.subscription(stranger)
    (card,) = shop.get(f"/v1/customers/{stranger}/payment_methods")["data"]
    address = shop.portal(shop.customer())
    before = shop.last_event()
    assert "There is no subscription yet." in shop.visit(address)
    for rest in (f"subscriptions/{theirs}/cancel", f"subscriptions/{theirs}/plan"):
        shop.visit(f"{address}/{rest}", status=404)
    for rest in (
        f"subscriptions/{theirs}/cancel",
        f"subscriptions/{theirs}/keep",
        f"methods/{card['id']}",
    ):
        assert shop.submit(f"{address}/{rest}").status_code == 404
    assert shop.last_event() == before


def test_a_portal_session_ends_as_stripes_do(own_shop: Storefront) -> None:
    """Unused after five minutes; used, an hour after its last use."""
    customer = own_shop.customer()
    unused, used = own_shop.portal(customer), own_shop.portal(customer)
    own_shop.visit(used)
    let_pass(own_shop, 301)
    assert "This link has expired." in own_shop.visit(unused, status=403)
    assert own_shop.submit(f"{unused}/methods", method="pm_card_visa").status_code == 403
    for _ in range(2):
        let_pass(own_shop, 3200)
        own_shop.visit(used)
    let_pass(own_shop, 3601)
    assert "This link has expired." in own_shop.visit(used, status=403)


def let_pass(shop: Storefront, seconds: int) -> None:
    """Moves the sandbox ahead in time, and waits until it got there."""
    shop.sandbox.control("clock", advance_seconds=seconds)
    wait_until(lambda: shop.sandbox.control("clock", http="GET")["ready"])


# Stories and faults

STORIES = {
    "buy_pack": {"buyer": "new@example.com", "user": "u_1", "outcome": "pm_card_visa"},
    "subscribe": {"buyer": "new@example.com", "days": "7", "outcome": "pm_card_visa"},
    "open_checkout": {"buyer": "new@example.com", "user": "u_1"},
    "open_portal": {"who": "ada@example.com"},
    "renew": {"who": "ada@example.com", "outcome": "fail"},
    "cancel": {"who": "ada@example.com", "outcome": ""},
    "refund": {"who": "ada@example.com", "amount": "1.50"},
    "dispute": {"who": "ada@example.com", "outcome": ""},
    "settle": {"who": "debit@example.com", "outcome": "succeed"},
}
OUTCOMES = {
    "buy_pack": ["checkout session", "complete $15.00", "Hosted checkout", "Receipt"],
    "subscribe": ["subscription", "trialing", "customer.subscription.created"],
    "open_checkout": ["checkout session", "open $15.00", "Hosted checkout"],
    "open_portal": ["billing portal session", "Billing portal"],
    "renew": ["past due", "invoice.payment_failed", "Hosted invoice"],
    "cancel": ["customer.subscription.updated", "active"],
    "refund": ["refund", "succeeded $1.50", "charge.refunded"],
    "dispute": ["dispute", "needs response", "charge.dispute.created"],
    "settle": ["checkout.session.async_payment_succeeded", "complete $15.00"],
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_told_and_says_what_came_of_it(own_shop: Storefront, name: str) -> None:
    own_shop.subscription(own_shop.customer())
    later = {"price": own_shop.pack, "email": "debit@example.com", "async_": "pending"}
    own_shop.sandbox.story("buy_pack", **later)
    assert f'action="/stories/{name}"' in own_shop.sandbox.http.get(own_shop.sandbox.url).text
    prices = {"pack": own_shop.pack, "plan": own_shop.plan, "anything": own_shop.pack}
    text = own_shop.follow(f"/stories/{name}", **STORIES[name], **prices)
    for words in OUTCOMES[name]:
        assert words in text


def test_every_story_of_the_page_is_tried() -> None:
    assert set(TALES) == set(STORIES) == set(OUTCOMES)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("pm_card_chargeDeclined", ("open", "unpaid")),
        ("pending", ("complete", "unpaid")),
        ("succeed", ("complete", "paid")),
        ("fail", ("complete", "unpaid")),
    ],
)
def test_a_pack_is_bought_in_each_way(
    shop: Storefront, outcome: str, status: tuple[str, str]
) -> None:
    form = {"buyer": "ways@example.com", "pack": shop.pack, "outcome": outcome}
    shop.follow("/stories/buy_pack", **form)
    session = shop.get("/v1/checkout/sessions", limit=1)["data"][0]
    assert state(shop, session) == status


def test_a_guests_purchase_is_refunded_by_email(own_shop: Storefront) -> None:
    form = {"buyer": "guest@example.com", "pack": own_shop.pack, "outcome": "pm_card_visa"}
    own_shop.follow("/stories/buy_pack", **form)
    assert "succeeded $15.00" in own_shop.follow("/stories/refund", who="guest@example.com")
    refused = own_shop.submit("/stories/refund", who="guest@example.com")
    assert refused.status_code == 400
    assert "has no payment that could still be refunded" in refused.text


@pytest.mark.parametrize(
    ("name", "form", "status", "advice"),
    [
        ("buy_pack", {"buyer": ""}, 400, "Say who buys"),
        ("buy_pack", {"buyer": "nonsense"}, 400, "Invalid email address: nonsense"),
        ("buy_pack", {"buyer": "cus_nobody"}, 404, "No such customer"),
        ("renew", {"who": "nobody@example.com"}, 404, "Nobody here has the email address"),
        ("renew", {"who": "fresh@example.com"}, 400, "has no running subscription"),
        ("refund", {"who": "rich@example.com", "amount": "lots"}, 400, "is no amount"),
        ("refund", {"who": "rich@example.com", "amount": "1.005"}, 400, "at least $0.01"),
        ("refund", {"who": "rich@example.com", "amount": "1e999999999"}, 400, "is no amount"),
        ("refund", {"who": "rich@example.com", "amount": "NaN"}, 400, "is no amount"),
        ("refund", {"who": "rich@example.com", "amount": "1000"}, 400, "greater than"),
        ("subscribe", {"buyer": "a@example.com", "days": "-1"}, 400, "from 0 to 730"),
        ("nothing", {}, 404, "No such story"),
    ],
)
def test_a_story_that_cannot_be_told_says_why(
    shop: Storefront, name: str, form: dict[str, str], status: int, advice: str
) -> None:
    shop.customer(email="fresh@example.com")
    rich = shop.customer(email="rich@example.com")
    shop.sandbox.story("buy_pack", customer=rich, price=shop.pack)
    before = shop.last_event()
    refused = shop.submit(f"/stories/{name}", pack=shop.pack, plan=shop.plan, **form)
    assert refused.status_code == status
    assert advice in refused.text
    assert MARK in refused.text
    for value in filter(None, form.values()):
        assert f'value="{value}"' in refused.text
    assert shop.last_event() == before


def test_faults_are_set_and_cleared_by_buttons(own_shop: Storefront) -> None:
    assert "It is broken now" in own_shop.follow("/faults/error", count="2")
    assert [own_shop.sandbox.get("/v1/prices").status_code for _ in range(3)] == [500, 500, 200]
    text = own_shop.visit("/")
    assert "path /v1/*, status 500, 2 times It has hit 2×" in text
    assert "GET /v1/prices" in text
    own_shop.follow("/faults/drop", count="1")
    own_shop.follow("/faults/no_event", count="1")
    own_shop.customer(card=None)
    assert own_shop.types_since(None).count("customer.created") == 0
    assert "All faults are cleared." in own_shop.follow("/faults/clear")
    assert own_shop.sandbox.control("faults", http="GET") == {"faults": []}


@pytest.mark.parametrize("count", ["", "0", "-1", "many", "10001"])
def test_a_fault_hits_a_number_of_times(shop: Storefront, count: str) -> None:
    refused = shop.submit("/faults/error", count=count)
    assert refused.status_code == 400
    assert "How often: a number from 1 to 10,000." in refused.text
    assert shop.sandbox.get("/v1/prices").status_code == 200


def test_every_button_sets_a_fault_that_the_sandbox_has(own_shop: Storefront) -> None:
    page = own_shop.sandbox.http.get(own_shop.sandbox.url).text
    names = re.findall(r'action="/faults/(?!clear)(\w+)"', page)
    assert len(names) >= 6
    for name in names:
        own_shop.follow(f"/faults/{name}", count="3")
    assert len(own_shop.sandbox.control("faults", http="GET")["faults"]) == len(names)
    assert own_shop.submit("/faults/nonsense", count="3").status_code == 400


def test_time_passes_by_a_button(own_shop: Storefront) -> None:
    before = own_shop.sandbox.control("clock", http="GET")["now"]
    assert "Time passes." in own_shop.follow("/clock", days="31")
    assert own_shop.sandbox.control("clock", http="GET")["goal"] >= before + 31 * 86400
    assert own_shop.submit("/clock", days="0").status_code == 400


# Safety


@pytest.fixture
def hostile(shop: Storefront) -> list[str]:
    """Pages of objects whose names and metadata somebody made up to be run."""
    evil = Storefront(shop.sandbox, name=HOSTILE)
    fields = {"name": HOSTILE, "description": HOSTILE, "metadata[note]": HOSTILE}
    customer = evil.customer(email="<b>@example.com", **fields)
    subscription = evil.subscription(customer)
    session = evil.session(customer=customer, client_reference_id=HOSTILE)
    invoice = evil.invoice(customer, description=HOSTILE)
    portal = evil.portal(customer)
    evil.follow(session["url"], name=HOSTILE, method="pm_card_visa")
    return [
        "/",
        f"/?done={HOSTILE}",
        evil.session(customer=customer)["url"],
        session["url"],
        f"{session['url']}/done",
        invoice["hosted_invoice_url"],
        portal,
        f"{portal}/subscriptions/{subscription}/cancel",
        f"{portal}/subscriptions/{subscription}/plan",
        f"/objects/{customer}",
        f"/objects/{evil.product}",
        f"/objects/{session['id']}",
        "/objects/customer",
        "/objects/product",
        f"/told/refund?id={customer}&event={HOSTILE}",
        evil.get("/v1/charges", limit=1)["data"][0]["receipt_url"],
    ]


def test_names_and_metadata_are_text(shop: Storefront, hostile: list[str]) -> None:
    for address in hostile:
        answer = shop.sandbox.http.get(
            f"{shop.sandbox.url}{address.removeprefix(shop.sandbox.url)}"
        )
        assert answer.status_code == 200, address
        assert "<script" not in answer.text, address
        assert "<img" not in answer.text, address
        assert "<b>@" not in answer.text, address
    refused = shop.submit("/stories/refund", who=HOSTILE, amount=HOSTILE)
    assert "<script" not in refused.text
    assert "&lt;script&gt;" in refused.text


def test_an_address_of_the_shop_that_is_none_is_no_link(shop: Storefront) -> None:
    evil = {"success_url": "javascript:alert(1)", "cancel_url": "javascript:alert(2)"}
    made = shop.sandbox.post(
        "/v1/checkout/sessions",
        {
            "mode": "payment",
            "line_items[0][price]": shop.pack,
            "line_items[0][quantity]": "1",
            **evil,
        },
    )
    address = made.raise_for_status().json()["url"]
    assert "javascript:" not in shop.sandbox.http.get(address).text
    done = shop.submit(address, email="a@example.com", method="pm_card_visa")
    text = shop.sandbox.http.get(shop.sandbox.url + done.headers["location"]).text
    assert "You can close this page." in text
    assert "javascript:" not in text


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: " ".join(headers.values()))
@pytest.mark.parametrize("path", ["/faults/error", "/stories/buy_pack", "/deliver", "/clock"])
def test_forms_of_other_websites_are_refused(
    shop: Storefront, path: str, headers: dict[str, str]
) -> None:
    before = shop.last_event()
    form = {"count": "1", "buyer": "a@example.com", "pack": shop.pack, "days": "1"}
    answer = shop.sandbox.http.post(shop.sandbox.url + path, data=form, headers=headers)
    assert answer.status_code == 403
    assert "Another website sent this form" in answer.text
    assert shop.last_event() == before
    assert shop.sandbox.control("faults", http="GET") == {"faults": []}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1.evil.example", ""])
def test_names_bound_to_this_machine_by_others_are_refused(shop: Storefront, host: str) -> None:
    for path in ("/", "/objects/customer", "/style.css"):
        answer = shop.sandbox.http.get(shop.sandbox.url + path, headers={"Host": host})
        assert answer.status_code == 403, path
        assert "customer" not in answer.text
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = shop.sandbox.http.post(f"{shop.sandbox.url}/faults/error", headers=headers)
    assert answer.status_code == 403


def test_localhost_is_the_sandbox_too(shop: Storefront) -> None:
    host = shop.sandbox.url.removeprefix("http://").replace("127.0.0.1", "localhost")
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert shop.sandbox.http.get(shop.sandbox.url, headers=headers).status_code == 200
    answer = shop.sandbox.http.post(f"{shop.sandbox.url}/faults/clear", headers=headers)
    assert answer.status_code == 303


def test_a_page_may_load_nothing_but_its_style(shop: Storefront) -> None:
    for path, status in (("/", 200), ("/objects/cus_nobody", 404), ("/style.css", 200)):
        answer = shop.sandbox.http.get(shop.sandbox.url + path)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src data:;")
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_looking_changes_nothing(shop: Storefront) -> None:
    for path in ("/stories/buy_pack", "/faults/error", "/faults/clear", "/deliver", "/clock"):
        assert shop.sandbox.http.get(shop.sandbox.url + path).status_code in (404, 405)


def test_a_form_that_is_too_large_is_refused(shop: Storefront) -> None:
    answer = shop.submit("/stories/buy_pack", buyer="a" * 100_000)
    assert answer.status_code == 413
    assert "This form is too large" in answer.text


def test_pages_are_no_api_requests(own_shop: Storefront) -> None:
    """Nobody mistakes a look at a page for a request of the back office."""
    before = own_shop.sandbox.control("counters", http="GET")
    own_shop.visit("/")
    own_shop.visit("/objects/price")
    assert own_shop.sandbox.control("counters", http="GET") == before


def test_live_sessions_have_a_page_too(shop: Storefront) -> None:
    key = {"Authorization": "Bearer sk_live_" + "sandbox0" * 4}

    def live(path: str, **data: Any) -> Any:
        return shop.sandbox.post(path, data, headers=key).raise_for_status().json()

    product = live("/v1/products", name="Live leads")["id"]
    price = live("/v1/prices", product=product, currency="usd", unit_amount=700)["id"]
    session = live(
        "/v1/checkout/sessions",
        mode="payment",
        success_url="https://shop.example/",
        **{"line_items[0][price]": price, "line_items[0][quantity]": "1"},
    )
    assert "Live leads $7.00" in shop.visit(session["url"])
    shop.follow(session["url"], email="a@example.com", method="pm_card_visa")
    assert "$7.00 was paid." in shop.visit(session["url"])
