"""The back office as the journey tests run it: web server, webhook, browser."""

import gc
import weakref

import httpx
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from backoffice.apps import RUNNING
from billing.models import InboxEvent
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.waiting import wait_until


def test_the_sandboxs_webhooks_arrive(back_office: BackOffice, sandbox: SandboxProcess) -> None:
    sandbox.post("/v1/customers", data={"email": "ada@example.com"})
    sandbox.control("deliver")
    delivered = sandbox.control("state", http="GET")["deliveries"]
    assert [delivery["status_code"] for delivery in delivered] == [200], back_office.web.output


def test_a_worker_processes_what_arrives(back_office: BackOffice, sandbox: SandboxProcess) -> None:
    worker = back_office.start_worker()
    sandbox.post("/v1/customers", data={"email": "ada@example.com"})
    processed = InboxEvent.objects.filter(status=InboxEvent.Status.PROCESSED)
    wait_until(lambda: processed.exists() or not worker.is_alive)
    assert worker.is_alive, worker.output
    assert worker.stop() == 0, worker.output


class Circle:
    """Garbage that only a look for it frees."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_looked_for_as_soon_as_all_is_loaded() -> None:
    gone = weakref.ref(Circle())
    kept = [Circle() for _ in range(RUNNING + 1)]
    assert gone() is None
    assert len(kept) > gc.get_threshold()[0]
    assert gc.get_freeze_count() > 100_000  # what was loaded is left out


def test_log_in_is_asked_for(back_office: BackOffice) -> None:
    answer = httpx.get(f"{back_office.url}/admin/", follow_redirects=True, trust_env=False)
    assert answer.status_code == 200
    assert answer.url.path == "/admin/login/"


@pytest.mark.browser
def test_a_person_can_log_in_with_the_machines_own_browser(
    back_office: BackOffice, page: Page
) -> None:
    User.objects.create_superuser("engineer", password="a long enough password")
    page.goto(f"{back_office.url}/admin/")
    page.get_by_label("Username").fill("engineer")
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page).to_have_url(f"{back_office.url}/admin/")
