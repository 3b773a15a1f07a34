"""The admin as people use it: in a browser, by mouse, by keyboard, on a phone, in the dark."""

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from playwright.sync_api import Page, expect

from billing.admin.cells import changelist_url, page_url, shorten
from billing.admin.finance.rendering import with_query
from billing.admin.operations import PAGES
from billing.ingress import worker
from billing.models import (
    BillingCustomer,
    BillingSubscription,
    CreditEntry,
    InboxEvent,
    OperationRecord,
)
from billing.operations import bulk
from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from billing.revenue.reports import REPORTS
from tests.admin import rows
from tests.admin.desk import PHONE, Desk, say_why
from tests.admin.rows import HOSTILE, MODELS
from tests.operations.shop import Shop, audits, balance
from tests.revenue.moving import NOVEMBER, refunded, sold
from tests.sandbox.server import SandboxProcess
from tests.support.accessibility import violations
from tests.support.back_office import BackOffice

pytestmark = pytest.mark.browser


@pytest.fixture
def shop(sandbox: SandboxProcess, back_office: BackOffice) -> Shop:
    """A shop whose customer Ada has subscribed: 20 credits, all processed."""
    made = Shop(sandbox)
    made.subscribe()
    sandbox.control("deliver")
    worker.drain()
    return made


def pay_a_pack_that_dies(shop: Shop) -> InboxEvent:
    """Ada pays for a pack while Stripe refuses to tell what was in it."""
    ada = BillingCustomer.objects.get(user_id="u_ada")
    shop.sandbox.control("faults", path="/v1/checkout/sessions/*", status=403)
    shop.buy(customer=ada.stripe_customer_id)
    shop.sandbox.control("deliver")
    worker.drain()
    shop.sandbox.control("faults", http="DELETE")
    return InboxEvent.objects.get(status=InboxEvent.Status.DEAD)


def test_support_puts_right_a_pack_that_was_paid_but_not_credited(desk: Desk, shop: Shop) -> None:
    """From the log-in to the audit event, and a second replay that grants nothing more."""
    dead = pay_a_pack_that_dies(shop)
    page = desk.page
    desk.log_in("support")

    # The home page says that something is wrong, and leads to it.
    expect(page.get_by_text("Webhooks need you")).to_be_visible()
    page.get_by_role("link", name="They need a person").click()
    page.get_by_role("link", name=shorten(dead.stripe_event_id)).click()
    expect(page.get_by_text("nothing happens until it is replayed")).to_be_visible()
    expect(page.get_by_text(dead.reason).first).to_be_visible()

    # So does a search for the customer, whose diagnosis names the event.
    desk.open(changelist_url(BillingCustomer))
    page.get_by_placeholder("Email, name, user, or any Stripe id of theirs").fill("ada@")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="ada@example.com").click()
    expect(page.get_by_role("link", name="20", exact=True)).to_be_visible()  # the balance
    expect(page.get_by_text("Stripe was asked at")).to_be_visible()
    page.get_by_role("link", name=dead.stripe_event_id, exact=True).click()

    # Replayed, clicked twice.
    page.get_by_role("link", name="Replay event", exact=True).click()
    expect(page.get_by_role("row", name="Credits of user u_ada: balance")).to_contain_text("70")
    page.get_by_role("button", name="Apply").click()  # the browser asks for the reason
    say_why(page, "Ada paid, and has no credits")
    page.get_by_role("button", name="Apply").dblclick()
    expect(page.get_by_text("+50 credits for user u_ada")).to_be_visible()
    assert balance("u_ada") == (70, 0)
    page.reload()
    expect(page.get_by_text("Already done")).to_be_visible()

    # The audit event, the balance, the event itself.
    page.get_by_role("link", name="The record").click()
    expect(page.get_by_text("Ada paid, and has no credits").first).to_be_visible()
    page.get_by_role("link", name="manual.event_replay").click()
    expect(page.get_by_text('"admin": "support"')).to_be_visible()
    desk.open(page_url(BillingCustomer.objects.get(user_id="u_ada")))
    expect(page.get_by_role("link", name="70", exact=True)).to_be_visible()
    desk.open(page_url(dead))
    expect(page.get_by_text("Processed.").first).to_be_visible()

    # And once more, with nothing to gain.
    page.get_by_role("link", name="Replay event", exact=True).click()
    say_why(page, "To be sure")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Done.")).to_be_visible()
    assert balance("u_ada") == (70, 0)
    assert len(audits("manual.event_replay")) == 2
    assert CreditEntry.objects.filter(user_id="u_ada").count() == 2


