"""The page of a smoke test: what failed, what to do about it, and where to look."""

import pytest
from django.test import Client
from django.utils import timezone

from billing.admin.cells import changelist_url, page_url
from billing.models import SmokeTest
from tests.admin.conftest import log_in_as
from tests.admin.rows import HOSTILE, smoke_test

pytestmark = pytest.mark.django_db


@pytest.fixture
def support() -> Client:
    return log_in_as("support")


def test_an_empty_list_says_how_to_try_the_flows(support: Client) -> None:
    page = support.get(changelist_url(SmokeTest)).content.decode()
    assert "manage.py smoke" in page


def test_a_step_that_failed_leads_to_where_it_got_stuck(support: Client) -> None:
    page = support.get(page_url(smoke_test())).content.decode()
    assert "It failed at: buy a pack." in page
    assert '<a href="/admin/billing/inboxevent/?status=pending"' in page
    assert "manage.py run_worker" in page


def test_one_that_is_under_way_shows_how_far_it_is(support: Client) -> None:
    row = smoke_test(ok=None, finished_at=None, started_at=timezone.now())
    page = support.get(page_url(row)).content.decode()
    assert "Steps done: 1." in page
    assert "billing/progress.js" in page


def test_what_stripe_said_is_escaped_and_leads_nowhere_else(support: Client) -> None:
    [step] = smoke_test().steps
    row = smoke_test(steps=[{**step, "detail": HOSTILE, "page": "//evil.example"}])
    page = support.get(page_url(row)).content.decode()
    assert HOSTILE not in page
    assert "evil.example" not in page
