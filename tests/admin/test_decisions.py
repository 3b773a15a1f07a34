"""The pages on which people decide: approve, reject, undo, and start what is done to many."""

import csv
from io import StringIO

import pytest
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from billing import tasks
from billing.admin.cells import changelist_url, page_url
from billing.models import (
    AuditEvent,
    BillingCustomer,
    BillingEvent,
    BulkItem,
    BulkJob,
    OperationRecord,
    ReasonCode,
)
from billing.operations import bulk
from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from billing.permissions import CREDIT_LIMITS
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.operations.shop import balance

pytestmark = pytest.mark.django_db
LARGE = CREDIT_LIMITS["support"].at_once + 1


def text(response: HttpResponse) -> str:
    assert response.status_code == 200
    return response.content.decode()


def large_request() -> OperationRecord:
    user, _ = User.objects.get_or_create(username="sue", defaults={"is_staff": True})
    user.groups.set(Group.objects.filter(name="support"))
    operation = GrantCredits(
        user_id="u_ada", amount=LARGE, actor=Actor.of(user), reason="Goodwill for <b>Ada</b>"
    )
    assert operation.apply().requested
    return OperationRecord.objects.get(key=operation.key)


def approval_url(record: OperationRecord) -> str:
    return reverse("admin:billing_approval", args=[record.pk])


def undo_url(record: OperationRecord) -> str:
    return reverse("admin:billing_undo", args=[record.pk])


def test_a_request_is_seen_approved_and_done(log_in: LogIn) -> None:
    record = large_request()
    engineer = log_in("engineer")
    listed = text(engineer.get(changelist_url(OperationRecord, status="requested")))
    assert page_url(record) in listed
    page = text(engineer.get(approval_url(record)))
    assert "Goodwill for &lt;b&gt;Ada&lt;/b&gt;" in page
    assert f'<ins class="font-semibold text-green-700 dark:text-green-400">{LARGE}</ins>' in page
    seen = engineer.get(approval_url(record)).context["situation"].plan.digest
    done = engineer.post(
        approval_url(record), {"_approve": "1", "words": "Called her", "seen": seen}, follow=True
    )
    assert f"Approved and done. Granted {LARGE} credits to user u_ada." in text(done)
    assert balance("u_ada") == (LARGE, 0)
    again = engineer.post(approval_url(record), {"_approve": "1", "words": "Again", "seen": seen})
    assert "It is applied already." in text(again)
    assert balance("u_ada") == (LARGE, 0)


def test_the_requester_sees_no_button_and_is_refused(log_in: LogIn) -> None:
    record = large_request()
    client = Client()
    client.force_login(
        User.objects.get(username="sue"), backend="django.contrib.auth.backends.ModelBackend"
    )
    page = text(client.get(approval_url(record)))
    assert "_approve" not in page
    assert "Withdraw" in page
    answer = client.post(approval_url(record), {"_approve": "1", "words": "I like it", "seen": ""})
    assert "needs the permission" in text(answer)
    assert balance("u_ada") == (0, 0)


def test_finance_rejects_with_a_word(log_in: LogIn) -> None:
    record = large_request()
    finance = log_in("finance")
    assert "Say a word" in text(finance.post(approval_url(record), {"_reject": "1", "words": " "}))
    finance.post(approval_url(record), {"_reject": "1", "words": "Too much"})
    record.refresh_from_db()
    assert (record.status, record.decision) == ("rejected", "Too much")
    assert "there is nothing to decide" in text(finance.get(approval_url(record)))


def test_a_plan_that_changed_is_shown_before_it_is_approved(log_in: LogIn) -> None:
    record = large_request()
    engineer = log_in("engineer")
    seen = engineer.get(approval_url(record)).context["situation"].plan.digest
    rows.grant("u_ada", 3, "checkout:cs_9")
    answer = engineer.post(approval_url(record), {"_approve": "1", "words": "Yes", "seen": seen})
    assert "Something has changed since you looked" in text(answer)
    assert balance("u_ada") == (3, 0)


@pytest.mark.parametrize("url", [approval_url, undo_url])
def test_strangers_and_people_without_a_role_are_kept_out(log_in: LogIn, url: object) -> None:
    assert callable(url)
    record = large_request()
    assert Client().get(url(record)).status_code == 302
    assert log_in("nobody").get(url(record)).status_code == 403
    forged = log_in("engineer", enforce_csrf_checks=True).post(url(record), {"words": "x"})
    assert forged.status_code == 403


def granted() -> OperationRecord:
    operation = GrantCredits(user_id="u_ada", amount=50, actor=Actor.cli("bob"), reason="A slip")
    operation.apply()
    return OperationRecord.objects.get(key=operation.key)


def test_a_grant_is_undone_from_its_record(support: Client) -> None:
    record = granted()
    assert undo_url(record) in text(support.get(page_url(record)))
    shown = support.get(undo_url(record))
    assert "Change the credits of user u_ada by -50." in text(shown)
    answers = {"reason": "Wrong user", "reason_code": "our_mistake", "ticket": "T-7"}
    seen = shown.context["situation"].plan.digest
    done = support.post(undo_url(record), {**answers, "seen": seen}, follow=True)
    assert "The credits of user u_ada changed by -50." in text(done)
    assert balance("u_ada") == (0, 0)
    page = text(support.get(page_url(record)))
    assert "has taken it back already" in page
    twice = support.post(undo_url(record), {**answers, "seen": seen})
    assert "already" in text(twice)
    assert balance("u_ada") == (0, 0)


