"""An outage on call, on a phone: from the alert's page to all that was missed being back."""

from typing import Literal

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from billing.alerts.firing import outage_page
from billing.models import Recovery
from tests.admin.conftest import desk
from tests.admin.desk import PHONE, Desk, say_why
from tests.operations.shop import Shop, balance
from tests.recovery.conftest import an_hour_ago
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import violations
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser
__all__ = ["desk"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def look_at(desk: Desk) -> None:
    """The page as it is fits a phone, light and dark, and axe has no objection."""
    for scheme in SCHEMES:
        desk.page.emulate_media(color_scheme=scheme)
        assert desk.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert violations(desk.page) == []


def test_what_was_missed_is_brought_back_from_a_phone(desk: Desk, sandbox: SandboxProcess) -> None:
    page = desk.page
    sandbox.control("faults", drop_deliveries=True)
    Shop(sandbox).buy()
    page.set_viewport_size(PHONE)
    desk.log_in("engineer")
    desk.open(outage_page(an_hour_ago()))
    expect(page.get_by_text("types that we handle are sent")).to_be_visible()
    look_at(desk)

    page.get_by_role("link", name="Recover all").click()
    expect(page.get_by_text("Recover in the background what happened")).to_be_visible()
    say_why(page, "Deliveries were dropped")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("starts as soon as the worker is free")).to_be_visible()
    desk.office.start_worker()
    wait_until(Recovery.objects.exists)

    desk.open(reverse("admin:billing_recovery_changelist"))
    expect(page.get_by_role("link", name="Outage", exact=True)).to_be_visible()
    look_at(desk)
    page.get_by_role("link", name="Outage", exact=True).click()
    expect(page.get_by_text("the last look found nothing that differs")).to_be_visible()
    expect(page.get_by_text("+50 credits for user u_ada").first).to_be_attached()
    assert balance("u_ada") == (50, 0)
    look_at(desk)
