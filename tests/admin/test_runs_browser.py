"""A reconciliation in a browser: started, watched to its end, and signed off by finance."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from billing.admin.cells import changelist_url, page_url
from billing.ingress import worker
from billing.models import ReconciliationRun
from tests.admin.desk import Desk
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import violations
from tests.support.back_office import BackOffice
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

Release = Callable[[str], None]


@pytest.fixture
def release(sandbox: SandboxProcess, back_office: BackOffice) -> Release:
    """Ada has subscribed, and a worker is there. Stripe is too busy to tell of charges and of
    events, until a test releases the one list or the other."""
    Shop(sandbox).subscribe()
    sandbox.control("deliver")
    worker.drain()
    busy = {
        path: sandbox.control("faults", path=path, status=429)["id"]
        for path in ("/v1/charges", "/v1/events")
    }
    back_office.start_worker()

    def let_go(path: str) -> None:
        sandbox.control(f"faults/{busy[path]}", http="DELETE")

    return let_go


def test_finance_starts_a_run_watches_it_and_signs_it_off(desk: Desk, release: Release) -> None:
    page = desk.page
    desk.log_in("finance")
    desk.open(changelist_url(ReconciliationRun))
    page.get_by_role("link", name="Start daily run").click()
    page.get_by_role("button", name="Apply").click()  # the reason is there already
    page.get_by_role("link", name="Back to where you came from").click()
    wait_until(ReconciliationRun.objects.exists, seconds=60)
    row = ReconciliationRun.objects.get()

    desk.open(changelist_url(ReconciliationRun))
    page.get_by_role("link", name="Daily", exact=True).click()
    page.wait_for_url(f"**{page_url(row)}")
    progress = page.get_by_role("status")
    expect(progress).to_contain_text(re.compile("parts compared: [0-7] of 9"))
    expect(page.get_by_text("Sign off: It is still running.")).to_be_visible()
    assert violations(page) == []
    page.evaluate("window.untouched = true")
    release("/v1/charges")
    expect(progress).to_contain_text("parts compared: 8 of 9")
    assert page.evaluate("window.untouched")

    release("/v1/events")
    page.get_by_role("link", name="Sign off").click()  # the button is there once it is done
    expect(page.get_by_text("which found nothing that differs")).to_be_visible()
    page.get_by_label("In your own words").fill("Agrees with the bank")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("is signed off by finance")).to_be_visible()
    page.get_by_role("link", name="Back to where you came from").click()
    expect(page.get_by_text("by finance,").first).to_be_visible()
    expect(page.get_by_text("Agrees with the bank").first).to_be_visible()
    desk.open(changelist_url(ReconciliationRun))
    expect(page.get_by_role("row", name="Daily").get_by_text("finance").last).to_be_visible()
    row.refresh_from_db()
    assert (row.status, row.signed_off_by, row.sign_off) == (
        "done",
        "finance",
        "Agrees with the bank",
    )
