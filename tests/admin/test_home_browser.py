"""The home page in a browser, with something on every chart: light, dark, and on a phone."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from billing.models import Alert
from tests.admin import rows
from tests.admin.desk import PHONE, Desk
from tests.support.accessibility import violations

pytestmark = pytest.mark.browser


def busy_day() -> None:
    """A bit of everything that the home page shows."""
    now = timezone.now()
    Alert.objects.create(
        rule="worker", severity="danger", title="No worker runs", detail="None for 5 minutes."
    )
    for i in range(14):
        ago = now - timedelta(days=i, minutes=i)
        rows.inbox_event(f"evt_{i}", received_at=now - timedelta(hours=i))
        rows.payment(f"ch_{i}", amount=2900 * (i % 5 + 1), created_at=ago)
        rows.payment(f"ch_jpy_{i}", amount=900 * (i % 3), currency="jpy", created_at=ago)
        rows.run(
            started_at=ago,
            until=ago,
            differences={"pack_not_granted": i % 4},
            at_stake={"usd": 4500},
            measures={"completeness": {"count": {"share": 1 - i % 4 / 1000}}},
        )
    rows.grant("u_ada", 50)
    rows.grant("u_ada", -3)
    rows.finding("cs_1")
    rows.finding("cs_2", kind="event_waiting", severity="warning", rank=2, amount=None)


def test_the_home_page_can_be_read_and_used_by_all(desk: Desk) -> None:
    busy_day()
    page = desk.page
    desk.log_in("engineer")
    charts = page.locator("figure.billing-chart")
    expect(charts.locator("svg.drawing")).to_have_count(7)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
        desk.open(reverse("admin:index"))
        for numbers in page.get_by_text("The numbers").all():
            numbers.press("Enter")  # by the keyboard
        assert violations(page) == []
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # A number in the table leads to its rows, and so does its column on the drawing.
    paid = page.get_by_role("figure", name="Paid in USD")
    paid.get_by_role("link").last.press("Enter")
    page.wait_for_url("**currency=usd**")
    expect(page.get_by_role("link", name="ch_0", exact=True)).to_be_visible()
