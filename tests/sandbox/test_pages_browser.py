"""The sandbox's pages in a real browser: paying, cancelling, breaking; on a phone, in the dark."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from playwright.sync_api import ConsoleMessage, Page, ViewportSize, expect

from tests.sandbox.receiver import Receiver
from tests.sandbox.storefront import HOSTILE, Storefront
from tests.support.accessibility import ALSO_MODERATE, violations

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds that a slow, loaded machine may take."""


@dataclass
class Buyer:
    """A browser before the sandbox's pages, and whatever went wrong in it."""

    shop: Storefront
    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.set_default_navigation_timeout(PATIENCE)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def _heard(self, message: ConsoleMessage) -> None:
        declined = "status of 402" in message.text  # a declined card is told with this status
        if message.type == "error" and not declined:
            self.errors.append(message.text)

    def open(self, address: str) -> None:
        """Opens a page of the sandbox by its URL or path."""
        path = address.removeprefix(self.shop.sandbox.url)
        response = self.page.goto(self.shop.sandbox.url + path)
        assert response is not None
        assert response.status == 200, path

    def choose(self, method: str, button: str) -> None:
        """Chooses a payment method by its name and presses the button."""
        self.page.get_by_role("radio", name=method).check()
        self.page.get_by_role("button", name=button).click()

    def unfold(self, title: str) -> None:
        """Shows what is folded away under this title."""
        self.page.locator("summary", has_text=title).click()

    def unfold_all(self) -> None:
        """Shows all that is folded away, also where only one thing is shown at a time."""
        self.page.evaluate(
            "document.querySelectorAll('details').forEach("
            "one => { one.removeAttribute('name'); one.open = true; })"
        )

    def sees(self, text: str) -> None:
        """Waits until the text is there to be seen."""
        expect(self.page.get_by_text(text).first).to_be_visible()


@pytest.fixture
def shop(sandbox: Any) -> Storefront:
    """A shop in a sandbox of its own."""
    return Storefront(sandbox)


@pytest.fixture
def buyer(shop: Storefront, page: Page) -> Iterator[Buyer]:
    """Errors in the browser's console fail the test."""
    made = Buyer(shop, page)
    expect.set_options(timeout=PATIENCE)
    yield made
    expect.set_options(timeout=None)
    assert made.errors == []


def test_a_pack_is_paid_with_the_second_card(
    buyer: Buyer, shop: Storefront, receiver: Receiver
) -> None:
    """A declined card, another one, the thanks, and back in the shop; the webhook has come."""
    fields = {"url": receiver.url, "enabled_events[]": "checkout.session.completed"}
    shop.post("/v1/webhook_endpoints", **fields)
    back = f"{shop.sandbox.url}/objects/{{CHECKOUT_SESSION_ID}}"  # a shop that is there
    session = shop.session(success_url=back)
    buyer.open(session["url"])
    buyer.page.get_by_label("Email").fill("bo@example.com")
    buyer.choose("Visa •••• 0002", "Pay $30.00")
    expect(buyer.page.get_by_role("alert")).to_contain_text("Your card was declined.")
    expect(buyer.page.get_by_label("Email")).to_have_value("bo@example.com")

    buyer.choose("Visa •••• 4242", "Pay $30.00")
    buyer.sees("Thank you")
    buyer.page.wait_for_url(f"**/objects/{session['id']}", timeout=PATIENCE)
    buyer.sees("complete")
    (webhook,) = receiver.wait_for(1, seconds=60)
    assert webhook.event["data"]["object"]["id"] == session["id"]


