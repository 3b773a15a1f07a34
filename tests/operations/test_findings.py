"""The work on findings and runs: taken, put off, accepted, reopened, fixed, started, signed off."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.diagnosis.findings import Finding
from billing.diagnosis.kinds import Kind
from billing.models import FindingRecord, OperationRecord
from billing.operations import approvals, registry
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    NotPermittedError,
    Operation,
    OperationError,
    PlanChangedError,
    new_key,
)
from billing.operations.findings import (
    MOST_DAYS,
    AcceptFinding,
    ReopenFinding,
    SnoozeFinding,
    TakeFinding,
)
from billing.operations.fixing import FixFinding
from billing.operations.runs import SignOffRun, StartReconciliation
from tests.admin import rows
from tests.diagnosis.planting import found, kept
from tests.operations.shop import BOB, Shop, audits, balance, record_of

pytestmark = pytest.mark.django_db

State = FindingRecord.State


def user(name: str, role: str) -> Actor:
    made = User.objects.create_user(name, is_staff=True)
    made.groups.set(Group.objects.filter(name=role))
    return Actor.of(made)


def in_days(number: int) -> str:
    return (timezone.now() + timedelta(days=number)).isoformat()


def state(row: FindingRecord) -> tuple[str, str]:
    """Its state, and the reason that stands beside it."""
    row.refresh_from_db()
    return row.state, row.state_reason


def undo(operation: Operation) -> None:
    registry.undo(record_of(operation.key), actor=BOB["actor"], reason="It was wrong").apply()


def test_somebody_takes_it_and_hands_it_on() -> None:
    row, sue = rows.finding(), user("sue", "support")
    user("fin", "finance")
    take = TakeFinding(finding_id=f"finding:{row.pk}", actor=sue, reason="Mine")
    assert [(c.before, c.after) for c in take.plan().changes] == [("nobody", "sue")]
    take.apply()
    row.refresh_from_db()
    assert (row.owner, row.state) == ("sue", State.OPEN)
    assert take.apply().already_done
    assert (
        "sue owns it already"
        in TakeFinding(finding_id=row.pk, actor=sue, reason="Mine").plan().blocked
    )

    hand = TakeFinding(finding_id=row.pk, owner="fin", **BOB)
    hand.apply()
    row.refresh_from_db()
    assert row.owner == "fin"
    undo(hand)
    undo(take)
    row.refresh_from_db()
    assert row.owner == ""
    taken = [
        (event["admin"], event["changes"][0]["after"]) for event in audits("manual.finding_taken")
    ]
    assert taken == [("sue", "sue"), ("cli:bob", "fin"), ("cli:bob", "sue"), ("cli:bob", "nobody")]


@pytest.mark.parametrize("owner", ["nobody_here", "gone", None])
def test_only_who_has_an_account_can_own_it(owner: str | None) -> None:
    User.objects.create_user("gone", is_staff=True, is_active=False)
    operation = TakeFinding(finding_id=rows.finding().pk, owner=owner, **BOB)
    assert "has no account here" in operation.plan().blocked
    with pytest.raises(BlockedError):
        operation.apply()


def test_it_is_put_off_accepted_and_opened_again() -> None:
    row = rows.finding()
    snooze = SnoozeFinding(finding_id=row.pk, until=in_days(30), **BOB)
    assert "Put off until" in snooze.plan().changes[0].after
    snooze.apply()
    assert state(row) == (State.SNOOZED, BOB["reason"])
    assert row.snoozed_until == snooze.until

    accept = AcceptFinding(finding_id=row.pk, actor=BOB["actor"], reason="Written off")
    assert "45.00 USD and 50 credits at stake" in accept.plan().summary
    accept.apply()
    assert state(row) == (State.ACCEPTED, "Written off")
    assert row.snoozed_until is None
    assert row.state_by == "cli:bob"
    assert (
        "accepted it already: Written off" in AcceptFinding(finding_id=row.pk, **BOB).plan().blocked
    )

    undo(accept)  # as it was before
    assert state(row)[0] == State.SNOOZED
    assert row.snoozed_until == snooze.until
    undo(snooze)
    assert state(row)[0] == State.OPEN
    assert "open already" in ReopenFinding(finding_id=row.pk, **BOB).plan().blocked

    AcceptFinding(finding_id=row.pk, **BOB).apply()
    reopen = ReopenFinding(finding_id=row.pk, **BOB)
    reopen.apply()
    assert state(row)[0] == State.OPEN
    undo(reopen)
    assert state(row)[0] == State.ACCEPTED
    assert len(audits("manual.finding_accepted")) == 3
    assert audits("manual.finding_accepted")[0]["about"] == row.subject


@pytest.mark.parametrize(("days", "said"), [(-1, "is over"), (MOST_DAYS + 1, "90 days at most")])
def test_it_is_put_off_for_a_while_to_come(days: int, said: str) -> None:
    row, until = rows.finding(), in_days(days)
    operation = SnoozeFinding(finding_id=row.pk, until=until, **BOB)
    assert said in operation.plan().blocked
    with pytest.raises(BlockedError):
        operation.apply()
    assert state(row)[0] == State.OPEN


def test_wrong_times_and_numbers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no date or time"):
        SnoozeFinding(finding_id=1, until="tomorrow", **BOB)
    for number in ("", "0", "x", "run:1"):
        with pytest.raises(InvalidInputError, match="number of the finding"):
            AcceptFinding(finding_id=number, **BOB)


MAKERS: list[Callable[[int], Operation]] = [
    lambda pk: TakeFinding(finding_id=pk, owner="bob", **BOB),
    lambda pk: SnoozeFinding(finding_id=pk, until=in_days(1), **BOB),
    lambda pk: AcceptFinding(finding_id=pk, **BOB),
    lambda pk: ReopenFinding(finding_id=pk, **BOB),
    lambda pk: FixFinding(finding_id=pk, **BOB),
]


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_resolved_or_unknown_is_left_alone(make: Callable[[int], Operation]) -> None:
    user("bob", "support")
    row = rows.finding(state=State.RESOLVED)
    for number, said in ((row.pk, "resolved"), (row.pk + 1, "There is no finding")):
        assert said in make(number).plan().blocked
        with pytest.raises(OperationError, match=said):
            make(number).apply()
    assert state(row)[0] == State.RESOLVED


def paid_pack(shop: Shop) -> Finding:
    """Ada paid for 50 credits, and the event never came."""
    customer = str(shop.subscribe()["customer"])
    shop.deliver()
    shop.buy(customer=customer)
    return found("u_ada", Kind.PACK_NOT_GRANTED)


def test_a_fix_is_the_recommended_operation_under_one_key(shop: Shop) -> None:
    finding = paid_pack(shop)
    row, sue = kept(finding), user("sue", "support")
    key = new_key()

    def make(key: str) -> FixFinding:
        return FixFinding(finding_id=row.pk, key=key, actor=sue, reason="Found")

    plan = make(key).plan()
    assert any("70" in change.after for change in plan.changes)
    assert not OperationRecord.objects.exists()
    with pytest.raises(PlanChangedError):
        make(key).apply(seen="another plan")

    make(key).apply(seen=plan.digest)
    assert balance("u_ada") == (70, 0)
    record = record_of(key)
    assert (record.name, record.actor, record.status) == ("replay_events", "sue", "applied")
    assert len(audits("manual.event_replay")) == 1
    row.refresh_from_db()
    assert row.operation_key == key

    FindingRecord.objects.filter(pk=row.pk).update(state=State.RESOLVED, fix=None)
    assert make(key).apply().already_done  # whatever is recommended by now
    assert balance("u_ada") == (70, 0)
    assert OperationRecord.objects.count() == 1


def test_a_fix_needs_the_permission_of_what_it_runs() -> None:
    row = rows.finding(fix={"operation": "tie_out_balance", "params": {"user_id": "u_ada"}})
    sue = user("sue", "support")
    operation = FixFinding(finding_id=row.pk, actor=sue, reason="Found")
    assert "tie_out_balance" in operation.plan().blocked
    with pytest.raises(NotPermittedError, match="tie_out_balance"):
        operation.apply()
    alone = User.objects.create_user("alone", is_staff=True)
    alone.user_permissions.add(Permission.objects.get(codename="tie_out_balance"))
    with pytest.raises(NotPermittedError, match="fix_finding"):
        FixFinding(finding_id=row.pk, actor=Actor.of(alone), reason="Found").apply()
    assert not OperationRecord.objects.exists()


def test_a_large_fix_waits_for_a_second_person() -> None:
    rows.grant("u_ada", 5)
    row = rows.finding(
        fix={"operation": "correct_balance", "params": {"user_id": "u_ada", "balance": 900}}
    )
    operation = FixFinding(finding_id=row.pk, actor=user("sue", "support"), reason="Found")
    assert operation.plan().approval
    assert operation.apply().requested
    assert operation.apply().requested
    assert balance("u_ada") == (5, 0)
    carol = user("carol", "engineer")
    approvals.approve(record_of(operation.key), actor=carol, words="Right")
    assert balance("u_ada") == (900, 0)
    assert operation.apply().already_done


def test_what_no_operation_mends_is_not_fixed() -> None:
    row = rows.finding(fix=None)
    assert "No operation mends it" in FixFinding(finding_id=row.pk, **BOB).plan().blocked
    odd = rows.finding("cs_2", fix={"operation": "no_such", "params": {}})
    with pytest.raises(OperationError, match="no operation “no_such” any more"):
        FixFinding(finding_id=odd.pk, **BOB).apply()


def test_a_run_is_started_by_the_worker_once() -> None:
    operation = StartReconciliation(kind="full", actor=user("fin", "finance"), reason="Month end")
    operation.apply()
    job = ProcrastinateJob.objects.get(task_name="billing.reconcile")
    assert job.args == {"kind": "full", "actor": "fin"}
    assert audits("manual.reconciliation_started")[0]["kind"] == "full"
    assert operation.apply().already_done
    again = StartReconciliation(kind="daily", **BOB)
    assert "waits for the worker" in again.plan().blocked
    with pytest.raises(BlockedError):
        again.apply()
    assert ProcrastinateJob.objects.filter(task_name="billing.reconcile").count() == 1
    with pytest.raises(InvalidInputError, match="daily, weekly, full"):
        StartReconciliation(kind="hourly", **BOB)
    with pytest.raises(CannotUndoError):
        undo(operation)


def test_finance_signs_a_finished_run_off_once() -> None:
    row, fin = rows.run(), user("fin", "finance")
    operation = SignOffRun(run_id=f"run:{row.pk}", actor=fin, reason="Agrees with the bank")
    assert "which found 1 findings" in operation.plan().summary
    operation.apply()
    row.refresh_from_db()
    assert (row.signed_off_by, row.sign_off) == ("fin", "Agrees with the bank")
    assert row.signed_off_at is not None
    assert operation.apply().already_done
    assert audits("manual.run_signed_off")[0]["run"] == row.pk
    again = SignOffRun(run_id=row.pk, **BOB)
    assert "fin has signed it off already" in again.plan().blocked
    with pytest.raises(CannotUndoError, match="signature stands"):
        undo(operation)


@pytest.mark.parametrize(
    ("status", "said"), [("running", "still running"), ("failed", "It failed")]
)
def test_an_unfinished_run_is_not_signed_off(status: str, said: str) -> None:
    row = rows.run(status=status)
    operation: Any = SignOffRun(run_id=row.pk, **BOB)
    assert said in operation.plan().blocked
    with pytest.raises(BlockedError, match=said):
        operation.apply()
    assert "There is no run" in SignOffRun(run_id=row.pk + 1, **BOB).plan().blocked
