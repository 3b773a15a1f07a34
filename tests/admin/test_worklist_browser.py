"""The worklist in a browser: from the list to the finding, its fix, and gone."""

from datetime import timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect
from procrastinate.contrib.django.models import ProcrastinateJob

from billing import tasks
from billing.admin.cells import changelist_url, page_url
from billing.diagnosis.kinds import Kind
from billing.ingress import worker
from billing.models import BulkJob, FindingRecord, ReconciliationRun
from billing.reconciliation import runs
from tests.admin import rows
from tests.admin.desk import PHONE, Desk, say_why
from tests.operations.shop import Shop, balance
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import violations
from tests.support.back_office import BackOffice

pytestmark = pytest.mark.browser
NO_GRACE = timedelta(seconds=-2)  # what was lost just now is a difference, too


@pytest.fixture
def lost(sandbox: SandboxProcess, back_office: BackOffice) -> FindingRecord:
    """Ada paid for a pack of which no event ever arrived, and a run has found it."""
    shop = Shop(sandbox)
    subscribed = shop.subscribe()
    sandbox.control("deliver")
    worker.drain()
    sandbox.control("faults", drop_deliveries=True)
    shop.buy(customer=subscribed["customer"])
    sandbox.control("deliver")
    sandbox.control("faults", http="DELETE")
    runs.reconcile("daily", actor="worker", grace=NO_GRACE)
    return FindingRecord.objects.get(kind=Kind.PACK_NOT_GRANTED)


def can_be_read(page: Page) -> None:
    """It fits the screen, and axe finds nothing serious."""
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert violations(page) == []


def test_from_the_list_to_the_fix_and_gone_on_a_phone_in_the_dark(
    desk: Desk, lost: FindingRecord
) -> None:
    page = desk.page
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    desk.log_in("support")
    desk.open(changelist_url(FindingRecord))
    can_be_read(page)
    page.get_by_role("link", name="Pack paid, not granted").first.click()
    page.wait_for_url(f"**{page_url(lost)}")
    expect(page.get_by_text("They paid 45.00 USD for 50 credits")).to_be_visible()
    can_be_read(page)

    page.get_by_role("link", name="Take", exact=True).click()
    page.get_by_role("button", name="Apply").click()  # the reason is there already
    page.get_by_role("link", name="Back to where you came from").click()
    lost.refresh_from_db()
    assert lost.owner == "support"

    page.get_by_role("link", name="Replay event").click()
    say_why(page, "Its event never came")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("+50 credits for user u_ada")).to_be_visible()
    assert balance("u_ada") == (70, 0)
    page.get_by_role("link", name="Back to where you came from").click()
    expect(page.get_by_text("support has done something about it")).to_be_visible()
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_text("It is so no more.", exact=True)).to_be_visible()
    expect(page.get_by_text("Resolved by an operation: it is so no more.")).to_be_visible()
    desk.open(changelist_url(FindingRecord))
    expect(page.get_by_role("link", name="Pack paid, not granted")).to_have_count(0)


def test_the_plan_of_a_selection_and_the_runs_can_be_read_by_all(
    desk: Desk, lost: FindingRecord
) -> None:
    rows.finding("cus_gone", kind="customer_deleted", fix=None)
    page = desk.page
    desk.log_in("finance")
    page.set_viewport_size(PHONE)
    for address in (changelist_url(ReconciliationRun), page_url(ReconciliationRun.objects.get())):
        desk.open(address)
        can_be_read(page)
    page.get_by_role("link", name="Pack paid, not granted").click()
    expect(page.get_by_text("They paid 45.00 USD").first).to_be_visible()

    desk.log_in("support")
    page.set_viewport_size({"width": 1280, "height": 900})
    desk.open(changelist_url(FindingRecord))
    page.locator("#action-toggle").check()
    page.get_by_label("Select action to run").select_option("fix-finding")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url(f"**{reverse('admin:billing_fix_plan')}*")
    expect(page.get_by_text("4 findings: 90.00 USD, 50 credits at stake")).to_be_visible()
    expect(page.get_by_text("A person has to see")).to_be_visible()
    page.set_viewport_size(PHONE)
    can_be_read(page)
    page.get_by_role("button", name="Start").click()  # the reason is there already
    expect(page.get_by_role("link", name="See how far it is").first).to_be_visible()

    for job in BulkJob.objects.all():
        tasks.run_bulk_job(job.pk)
    assert balance("u_ada") == (70, 0)
    for after in ProcrastinateJob.objects.filter(task_name="billing.look_at_fixed"):
        tasks.look_at_fixed(**after.args)
    found = FindingRecord.objects.exclude(kind=Kind.CUSTOMER_DELETED)
    assert set(found.values_list("state", flat=True)) == {FindingRecord.State.RESOLVED}
