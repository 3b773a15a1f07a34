"""The customer's page in a browser: from "I paid and it does not work" to the fix."""

from typing import Literal

import pytest
from django.db import transaction
from playwright.sync_api import expect

from billing.admin.cells import page_url
from billing.ingress import worker
from billing.models import BillingCustomer, LeadClaim, acting_as
from tests.admin.desk import PHONE, Desk, say_why
from tests.operations.shop import Shop, balance
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import violations
from tests.support.back_office import BackOffice

pytestmark = pytest.mark.browser


@pytest.fixture
def ada(sandbox: SandboxProcess, back_office: BackOffice) -> BillingCustomer:
    """Ada has a subscription, and paid for a pack of which no event ever arrived."""
    shop = Shop(sandbox)
    subscribed = shop.subscribe()
    sandbox.control("deliver")
    worker.drain()
    sandbox.control("faults", drop_deliveries=True)
    shop.buy(customer=subscribed["customer"])
    sandbox.control("deliver")
    sandbox.control("faults", http="DELETE")
    return BillingCustomer.objects.get(user_id="u_ada")


def test_she_paid_and_got_nothing_until_support_looked(desk: Desk, ada: BillingCustomer) -> None:
    """W2, C1, P2: found by her email, named once Stripe was asked, mended in four clicks."""
    page = desk.page
    desk.log_in("support")
    page.keyboard.press("/")
    page.keyboard.type("ada@ex")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{page_url(ada)}")

    expect(page.get_by_text("Stripe was asked at")).to_be_visible()
    finding = page.locator("[data-finding=pack_not_granted]")
    expect(finding).to_contain_text("They paid 45.00 USD for 50 credits")
    expect(finding).to_contain_text("never arrived")
    finding.get_by_role("link", name="Replay event").click()
    expect(page.get_by_role("row", name="Credits of user u_ada: balance")).to_contain_text("70")
    say_why(page, "Ada paid, and the event never came")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("+50 credits for user u_ada")).to_be_visible()
    assert balance("u_ada") == (70, 0)

    desk.open(page_url(ada))
    expect(page.get_by_text("Stripe was asked at")).to_be_visible()
    expect(page.get_by_text("Nothing is wrong, here or at Stripe")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone_and_by_all(
    desk: Desk, ada: BillingCustomer, scheme: Literal["light", "dark"]
) -> None:
    page = desk.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    desk.log_in("support")
    desk.open(page_url(ada))
    expect(page.locator("[data-finding=pack_not_granted]")).to_be_visible()
    expect(page.locator("#timeline")).to_contain_text("never arrived here")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert violations(page) == []
    page.get_by_role("link", name="Credits", exact=True).last.click()
    expect(page.locator("#timeline [data-entries] > li")).to_have_count(1)
    expect(page.locator("#timeline")).to_contain_text("+20 credits, 20 then")
    assert page.url.endswith(page_url(ada))  # in place

    page.get_by_role("link", name="Compare").first.click()
    expect(page.get_by_text("Stripe was asked at")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert violations(page) == []


def test_older_entries_follow_in_place(desk: Desk, ada: BillingCustomer) -> None:
    with transaction.atomic(), acting_as("marketplace"):
        LeadClaim.objects.bulk_create(
            LeadClaim(user_id="u_ada", lead_id=f"lead_{number}") for number in range(60)
        )
    page = desk.page
    desk.log_in("support")
    desk.open(page_url(ada))
    expect(page.get_by_text("Stripe was asked at")).to_be_visible()
    entries = page.locator("#timeline [data-entries] > li")
    expect(entries).to_have_count(50)
    while page.get_by_role("link", name="Older").count():
        shown = entries.count()
        page.get_by_role("link", name="Older").click()
        expect(entries.nth(shown)).to_be_visible()
    expect(page.get_by_text("That is all.")).to_be_visible()
    assert len(set(page.locator("#timeline li a").evaluate_all("all => all.map(a => a.href)"))) > 60


def test_a_silent_stripe_is_said_and_asked_again(
    desk: Desk, ada: BillingCustomer, sandbox: SandboxProcess
) -> None:
    page = desk.page
    desk.log_in("support")
    sandbox.control("faults", path="/v1/*", status=500)
    desk.open(page_url(ada))
    expect(page.get_by_text("Stripe did not answer")).to_be_visible()
    sandbox.control("faults", http="DELETE")
    page.get_by_role("link", name="Ask Stripe again").click()
    expect(page.locator("[data-finding=pack_not_granted]")).to_be_visible()
