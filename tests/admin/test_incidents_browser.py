"""An incident in a browser: opened from an alert, worked on, and closed with its report."""

from pathlib import Path

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from billing.admin.cells import page_url
from billing.admin.incident_files import url
from billing.models import Incident, IncidentEntry
from tests.admin import rows
from tests.admin.desk import PHONE, Desk
from tests.incidents.trouble import outage
from tests.support.accessibility import violations

pytestmark = pytest.mark.browser


def act(page: Page, button: str, **answers: str) -> None:
    """Runs an operation from the page's button, with the reasons that are filled in."""
    page.get_by_role("link", name=button, exact=True).click()
    for label, words in answers.items():
        page.get_by_label(label).fill(words)
    if answers or button == "Close incident":
        page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Done.")).to_be_visible()
    page.get_by_role("link", name="Back to where you came from").click()


def test_from_the_alert_to_the_report(desk: Desk, tmp_path: Path) -> None:
    """E1 to E3, and the report of it."""
    page = desk.page
    alert = rows.alert("No event has come", rule="quiet")
    rows.customer()
    rows.grant(amount=20)
    desk.log_in("engineer")
    desk.open(page_url(alert))
    act(page, "Open an incident")
    page.get_by_role("region", name="Open incidents").get_by_role(
        "link", name="No event has come"
    ).click()
    row = Incident.objects.get()
    page.wait_for_url(f"**{page_url(row)}")
    expect(page.get_by_text("and engineer looks after it.").first).to_be_visible()

    act(page, "Write a note", Note="The secret was rolled at nine.")
    act(page, "Tell others", Whom="Sue", **{
        "How you told them, if nothing is to be sent": "by phone",
    })  # fmt: skip
    desk.open(f"{reverse('admin:billing_operation', args=['grant-credits'])}?target=u_ada&amount=5")
    page.get_by_label("Reason", exact=True).select_option("incident")
    page.get_by_label("In your own words").fill("Until it is mended")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Done.")).to_be_visible()

    desk.open(page_url(row))
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text("The secret was rolled at nine.")
    expect(timeline).to_contain_text("Grant credits, applied")
    expect(timeline).to_contain_text("Alert opened")
    expect(page.get_by_role("region", name="Who was told")).to_contain_text("by phone")

    act(page, "Close incident")
    expect(page.get_by_text("It is over since").first).to_be_visible()
    row.refresh_from_db()
    assert "Operation: grant credits: 1 applied" in row.closing_report
    assert row.figures["operations"] == {"grant_credits": {"applied": 1}}
    assert IncidentEntry.objects.count() == 2
    with page.expect_download() as download:
        page.get_by_role("link", name="Report as Markdown").click()
    saved = tmp_path / "report.md"
    download.value.save_as(saved)
    assert "Told: Sue (by phone)." in saved.read_text()
    page.get_by_role("link", name="Report", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("No event has come")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_pages_can_be_read_on_a_phone_and_by_all(desk: Desk, scheme: str) -> None:
    page, row = desk.page, outage()
    rows.finding("x" * 200, user_id="u_" + "y" * 100, stripe_customer_id="")
    rows.alert(rule="quiet")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size(PHONE)
    desk.log_in("engineer")
    for address in (page_url(row), reverse("admin:billing_emergencies"), url(row, "report")):
        desk.open(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], address
        assert violations(page) == [], address
