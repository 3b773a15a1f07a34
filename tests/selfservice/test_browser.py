"""F6 in a browser: the agent makes a link, the customer opens it on a phone, in the dark."""

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from billing.ingress import worker
from billing.models import BillingCustomer
from billing.selfservice import portal
from tests.admin.conftest import desk
from tests.admin.desk import PHONE, Desk, say_why
from tests.operations.shop import Shop, audits
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import ALSO_MODERATE, violations
from tests.support.back_office import BackOffice

__all__ = ["desk"]

pytestmark = pytest.mark.browser


@pytest.fixture
def overdue(sandbox: SandboxProcess, back_office: BackOffice) -> Shop:
    """A shop whose customer Ada could not pay her renewal."""
    shop = Shop(sandbox)
    sandbox.story("past_due", subscription=shop.subscribe()["subscription"])
    process(shop)
    return shop


def process(shop: Shop) -> None:
    """Lets the webhooks arrive, and what they tell take effect."""
    shop.sandbox.control("deliver")
    worker.drain()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """The customer's own, dark and without a log-in. Errors in its console fail the test."""
    context = browser.new_context(viewport=PHONE, color_scheme="dark")
    page = context.new_page()
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and "favicon.ico" not in message.location["url"]:
            errors.append(message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def make_link(desk: Desk) -> str:
    """What support does on the customer's page, and copies."""
    page = desk.page
    desk.log_in("support")
    customer = BillingCustomer.objects.get(user_id="u_ada")
    desk.open(f"/admin/billing/billingcustomer/{customer.pk}/change/")
    page.get_by_role("link", name="Billing page link").click()
    expect(page.get_by_label("Hours")).to_have_value("48")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("give it to nobody else").first).to_be_visible()
    say_why(page, "Her card was declined")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("it is shown only now")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_customer_helps_herself(desk: Desk, overdue: Shop, phone: Page) -> None:
    """From the agent's link over a new card and the payment to an active subscription."""
    url = make_link(desk)
    phone.goto(url)
    expect(phone.get_by_text("your bank said “insufficient funds”")).to_be_visible()
    expect(phone.get_by_text("did not go through")).to_be_visible()

    phone.get_by_role("button", name="Manage Billing").click()
    phone.wait_for_url(f"{overdue.sandbox.url}/p/session/*")
    phone.locator("summary", has_text="Add or update a card").click()
    phone.get_by_role("radio", name="Mastercard •••• 4444").check()
    phone.get_by_role("button", name="Save card").click()
    row = phone.get_by_role("listitem").filter(has_text="Mastercard •••• 4444, expires")
    expect(row).to_contain_text("default")
    phone.get_by_role("link", name="Back to the shop").click()
    phone.wait_for_url(url)
    assert len(audits(portal.AUDIT_TYPE)) == 1

    unpaid = phone.get_by_role("listitem").filter(has_text="Payment failed")
    unpaid.get_by_role("link", name="View invoice").click()
    expect(phone.get_by_role("radio", name="Mastercard •••• 4444, expires")).to_be_checked()
    phone.get_by_role("button", name="Pay $29.00").click()
    expect(phone.get_by_text("This invoice is paid.")).to_be_visible()
    process(overdue)
    phone.goto(url)
    expect(phone.get_by_role("heading", name="All is well")).to_be_visible()
    expect(phone.get_by_text("Active, renews on")).to_be_visible()


def test_the_pages_can_be_read_and_used_by_all(desk: Desk, overdue: Shop, phone: Page) -> None:
    """No serious finding of axe's, light or dark; nothing wider than a phone; by keyboard too."""
    url = make_link(desk)
    found, too_wide = {}, {}
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for address in (url, f"{desk.office.url}/billing/"):
        for scheme in schemes:
            phone.emulate_media(color_scheme=scheme)
            phone.goto(address)
            if problems := violations(phone, impacts=ALSO_MODERATE):
                found[scheme, address] = problems
            width = phone.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                too_wide[scheme, address] = width
    assert (found, too_wide) == ({}, {})

    phone.goto(url)
    phone.keyboard.press("Tab")
    expect(phone.get_by_role("button", name="Manage Billing")).to_be_focused()
    phone.keyboard.press("Enter")
    phone.wait_for_url(f"{overdue.sandbox.url}/p/session/*")


def test_it_works_without_javascript(browser: Browser, desk: Desk, overdue: Shop) -> None:
    context = browser.new_context(viewport=PHONE, java_script_enabled=False)
    page = context.new_page()
    page.goto(make_link(desk))
    page.get_by_role("button", name="Manage Billing").click()
    page.wait_for_url(f"{overdue.sandbox.url}/p/session/*")
    context.close()