def test_checkout_by_keyboard_alone(buyer: Buyer, shop: Storefront) -> None:
    session = shop.session(mode="subscription", customer=shop.customer(card=None))
    buyer.open(session["url"])
    buyer.page.keyboard.press("Tab")
    expect(buyer.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    buyer.page.get_by_role("radio").first.focus()
    buyer.page.keyboard.press("ArrowDown")
    expect(buyer.page.get_by_role("radio", name="Mastercard")).to_be_checked()
    buyer.page.keyboard.press("Enter")
    buyer.sees("Thank you")
    now = shop.get(f"/v1/checkout/sessions/{session['id']}")
    assert shop.get(f"/v1/subscriptions/{now['subscription']}")["status"] == "active"


def test_an_open_invoice_is_paid(buyer: Buyer, shop: Storefront) -> None:
    invoice = shop.invoice(shop.customer())
    buyer.open(invoice["hosted_invoice_url"])
    expect(buyer.page.get_by_role("link", name="Download as PDF")).to_be_visible()
    buyer.choose("Visa •••• 9995", "Pay $50.00")
    expect(buyer.page.get_by_role("alert")).to_contain_text("insufficient funds")
    buyer.choose("Mastercard •••• 4444", "Pay $50.00")
    buyer.sees("This invoice is paid. Thank you.")
    assert shop.get(f"/v1/invoices/{invoice['id']}")["status"] == "paid"


def test_a_subscription_is_cancelled_kept_and_paid_by_another_card(
    buyer: Buyer, shop: Storefront
) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    page = buyer.page
    buyer.open(shop.portal(customer))
    page.get_by_role("link", name="Cancel").click()
    page.get_by_label("Why?").select_option("It is too expensive")
    page.get_by_label("Anything else?").fill("Sorry")
    page.get_by_role("button", name="Cancel the subscription").click()
    buyer.sees("Ends on")
    now = shop.get(f"/v1/subscriptions/{subscription}")
    assert now["cancel_at"] == now["items"]["data"][0]["current_period_end"]
    assert now["cancellation_details"]["feedback"] == "too_expensive"

    page.get_by_role("button", name="Keep the subscription").click()
    buyer.sees("Renews on")
    assert shop.get(f"/v1/subscriptions/{subscription}")["cancel_at"] is None

    buyer.unfold("Add or update a card")
    buyer.choose("Visa •••• 0002", "Save card")
    expect(page.get_by_role("alert")).to_contain_text("Your card was declined.")
    buyer.choose("Mastercard •••• 4444", "Save card")
    row = page.get_by_role("listitem").filter(has_text="Mastercard •••• 4444, expires")
    expect(row).to_contain_text("default")
    page.get_by_role("button", name="Make Visa •••• 4242, expires 08/2034 the default").click()
    row = page.get_by_role("listitem").filter(has_text="Visa •••• 4242, expires")
    expect(row).to_contain_text("default")

    page.get_by_role("link", name="Change plan").click()
    page.get_by_role("button", name="Change the plan").click()
    buyer.sees("$99.00 every month")


def test_a_fault_is_set_and_a_story_told(
    buyer: Buyer, shop: Storefront, receiver: Receiver
) -> None:
    """Webhooks get lost by a button, a pack is bought by a form, and the page says both."""
    shop.post("/v1/webhook_endpoints", **{"url": receiver.url, "enabled_events[]": "*"})
    shop.customer()
    page = buyer.page
    buyer.open("/")
    lost = page.get_by_role("listitem").filter(has_text="Webhooks get lost")
    lost.get_by_role("spinbutton").fill("1000")
    lost.get_by_role("button", name="Set").click()
    buyer.sees("It is broken now")
    buyer.sees("drop deliveries, 1000 times")

    page.get_by_label("Buyer").first.fill("ada@example.com")
    page.get_by_label("User id in the shop").first.fill("u_ada")
    page.get_by_label("How").first.select_option("by card, which works")
    page.get_by_role("button", name="Buy a pack").click()
    expect(page.get_by_role("heading", name="What came of it")).to_be_visible()
    completed = page.get_by_role("row").filter(has_text="checkout.session.completed")
    expect(completed).to_contain_text("failed")
    page.get_by_role("link", name="Receipt").click()
    buyer.sees("Visa •••• 4242")

    page.get_by_role("link", name="Dashboard").click()
    page.get_by_role("button", name="Clear all faults").click()
    buyer.sees("Nothing: Stripe works as it should.")
    buyer.unfold("Open a checkout page")
    page.get_by_label("Buyer").locator("visible=true").fill("new@example.com")
    page.get_by_role("button", name="Open a checkout page").click()
    page.get_by_role("link", name="Hosted checkout").click()
    buyer.sees("For new@example.com")


def test_a_form_that_was_wrong_is_open_and_says_so(buyer: Buyer, shop: Storefront) -> None:
    buyer.open("/")
    buyer.unfold("Refund")
    buyer.page.get_by_label("Who").locator("visible=true").fill("nobody@example.com")
    with buyer.page.expect_response("**/stories/refund") as told:
        buyer.page.get_by_role("button", name="Refund").click()
    assert told.value.status == 404
    expect(buyer.page.get_by_role("alert")).to_contain_text("Nobody here has the email address")
    field_ = buyer.page.get_by_label("Who").locator("visible=true")
    expect(field_).to_have_value("nobody@example.com")
    buyer.errors.clear()  # Chromium logs the 404


def test_another_website_cannot_send_a_form(buyer: Buyer, shop: Storefront) -> None:
    """A page at another origin posts to the sandbox, as a hostile website would."""
    target = f"{shop.sandbox.url}/faults/error"
    form = f"<form method=post action={target}><input name=count value=5><button>Go</button></form>"
    buyer.page.goto(f"data:text/html,{form}")
    with buyer.page.expect_response(target) as answer:
        buyer.page.get_by_role("button").click()
    assert answer.value.status == 403
    buyer.sees("Another website sent this form")
    assert shop.sandbox.control("faults", http="GET") == {"faults": []}
    buyer.errors.clear()  # Chromium logs the 403


@pytest.fixture
def every_page(shop: Storefront, receiver: Receiver) -> list[str]:
    """Every page in every state, with long and hostile names."""
    evil = Storefront(shop.sandbox, name=f"{HOSTILE} {'long' * 30}")
    shop.post("/v1/webhook_endpoints", **{"url": receiver.url, "enabled_events[]": "*"})
    customer = evil.customer(name=HOSTILE + "x" * 150, email=f"{'long' * 10}@example.com")
    subscription, scheduled = evil.subscription(customer), evil.subscription(customer)
    session, expired = evil.session(), evil.session()
    paid = evil.session(customer=customer)
    invoice = evil.invoice(customer, amount=99_999_999, description=HOSTILE + "x" * 150)
    void = evil.invoice(customer)
    portal = evil.portal(customer)
    evil.post(f"/v1/checkout/sessions/{expired['id']}/expire")
    evil.post(f"/v1/invoices/{void['id']}/void")
    evil.follow(paid["url"], method="pm_card_visa")
    evil.follow(f"{portal}/subscriptions/{scheduled}/cancel")
    told = {"buyer": "told@example.com", "pack": evil.pack, "outcome": "pending"}
    outcome = evil.submit("/stories/buy_pack", **told).headers["location"]
    addresses = [
        "/",
        "/objects",
        "/objects/customer",
        "/objects/checkout.session",
        f"/objects/{customer}",
        f"/objects/{evil.last_event()}",
        outcome,
        session["url"],
        expired["url"],
        paid["url"],
        evil.session(mode="setup", currency="usd")["url"],
        invoice["hosted_invoice_url"],
        void["hosted_invoice_url"],
        f"/r/{evil.get('/v1/charges', limit=2)['data'][1]['id']}",
        portal,
        f"{portal}/subscriptions/{subscription}/cancel",
        f"{portal}/subscriptions/{subscription}/plan",
    ]
    evil.follow("/faults/error", count="3")
    evil.sandbox.get("/v1/customers", email=HOSTILE)
    return addresses


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_and_used_by_all(
    buyer: Buyer, every_page: list[str], scheme: Literal["light", "dark"]
) -> None:
    """No serious finding of axe's, contrast included, in either scheme."""
    buyer.page.emulate_media(color_scheme=scheme)
    buyer.page.context.set_default_timeout(PATIENCE)
    found = {}
    for address in every_page:
        buyer.open(address)
        background = buyer.page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
        assert (brightness < 60) == (scheme == "dark")
        buyer.unfold_all()
        if problems := violations(buyer.page, impacts=ALSO_MODERATE):
            found[address] = problems
    assert found == {}


def test_pages_fit_a_phone(buyer: Buyer, every_page: list[str]) -> None:
    """Wide tables scroll within themselves; nothing makes a page wider than the screen."""
    buyer.page.set_viewport_size(PHONE)
    too_wide = {}
    for address in every_page:
        buyer.open(address)
        buyer.unfold_all()
        width = buyer.page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            too_wide[address] = width
    assert too_wide == {}
