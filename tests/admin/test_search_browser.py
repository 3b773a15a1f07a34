"""The search in a browser: by keyboard from any page, on a phone, in light and in dark."""

from typing import Literal

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from billing.admin.cells import changelist_url, page_url
from billing.models import BillingCustomer, BillingSubscription
from tests.admin import rows
from tests.admin.desk import PHONE, Desk
from tests.support.accessibility import violations

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_adas_are_told_apart_by_keyboard_on_a_phone(
    desk: Desk, scheme: Literal["light", "dark"]
) -> None:
    """The slash from a list, several hits, one opened; then the palette from her page."""
    rows.customer()
    rows.subscription()
    two = rows.customer("u_two", "cus_two", name="Ada Two")
    page, press = desk.page, desk.page.keyboard.press
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    desk.log_in("support")
    desk.open(changelist_url(BillingSubscription))

    press("/")
    expect(page.locator("#search-anything")).to_be_focused()
    page.keyboard.type("ada@/exam")  # a slash within is a slash
    expect(page.locator("#search-anything")).to_have_value("ada@/exam")
    page.locator("#search-anything").fill("ada@exam")
    press("Enter")
    expect(page.get_by_role("heading", name="2 found")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert violations(page) == []
    page.get_by_role("link", name="ada@example.com (Ada Two)").focus()
    press("Enter")
    page.wait_for_url(f"**{page_url(two)}")

    press("Control+k")
    page.get_by_placeholder("Type to search").last.type("sub_1", delay=20)
    expect(page.get_by_text("Subscription sub_1")).to_be_visible()
    press("ArrowDown")
    press("Enter")
    page.wait_for_url(f"**{page_url(BillingCustomer.objects.get(user_id='u_ada'))}")

    desk.open(reverse("admin:billing_search"))
    expect(page.get_by_text("What can be searched for")).to_be_visible()
    assert violations(page) == []
