"""Assessments in the admin: started by engineers, read by all, with the users as a file."""

import csv
import io

import pytest
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.admin.cells import changelist_url, page_url
from billing.admin.operations import RUN_ASSESSMENT
from billing.models import Assessment, BillingEvent
from billing.operations.assessment import TASK
from tests.admin.conftest import count_queries, log_in_as
from tests.admin.rows import HOSTILE, USER, assessment, customer
from tests.admin.test_operations import apply, text_of
from tests.operations.shop import audits

pytestmark = pytest.mark.django_db


@pytest.fixture
def engineer() -> Client:
    return log_in_as("engineer")


def test_an_engineer_starts_one_and_the_worker_does_it(engineer: Client) -> None:
    listed = engineer.get(changelist_url(Assessment)).content.decode()
    assert "Assess the database" in listed
    said = text_of(apply(engineer, RUN_ASSESSMENT.name, target="quick"))
    assert "The assessment starts as soon as the worker is free" in said
    job = ProcrastinateJob.objects.get(task_name=TASK)
    assert job.args == {"actor": "engineer", "quick": True}
    assert audits("manual.assessment_started")[-1]["extent"] == "quick"
    again = text_of(apply(engineer, RUN_ASSESSMENT.name, target="whole"))
    assert "One waits for the worker already" in again


def test_support_sees_them_and_cannot_start_one() -> None:
    support = log_in_as("support")
    listed = support.get(changelist_url(Assessment))
    assert (listed.status_code, "Assess it quickly" in listed.content.decode()) == (200, False)
    assert support.get(RUN_ASSESSMENT.url()).status_code == 403


def test_the_page_says_what_is_damaged_whom_it_touches_and_what_to_do(engineer: Client) -> None:
    customer()
    page = engineer.get(page_url(assessment())).content.decode()
    assert "The database is damaged: ledger sums." in page
    assert "manage.py tie_out_balance" in page
    assert f'<a href="/admin/billing/leadcredits/{USER}/change/"' in page
    assert f"/admin/billing/billingcustomer/open/?user={USER}" in page


def test_a_page_with_many_users_costs_the_same_and_its_file_has_all(engineer: Client) -> None:
    one = assessment()
    few = count_queries(lambda: engineer.get(page_url(one)))
    users = [f"u_{n:04}" for n in range(1, 500)] + ["=cmd()"]
    [check] = one.checks
    row = assessment(users=users, checks=[{**check, "users": users}])
    assert count_queries(lambda: engineer.get(page_url(row))) == few
    page = engineer.get(page_url(row)).content.decode()
    assert "the first 100 of 500" in page

    sent = engineer.get(f"/admin/billing/assessment/{row.pk}/users/")
    lines = list(csv.reader(io.StringIO(b"".join(sent).decode())))
    assert lines[:2] == [["user_id", "checks"], ["u_0001", "ledger sums"]]
    assert (len(lines), lines[-1][0]) == (501, "'=cmd()")
    assert BillingEvent.objects.filter(type="manual.export").exists()
    assert log_in_as("support").get(f"/admin/billing/assessment/{row.pk}/users/").status_code == 403


def test_what_was_found_is_escaped_and_leads_nowhere_else(engineer: Client) -> None:
    [check] = assessment().checks
    hostile = {
        **check,
        "detail": HOSTILE,
        "page": "https://evil.example",
        "rows": [{"id": HOSTILE, "page": "//evil.example"}],
    }
    page = engineer.get(page_url(assessment(checks=[hostile]))).content.decode()
    assert HOSTILE not in page
    assert "evil.example" not in page


def test_one_that_runs_and_one_that_is_unsure_say_so(engineer: Client) -> None:
    running = engineer.get(page_url(assessment(is_whole=None, finished_at=None)))
    assert "Checks done: 1." in running.content.decode()
    [check] = assessment().checks
    whole = assessment(is_whole=True, users=[], checks=[{**check, "verdict": "ok"}])
    assert "The database is whole." in engineer.get(page_url(whole)).content.decode()
    hinted = assessment(is_whole=True, users=[], checks=[{**check, "verdict": "unsure"}])
    page = engineer.get(page_url(hinted)).content.decode()
    assert "as far as was looked: of 1 checks see below" in page
    unsure = assessment(checks=[{**check, "verdict": "unsure", "is_blind": True}], users=[])
    assert "not everything could be looked at" in engineer.get(page_url(unsure)).content.decode()