def test_what_is_large_is_approved_by_another_person(desk: Desk) -> None:
    """Support asks, cannot approve it, and the engineer does, who then takes it back."""
    rows.customer()
    page = desk.page
    desk.log_in("support")
    desk.open(page_url(BillingCustomer.objects.get()))
    page.get_by_role("link", name="Grant credits").click()
    page.get_by_label("Credits").fill("900")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("another person has to approve it").first).to_be_visible()
    say_why(page, "A large goodwill")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Nothing was done yet")).to_be_visible()
    assert balance("u_ada") == (0, 0)
    page.get_by_role("link", name="The record").click()
    page.get_by_role("link", name="Decide").click()
    expect(page.get_by_text("another person has to approve it").last).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)

    desk.log_in("engineer")
    expect(page.get_by_text("Waiting for approval")).to_be_visible()
    desk.open(changelist_url(OperationRecord, status="requested"))
    page.get_by_role("link", name="Grant credits").click()
    page.get_by_role("link", name="Decide").click()
    page.get_by_label("A word on your decision").fill("Called her")
    page.get_by_role("button", name="Approve and do it").click()
    expect(page.get_by_text("Approved and done.")).to_be_visible()
    assert balance("u_ada") == (900, 0)

    page.get_by_role("link", name="Undo", exact=True).click()
    expect(page.get_by_role("row", name="Balance")).to_contain_text("900")
    say_why(page, "The wrong Ada")
    page.get_by_role("button", name="Take it back").click()
    expect(page.get_by_text("changed by -900")).to_be_visible()
    assert balance("u_ada") == (0, 0)


def test_a_jobs_progress_shows_by_itself(desk: Desk) -> None:
    """The worker finishes it while somebody looks at the page."""
    desk.log_in("support")
    job = bulk.draft(GrantCredits, ["u_1", "u_2"], answers={}, actor=Actor.cli("bob"))
    bulk.start(
        job, answers={"amount": 5}, actor=Actor.cli("bob"), reason="All", reason_code="goodwill"
    )
    desk.open(page_url(job))
    expect(desk.page.get_by_text("0 of 2 (0 %)")).to_be_visible()
    while bulk.work(job.pk, seconds=60):
        pass
    expect(desk.page.get_by_text("2 of 2 (100 %)")).to_be_visible(timeout=30_000)
    expect(desk.page.get_by_text("Granted 5 credits to user u_2.")).to_be_visible()


def test_by_keyboard_alone(desk: Desk, shop: Shop) -> None:
    """The palette finds the customer; selected rows are synced; credits are granted."""
    page, press = desk.page, desk.page.keyboard.press
    desk.log_in("engineer")
    press("Control+k")
    page.get_by_placeholder("Type to search").last.type("ada@example", delay=20)
    expect(page.get_by_role("link", name="ada@example.com")).to_be_visible()
    results = page.locator("#command-results-list a")
    titles = [result.get_attribute("data-title") for result in results.all()]
    for _ in range(titles.index("ada@example.com") + 1):
        press("ArrowDown")
    press("Enter")
    page.wait_for_url(f"**{page_url(BillingCustomer.objects.get(user_id='u_ada'))}")

    page.get_by_role("link", name="Grant credits").focus()
    press("Enter")
    page.wait_for_url("**/run/grant-credits/**")
    page.locator("#id_amount").focus()
    page.keyboard.type("5")
    expect(page.locator("#id_amount")).to_have_value("5")
    press("Enter")
    expect(page.get_by_text("Grant 5 credits to user u_ada.")).to_be_visible()
    page.get_by_label("Reason", exact=True).focus()
    page.keyboard.type("Goodwill")
    expect(page.get_by_label("Reason", exact=True)).to_have_value("goodwill")
    press("Tab")
    page.keyboard.type("For the trouble")
    press("Tab")  # to the ticket, and from there
    press("Tab")
    press("Enter")
    expect(page.get_by_text("Done.")).to_be_visible()
    assert balance("u_ada") == (25, 0)

    desk.open(changelist_url(BillingSubscription))
    page.get_by_role("button", name="Filters").focus()
    press("Enter")
    page.get_by_role("link", name="Active", exact=True).focus()
    press("Enter")
    page.wait_for_url("**?status=active")
    page.get_by_role("checkbox").last.focus()
    press("Space")
    page.get_by_label("Select action to run").select_option("sync")
    page.get_by_role("button", name="Run").focus()
    press("Enter")
    expect(page.get_by_text("agrees with what we have")).to_be_visible()
    say_why(page, "To be sure")
    press("Tab")  # to the ticket, and from there
    press("Tab")
    press("Enter")
    expect(page.get_by_text("nothing differed")).to_be_visible()
    assert len(audits("manual.sync")) == 1