def test_an_undo_asks_why(support: Client) -> None:
    record = granted()
    seen = support.get(undo_url(record)).context["situation"].plan.digest
    answer = support.post(undo_url(record), {"reason": "", "reason_code": "", "seen": seen})
    assert "Give a reason" in text(answer)
    assert balance("u_ada") == (50, 0)


def select_all(client: Client, action: str) -> HttpResponse:
    data = {
        "action": action,
        "index": "0",
        "select_across": "1",
        "_selected_action": [str(BillingCustomer.objects.all()[0].pk)],
    }
    return client.post(changelist_url(BillingCustomer), data)


def test_a_selection_across_pages_becomes_a_job(support: Client) -> None:
    for number in range(60):
        rows.customer(f"u_{number}", f"cus_{number}")
    response = select_all(support, "grant-credits")
    job = BulkJob.objects.get()
    assert response["Location"] == reverse("admin:billing_bulkjob_change", args=[job.pk])
    assert job.items.count() == 60
    page = text(support.get(response["Location"]))
    assert "It is done to 60 targets" in page
    assert not OperationRecord.objects.exists()

    url = response["Location"]
    key = support.get(url).context["form"]["key"].value()
    wrong = text(support.post(url, {"key": key, "amount": "5", "_start": "1"}))
    assert "This field is required" in wrong
    answers = {"key": key, "amount": "5", "reason": "All", "reason_code": "goodwill", "_start": "1"}
    assert support.post(url, answers).status_code == 302
    job.refresh_from_db()
    assert (job.status, job.actor, job.answers["amount"]) == ("running", "support", 5)
    assert "0 of 60" in text(support.get(url))

    bulk.work(job.pk, seconds=60)
    support.post(url, {"_stop": "1"})
    page = text(support.get(url))
    assert "60 of 60" in page
    lines = b"".join(support.get(reverse("admin:billing_bulk_results", args=[job.pk]))).decode()
    results = list(csv.DictReader(StringIO(lines)))
    assert len(results) == 60
    assert {line["status"] for line in results} == {"done"}
    assert "Granted 5 credits to user u_0." in {line["said"] for line in results}


def test_a_job_is_stopped_and_resumed(support: Client) -> None:
    job = rows.bulk_job(status="running")
    BulkItem.objects.create(job=job, target="u_2")
    url = reverse("admin:billing_bulkjob_change", args=[job.pk])
    assert "progress.js" in text(support.get(url))
    support.post(url, {"_stop": "1"})
    job.refresh_from_db()
    assert job.status == BulkJob.Status.STOPPED
    assert "progress.js" not in text(support.get(url))
    support.post(url, {"_resume": "1"})
    job.refresh_from_db()
    assert job.status == BulkJob.Status.RUNNING


def test_those_who_may_not_can_look_at_a_job_and_not_touch_it(log_in: LogIn) -> None:
    job = rows.bulk_job(status="running")
    url = reverse("admin:billing_bulkjob_change", args=[job.pk])
    finance = log_in("finance")
    assert "_stop" not in text(finance.get(url))
    assert finance.post(url, {"_stop": "1"}).status_code == 403
    assert log_in("nobody").get(url).status_code == 403


def test_a_job_wakes_the_worker_once() -> None:
    job = rows.bulk_job(status="running")
    tasks.wake_bulk_job(job.pk)
    tasks.wake_bulk_job(job.pk)


def test_the_audit_log_shows_who_what_and_before_and_after(support: Client) -> None:
    record = granted()
    event = AuditEvent.objects.get(type="manual.credit_adjustment")
    listed = text(support.get(changelist_url(AuditEvent)))
    assert "Credits changed by hand" in listed
    assert "cli:bob" in listed
    page = text(support.get(page_url(event)))
    assert "Granted 50 credits to user u_ada." in page
    assert ">0</del>" in page
    assert ">50</ins>" in page
    assert page_url(record) in page
    BillingEvent.objects.create(type="customer.created", stripe_event_id="evt_1")
    found = support.get(changelist_url(AuditEvent)).context["cl"].result_list
    assert [row.pk for row in found] == [event.pk]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"actor": "cli:bob"}, 1),
        ({"actor": "somebody"}, 0),
        ({"source": "sql"}, 0),
        ({"kind": "manual.credit_adjustment"}, 1),
        ({"q": "u_ada"}, 1),
        ({"q": "u_bob"}, 0),
    ],
)
def test_the_audit_log_is_filtered(support: Client, query: dict[str, str], found: int) -> None:
    granted()
    response = support.get(changelist_url(AuditEvent, **query))
    assert len(response.context["cl"].result_list) == found


def test_the_audit_log_is_exported(log_in: LogIn) -> None:
    granted()
    url = reverse("admin:billing_auditevent_export")
    body = b"".join(log_in("finance").get(url)).decode()
    exported, granting = csv.DictReader(StringIO(body))
    assert (exported["type"], granting["actor"]) == ("manual.export", "cli:bob")
    assert log_in("support").get(url).status_code == 403


def test_reasons_are_edited_by_engineers_and_leave_a_trace(log_in: LogIn) -> None:
    reason = ReasonCode.objects.get(code="goodwill")
    answers = {"label": "Kindness", "is_active": "on", "position": "5"}
    assert log_in("support").post(page_url(reason), answers).status_code == 403
    log_in("engineer").post(page_url(reason), {**answers, "code": "changed"})
    reason.refresh_from_db()
    assert (reason.label, reason.code) == ("Kindness", "goodwill")
    payload = AuditEvent.objects.get(type="manual.reason_code").payload
    assert (payload["admin"], payload["before"]["label"]) == ("engineer", "Goodwill")
