"""Bulk jobs: every target once, whatever stops the job, with a result of its own."""

import pytest
from django.contrib.auth.models import Group, User

from billing.models import BulkItem, BulkJob, CreditEntry, LeadCredits, OperationRecord
from billing.operations import bulk
from billing.operations.base import Actor, InvalidInputError, NotPermittedError
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.permissions import CREDIT_LIMITS
from tests.operations.shop import at_once, balance
from tests.support.databases import Database

BOB = Actor.cli("bob")
WHY = {"reason": "All of them", "reason_code": "goodwill", "ticket": "T-1"}
USERS = [f"u_{number}" for number in range(6)]


def started(amount: int = 5, targets: list[str] | None = None) -> BulkJob:
    job = bulk.draft(GrantCredits, targets or USERS, answers={}, actor=BOB)
    bulk.start(job, answers={"amount": amount}, actor=BOB, **WHY)
    job.refresh_from_db()
    return job


def work_through(job: BulkJob) -> None:
    while bulk.work(job.pk, seconds=60):
        pass
    job.refresh_from_db()


@pytest.mark.django_db
def test_every_target_has_its_own_operation_and_result() -> None:
    job = started()
    assert bulk.progress(job)["waiting"] == len(USERS)
    work_through(job)
    assert job.status == BulkJob.Status.DONE
    assert bulk.progress(job)["done"] == bulk.progress(job)["total"] == len(USERS)
    assert {balance(user) for user in USERS} == {(5, 0)}
    records = OperationRecord.objects.all()
    assert {record.key for record in records} == {item.key for item in job.items.all()}
    assert {(r.actor, r.reason_code, r.ticket) for r in records} == {("cli:bob", "goodwill", "T-1")}


@pytest.mark.django_db
def test_a_target_that_fails_or_has_nothing_to_do_stops_no_other() -> None:
    CorrectBalance(user_id="u_1", balance=9, actor=BOB, reason="Before").apply()
    job = bulk.draft(CorrectBalance, ["u_0", "u_1", " \x01", "u_2"], answers={}, actor=BOB)
    bulk.start(job, answers={"balance": 9}, actor=BOB, **WHY)
    work_through(job)
    results = {item.target: (item.status, item.said) for item in job.items.all()}
    assert results["u_0"][0] == results["u_2"][0] == "done"
    assert results["u_1"][0] == "skipped"
    assert "is 9 already" in results["u_1"][1]
    assert results[" \x01"][0] == "failed"
    assert "printable" in results[" \x01"][1]


@pytest.mark.django_db
def test_it_stops_and_goes_on_where_it_was() -> None:
    job = started()
    assert bulk.work(job.pk, seconds=0)
    bulk.stop(job)
    assert not bulk.work(job.pk, seconds=60)
    assert bulk.progress(job)["waiting"] == len(USERS)
    bulk.resume(job)
    work_through(job)
    assert bulk.progress(job)["done"] == len(USERS)


@pytest.mark.django_db
def test_what_needs_a_second_person_becomes_a_request() -> None:
    user = User.objects.create_user("sue", is_staff=True)
    user.groups.add(Group.objects.get(name="support"))
    job = bulk.draft(GrantCredits, ["u_0"], answers={}, actor=Actor.of(user))
    large = CREDIT_LIMITS["support"].at_once + 1
    bulk.start(job, answers={"amount": large}, actor=Actor.of(user), **WHY)
    work_through(job)
    assert job.items.get().status == BulkItem.Status.REQUESTED
    assert not CreditEntry.objects.exists()


@pytest.mark.django_db
def test_who_may_not_can_neither_draft_nor_start() -> None:
    user = User.objects.create_user("fin", is_staff=True)
    user.groups.add(Group.objects.get(name="finance"))
    with pytest.raises(NotPermittedError):
        bulk.draft(GrantCredits, USERS, answers={}, actor=Actor.of(user))
    job = bulk.draft(GrantCredits, USERS, answers={}, actor=BOB)
    with pytest.raises(NotPermittedError):
        bulk.start(job, answers={"amount": 1}, actor=Actor.of(user), **WHY)
    with pytest.raises(InvalidInputError, match="reason"):
        bulk.start(job, answers={"amount": 1}, actor=BOB, **{**WHY, "reason": " "})
    with pytest.raises(InvalidInputError, match="least one"):
        bulk.draft(GrantCredits, ["", ""], answers={}, actor=BOB)


def test_a_job_that_is_killed_goes_on_and_does_nothing_twice(
    real_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = started()
    finish = bulk._finish
    calls: list[str] = []

    def dies(item: BulkItem, status: BulkItem.Status, said: str) -> None:
        calls.append(item.target)
        if len(calls) == 3:
            raise KeyboardInterrupt  # as SIGKILL: after the effect, before the item's own note
        finish(item, status, said)

    monkeypatch.setattr(bulk, "_finish", dies)
    with pytest.raises(KeyboardInterrupt):
        work_through(job)
    monkeypatch.undo()
    assert LeadCredits.objects.filter(balance=5).count() == 3
    work_through(job)
    assert bulk.progress(job)["done"] == len(USERS)
    assert {balance(user) for user in USERS} == {(5, 0)}
    assert CreditEntry.objects.count() == len(USERS)


def test_two_workers_at_once_do_each_target_once(real_database: Database) -> None:
    job = started(targets=[f"u_{number}" for number in range(20)])
    at_once(lambda: work_through(job), lambda: work_through(BulkJob.objects.get()))
    assert bulk.progress(job)["done"] == 20
    assert CreditEntry.objects.count() == 20