def every_page() -> list[str]:
    """The home page, every list and one page of each, and every operation's."""
    paths = [reverse("admin:index")]
    for model in MODELS:
        paths += [changelist_url(model), page_url(rows.all_of(model)[0])]
    paths += [reverse("admin:billing_operation", args=[name]) for name in PAGES]
    paths.append(PAGES["grant-credits"].url({"target": "u_ada", "amount": "5"}))
    return paths + pages_of_decisions() + [page_of_finance("revenue"), rows_of_finance()]


def page_of_finance(report: str, view: str = "report") -> str:
    """A report, of days in which something was sold."""
    days = {"from": "2025-10-01", "to": "2025-11-30", "by": "month"}
    return with_query(reverse(f"admin_finance:{view}", args=[report]), days)


def rows_of_finance() -> str:
    """The rows behind a figure."""
    return page_of_finance("revenue", "rows")


def pages_of_decisions() -> list[str]:
    """A request, an undo, and jobs before and while they run."""
    grant = {"user_id": "u_ada", "amount": 900}
    asked = rows.record("op_asked", status="requested", parameters=grant, approval="It is a lot.")
    done = rows.record("op_done", parameters=grant, result={"details": {"amount": 5}})
    draft = rows.bulk_job("job_draft", status="draft")
    running = rows.bulk_job("job_running", status="running")
    return [
        reverse("admin:billing_approval", args=[asked.pk]),
        reverse("admin:billing_undo", args=[done.pk]),
        page_url(draft),
        page_url(running),
    ]


def give_every_role(name: str) -> None:
    """No role has every page: finance alone signs off, and does not repair."""
    User.objects.get(username=name).groups.set(Group.objects.all())


def hostile_rows() -> None:
    """One row of everything, with what somebody would like to have run."""
    rows.fill(1)
    rows.customer("u_evil", "cus_evil", email=HOSTILE, name=HOSTILE)
    rows.inbox_event("evt_evil", reason=HOSTILE, body=HOSTILE)
    rows.event(None, type=f"manual.{HOSTILE}", payload={"summary": HOSTILE, "id": HOSTILE})
    rows.record("op_evil", reason=HOSTILE, error=HOSTILE, subject=HOSTILE)
    sold("a", 11_000, fee=330, tax=1000, kind="subscription", user_id=HOSTILE, country=HOSTILE)
    refunded("r", 4000, of="a", at=NOVEMBER)


@pytest.mark.long
def test_pages_can_be_read_and_used_by_all(desk: Desk) -> None:
    """No serious finding of axe's, no error in the console, no color that is hard to read in the
    dark; wide tables scroll within themselves on a phone. Each page is opened once for all that."""
    hostile_rows()
    desk.log_in("engineer")
    give_every_role("engineer")
    reports = [page_of_finance(report.name) for report in REPORTS]
    found = {}
    for path in dict.fromkeys([*every_page(), *reports]):
        desk.open(path)
        wrong = [*violations(desk.page), *on_a_phone(desk.page), *in_the_dark(desk.page)]
        if wrong:
            found[path] = wrong
    assert found == {}


def in_the_dark(page: Page) -> list[str]:
    """What differs there are colors. Ctrl+E goes from one to the other, and first to the light."""
    is_dark = "document.documentElement.classList.contains('dark')"
    for _ in range(2):
        page.keyboard.press("Control+e")
        if page.evaluate(is_dark):
            break
    assert page.evaluate(is_dark)
    page.evaluate("document.getAnimations().forEach(each => each.finish())")
    found = violations(page, "color-contrast")
    page.keyboard.press("Control+e")
    return found


def on_a_phone(page: Page) -> list[str]:
    usual = page.viewport_size
    assert usual is not None
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size(usual)
    return [f"{width} pixels wide"] if width > PHONE["width"] else []
