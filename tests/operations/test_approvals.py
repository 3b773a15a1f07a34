"""Two people for what is large: asked for, approved or rejected by another, once, told of."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.db.models.functions import Now

from billing.models import BillingEvent, CreditEntry, LeadCredits, OperationRecord
from billing.operations import approvals
from billing.operations.base import (
    Actor,
    InvalidInputError,
    NotPermittedError,
    OperationError,
    PlanChangedError,
    Result,
    new_key,
)
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.invoices import VoidInvoice
from billing.permissions import CREDIT_LIMITS
from tests.operations.shop import Shop, at_once, audits, balance
from tests.support.databases import Database

LARGE = CREDIT_LIMITS["support"].at_once + 1
Status = OperationRecord.Status


def person(name: str, role: str, **more: str) -> Actor:
    user = User.objects.create_user(name, is_staff=True, **more)
    user.groups.add(Group.objects.get(name=role))
    return Actor.of(user)


def ask(actor: Actor, amount: int = LARGE, key: str | None = None) -> OperationRecord:
    """A request for more credits than support may grant alone."""
    operation = GrantCredits(
        user_id="u_ada", amount=amount, actor=actor, reason="A large goodwill", key=key
    )
    result = operation.apply()
    assert result.requested
    return OperationRecord.objects.get(key=operation.key)


def nothing_granted() -> bool:
    return not CreditEntry.objects.exists() and not LeadCredits.objects.exists()


@pytest.mark.django_db
def test_a_request_does_nothing_until_another_person_approves_it() -> None:
    sue, eve = person("sue", "support"), person("eve", "engineer")
    record = ask(sue)
    assert record.status == Status.REQUESTED
    assert "another person has to approve" in record.approval
    assert nothing_granted()
    assert [e["requested_by"] for e in audits("manual.operation_requested")] == ["sue"]

    plan = approvals.current_plan(record)
    result = approvals.approve(record, actor=eve, words="Called her", seen=plan.digest)
    assert result.summary == f"Granted {LARGE} credits to user u_ada."
    assert balance("u_ada") == (LARGE, 0)
    record.refresh_from_db()
    assert (record.status, record.decided_by, record.decision) == ("applied", "eve", "Called her")
    [audit] = audits("manual.credit_adjustment")
    assert (audit["admin"], audit["approved_by"]) == ("sue", "eve")
    [decision] = audits("manual.operation_approved")
    assert (decision["decided_by"], decision["words"]) == ("eve", "Called her")
    assert CreditEntry.objects.get().actor == "sue"


@pytest.mark.django_db
def test_the_requester_never_approves_whatever_their_role() -> None:
    boss = User.objects.create_superuser("boss", "boss@example.com", "x")
    record = ask(Actor.of(boss), amount=20_000)
    with pytest.raises(NotPermittedError, match="yourself"):
        approvals.approve(record, actor=Actor.of(boss), words="Fine")
    assert nothing_granted()


@pytest.mark.django_db
def test_without_the_permission_nobody_decides() -> None:
    record = ask(person("sue", "support"))
    other = person("sam", "support")
    for decide in (approvals.approve, approvals.reject):
        with pytest.raises(NotPermittedError, match="approve_operation"):
            decide(record, actor=other, words="Fine")
    assert nothing_granted()


@pytest.mark.django_db
def test_a_rejected_request_stays_rejected() -> None:
    sue, fin = person("sue", "support"), person("fin", "finance")
    key = new_key()
    record = ask(sue, key=key)
    approvals.reject(record, actor=fin, words="Too much")
    record.refresh_from_db()
    assert (record.status, record.decided_by) == ("rejected", "fin")
    assert [e["words"] for e in audits("manual.operation_rejected")] == ["Too much"]
    with pytest.raises(OperationError, match="rejected already"):
        approvals.approve(record, actor=person("eve", "engineer"), words="Fine")
    with pytest.raises(OperationError, match="was rejected"):
        GrantCredits(
            user_id="u_ada", amount=LARGE, actor=sue, reason="A large goodwill", key=key
        ).apply()
    assert nothing_granted()


@pytest.mark.django_db
def test_the_requester_may_withdraw() -> None:
    sue = person("sue", "support")
    record = ask(sue)
    approvals.reject(record, actor=sue, words="A slip")
    record.refresh_from_db()
    assert record.status == Status.REJECTED


@pytest.mark.django_db
@pytest.mark.parametrize("words", ["", "  ", "x" * 2001, "a\x00b"])
def test_a_decision_needs_a_word(words: str) -> None:
    record = ask(person("sue", "support"))
    with pytest.raises(InvalidInputError):
        approvals.approve(record, actor=person("eve", "engineer"), words=words)


@pytest.mark.django_db
def test_what_has_changed_since_it_was_seen_is_shown_again() -> None:
    sue, eve = person("sue", "support"), person("eve", "engineer")
    record = ask(sue)
    seen = approvals.current_plan(record).digest
    CorrectBalance(user_id="u_ada", balance=7, actor=eve, reason="Meanwhile").apply()
    with pytest.raises(PlanChangedError) as changed:
        approvals.approve(record, actor=eve, words="Fine", seen=seen)
    assert balance("u_ada") == (7, 0)
    record.refresh_from_db()
    assert record.status == Status.REQUESTED
    approvals.approve(record, actor=eve, words="Fine", seen=changed.value.plan.digest)
    assert balance("u_ada") == (7 + LARGE, 0)


@pytest.mark.django_db
def test_a_request_that_nobody_decides_expires() -> None:
    record = ask(person("sue", "support"))
    assert approvals.expire_due() == 0
    OperationRecord.objects.filter(pk=record.pk).update(expires_at=Now() - timedelta(seconds=1))
    assert approvals.expire_due() == 1
    assert approvals.expire_due() == 0
    record.refresh_from_db()
    assert record.status == Status.EXPIRED
    assert len(audits("manual.operation_expired")) == 1
    with pytest.raises(OperationError, match="expired"):
        approvals.approve(record, actor=person("eve", "engineer"), words="Late")


@pytest.mark.django_db
def test_asking_again_with_the_same_key_is_the_same_request() -> None:
    sue, key = person("sue", "support"), new_key()
    assert ask(sue, key=key) == ask(sue, key=key)
    assert len(audits("manual.operation_requested")) == 1


@pytest.mark.django_db
def test_approvers_are_told_and_the_requester_is_not() -> None:
    sue = person("sue", "support", email="sue@example.com")
    person("eve", "engineer", email="eve@example.com")
    person("fin", "finance", email="fin@example.com")
    person("sam", "support", email="sam@example.com")
    record = ask(sue)
    assert approvals.tell_approvers(record.pk) == 2
    assert sorted(letter.to[0] for letter in mail.outbox) == ["eve@example.com", "fin@example.com"]
    letter = mail.outbox[0]
    assert "Grant credits" in letter.subject
    assert f"/{record.pk}/approval/" in letter.body
    assert "A large goodwill" in letter.body


@pytest.mark.django_db
def test_one_who_left_cannot_have_their_request_applied() -> None:
    sue = person("sue", "support")
    record = ask(sue)
    User.objects.filter(username="sue").update(is_active=False)
    with pytest.raises(NotPermittedError, match="no account"):
        approvals.approve(record, actor=person("eve", "engineer"), words="Fine")
    assert nothing_granted()


def test_two_approvers_at_the_same_second_grant_once(real_database: Database) -> None:
    sue, eve, fin = person("sue", "support"), person("eve", "engineer"), person("fin", "finance")
    record = ask(sue)
    outcomes = at_once(
        lambda: approvals.approve(record, actor=eve, words="Fine"),
        lambda: approvals.approve(OperationRecord.objects.get(), actor=fin, words="Fine"),
    )
    assert any(isinstance(outcome, Result) for outcome in outcomes), outcomes
    assert balance("u_ada") == (LARGE, 0)
    assert BillingEvent.objects.filter(type="manual.credit_adjustment").count() == 1
    assert BillingEvent.objects.filter(type="manual.operation_approved").count() == 1


@pytest.mark.django_db
def test_what_failed_after_its_approval_is_finished_with_the_approvers_name(shop: Shop) -> None:
    sue, eve = person("sue", "support"), person("eve", "engineer")
    subscription = shop.subscribe()["subscription"]
    invoice = shop.sandbox.story("past_due", subscription=subscription)["invoice"]
    shop.deliver()
    key = new_key()
    assert VoidInvoice(invoice_id=invoice, actor=sue, reason="A slip", key=key).apply().requested
    record = OperationRecord.objects.get(key=key)
    shop.sandbox.control("faults", path="/v1/invoices/*/void", status=500, after=True)
    with pytest.raises(OperationError, match="could not be reached"):
        approvals.approve(record, actor=eve, words="Fine")
    record.refresh_from_db()
    assert (record.status, record.decided_by) == ("failed", "eve")
    shop.sandbox.control("faults", "DELETE")
    result = VoidInvoice(invoice_id=invoice, actor=sue, reason="A slip", key=key).apply()
    assert not result.requested
    [audit] = audits(VoidInvoice.audit_type)
    assert (audit["admin"], audit["approved_by"]) == ("sue", "eve")


@pytest.mark.django_db
def test_one_who_is_at_it_keeps_others_out_for_a_while() -> None:
    record = ask(person("sue", "support"))
    eve, fin = person("eve", "engineer"), person("fin", "finance")
    OperationRecord.objects.filter(pk=record.pk).update(decided_by="eve", decided_at=Now())
    with pytest.raises(OperationError, match="eve is deciding"):
        approvals.approve(record, actor=fin, words="Fine")
    long_ago = Now() - timedelta(minutes=6)
    OperationRecord.objects.filter(pk=record.pk).update(decided_at=long_ago)
    approvals.approve(record, actor=fin, words="Fine")
    assert eve.name not in OperationRecord.objects.get().decided_by
