"""A balance that was written past the triggers, and its ledger: tied out in two entries."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from billing.models import CreditEntry, LeadCredits, OperationRecord
from billing.operations.base import Actor, CannotUndoError, InvalidInputError, OperationError
from billing.operations.credits import CorrectBalance, GrantCredits, TakeBackCredits
from billing.operations.registry import undo
from billing.operations.tying import TieOutBalance
from billing.permissions import CREDIT_LIMITS
from billing.projection import ledger
from tests.operations.shop import BOB, at_once, audits, balance, past_triggers, record_of
from tests.support.databases import Database

AUDIT = "manual.credit_adjustment"


def tie_out(user_id: str = "u_ada", **more: Any) -> TieOutBalance:
    return TieOutBalance(user_id=user_id, **{**BOB, **more})


def granted(amount: int, user_id: str = "u_ada") -> GrantCredits:
    operation = GrantCredits(user_id=user_id, amount=amount, **BOB)
    operation.apply()
    return operation


def restored(balance_: int, owed: int = 0) -> None:
    """A restore with the triggers off leaves Ada's row with an older state."""
    past_triggers(
        f"INSERT INTO lead_credits (user_id, balance, owed) VALUES ('u_ada', {balance_}, {owed})"  # noqa: S608
        f" ON CONFLICT (user_id) DO UPDATE SET balance = {balance_}, owed = {owed}"
    )


def entries() -> list[tuple[int, int, int, int, str]]:
    """Ada's ledger in its order: changes, and what was left after each."""
    return list(
        CreditEntry.objects.filter(user_id="u_ada")
        .order_by("id")
        .values_list("delta", "owed_delta", "balance_after", "owed_after", "kind")
    )


@pytest.mark.django_db
def test_both_steps_are_shown_then_entered() -> None:
    """C1, C3: the balance is what a restore left, the ledger is what was recorded."""
    granted(50)
    restored(10)
    operation = tie_out()
    plan = operation.plan()
    assert (plan.blocked, plan.approval, plan.warnings) == ("", "", [])
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        ("Balance", "10", "50"),
        ("Entry for what the ledger never saw", "none", "-40 credits, balance 10"),
        ("Entry back to what the ledger said", "none", "+40 credits, balance 50"),
    ]
    assert (balance("u_ada"), len(entries())) == ((10, 0), 1)

    result = operation.apply()
    assert result.changes == plan.changes
    assert result.summary == "The balance of user u_ada is 50 credits (+40), as its ledger says."
    assert balance("u_ada") == (50, 0)
    assert entries() == [
        (50, 0, 50, 0, "grant"),
        (-40, 0, 10, 0, "correction"),
        (40, 0, 50, 0, "correction"),
    ]
    last = CreditEntry.objects.order_by("id").last()
    assert last is not None
    assert (last.actor, last.reason) == ("cli:bob", "The customer called")
    payload = audits(AUDIT)[-1]
    assert (payload["user_id"], payload["amount"], payload["unseen"]) == ("u_ada", 40, -40)
    assert (payload["balance_before"], payload["balance_after"]) == (10, 50)
    assert payload["operation"] == operation.key


@pytest.mark.django_db
def test_the_same_key_does_it_once_and_another_finds_nothing_to_do() -> None:
    granted(50)
    restored(10)
    operation = tie_out()
    operation.apply()
    assert tie_out(key=operation.key).apply().already_done
    again = tie_out()
    assert "50 credits, as the ledger says" in again.plan().blocked
    with pytest.raises(OperationError, match="nothing to tie out"):
        again.apply()
    assert len(entries()) == 3


@pytest.mark.django_db
def test_a_negative_balance_is_brought_back() -> None:
    """C3: the constraint went with the triggers."""
    granted(20)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lead_credits DROP CONSTRAINT lead_credits_not_negative")
    restored(-5)
    tie_out().apply()
    assert balance("u_ada") == (20, 0)
    assert [entry[:3] for entry in entries()] == [(20, 0, 20), (-25, 0, -5), (25, 0, 20)]


@pytest.mark.django_db
def test_a_row_that_is_gone_comes_back() -> None:
    granted(50)
    past_triggers("DELETE FROM lead_credits")
    tie_out().apply()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_a_user_the_ledger_never_heard_of_has_nothing() -> None:
    restored(70)
    plan = tie_out().plan()
    assert plan.changes[0].after == "0"
    tie_out().apply()
    assert balance("u_ada") == (0, 0)
    assert [entry[0] for entry in entries()] == [70, -70]


@pytest.mark.django_db
def test_what_is_owed_is_tied_out_too() -> None:
    granted(20)
    restored(20, owed=8)
    plan = tie_out().plan()
    assert [(c.before, c.after) for c in plan.changes] == [
        ("8", "0"),
        ("none", "+0 credits, +8 owed, balance 20"),
        ("none", "+0 credits, -8 owed, balance 20"),
    ]
    tie_out().apply()
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
def test_a_ledger_below_0_becomes_0_and_says_so() -> None:
    """Credits came while the triggers were off, and were spent when they were on again."""
    restored(50)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = 20 WHERE user_id = 'u_ada'")
    plan = tie_out().plan()
    assert plan.changes[0].after == "0"
    assert "The ledger adds up to -30 credits" in plan.warnings[0]
    tie_out().apply()
    assert [entry[0] for entry in entries()] == [-30, 50, -20]
    assert balance("u_ada") == ledger.recorded("u_ada") == (0, 0)


@pytest.mark.django_db
def test_a_ledger_below_0_and_a_balance_of_0_need_one_entry() -> None:
    restored(30)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = 0 WHERE user_id = 'u_ada'")
    assert len(tie_out().plan().changes) == 1
    tie_out().apply()
    assert balance("u_ada") == ledger.recorded("u_ada") == (0, 0)


@pytest.mark.django_db
def test_while_the_triggers_are_still_off_nothing_is_changed() -> None:
    granted(50)
    restored(10)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lead_credits DISABLE TRIGGER USER")
    operation = tie_out()
    with pytest.raises(OperationError, match=r"enable them .* Nothing was changed"):
        operation.apply()
    assert (balance("u_ada"), len(entries())) == ((10, 0), 1)
    assert "ENABLE TRIGGER" in record_of(operation.key).error


@pytest.mark.django_db
def test_more_than_one_may_move_waits_for_another_person() -> None:
    user = User.objects.create_user("eve", is_staff=True)
    user.groups.add(Group.objects.get(name="engineer"))
    limit = CREDIT_LIMITS["engineer"].at_once
    restored(limit + 1)
    result = tie_out(actor=Actor.of(user)).apply()
    assert result.requested
    assert "more than eve may move at once" in result.warnings[0]
    assert balance("u_ada") == (limit + 1, 0)


@pytest.mark.django_db
def test_it_counts_for_what_one_may_move_in_a_day() -> None:
    user = User.objects.create_user("eve", is_staff=True)
    user.groups.add(Group.objects.get(name="engineer"))
    actor, limit = Actor.of(user), CREDIT_LIMITS["engineer"]
    for _ in range(limit.a_day // limit.at_once):
        restored(limit.at_once)
        assert not tie_out(actor=actor).apply().requested
    restored(1)
    assert "in 24 hours" in tie_out(actor=actor).plan().approval


@pytest.mark.django_db
def test_it_cannot_be_taken_back() -> None:
    granted(50)
    restored(10)
    operation = tie_out()
    operation.apply()
    with pytest.raises(CannotUndoError, match="Correct the balance instead"):
        undo(record_of(operation.key), **BOB)


@pytest.mark.parametrize("user_id", ["", "  ", "x" * 5000, "a\x00b", "a\nb"])
def test_a_wrong_user_is_refused(user_id: str) -> None:
    with pytest.raises(InvalidInputError, match="user id"):
        tie_out(user_id)


def test_of_two_at_once_one_ties_out_and_other_credits_are_kept(real_database: Database) -> None:
    granted(50)
    restored(10)
    outcomes = at_once(tie_out().apply, tie_out().apply, lambda: granted(7))
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(refused) == 1
    assert "tie" in refused[0]
    assert balance("u_ada") == ledger.recorded("u_ada") == (57, 0)
    assert len(entries()) == 4


@given(
    held=st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9)),
    recorded=st.tuples(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9)),
)
def test_the_two_entries_always_add_up(held: tuple[int, int], recorded: tuple[int, int]) -> None:
    """The first takes the ledger to the balance, the second both to the ledger's, from 0 up."""
    unseen, back = ledger.ways_back("u", held, recorded, reason="", source="operation:op_1")
    assert (recorded[0] + unseen.delta, recorded[1] + unseen.owed_delta) == held
    assert (unseen.balance_after, unseen.owed_after) == held
    after = (held[0] + back.delta, held[1] + back.owed_delta)
    assert after == (back.balance_after, back.owed_after)
    assert after == (max(recorded[0], 0), max(recorded[1], 0))
    assert unseen.entry.source != back.entry.source


@pytest.mark.django_db
def test_a_grant_is_taken_back_by_its_key_once() -> None:
    """What a finding recommends for a grant by hand is the same as its undo."""
    operation = granted(50)
    common: dict[str, Any] = {"user_id": "u_ada", "amount": -50, "grant": operation.key}
    taken = TakeBackCredits(**common, **BOB)
    assert [(c.before, c.after) for c in taken.plan().changes] == [("50", "0")]
    taken.apply()
    assert balance("u_ada") == (0, 0)
    record = record_of(taken.key)
    assert record.undoes == record_of(operation.key)
    assert record.parameters["grant"] == operation.key
    granted(50)
    with pytest.raises(OperationError, match="taken it back already"):
        TakeBackCredits(**common, **BOB).apply()
    with pytest.raises(CannotUndoError, match="already"):
        undo(record_of(operation.key), **BOB)
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": -49}, "did not grant 49 credits to user u_ada"),
        ({"amount": 50}, "did not grant"),
        ({"user_id": "u_bob"}, "to user u_bob"),
    ],
)
def test_only_what_it_granted_is_taken_back(wrong: dict[str, Any], said: str) -> None:
    """Else it were a way around the limits of what one person may move."""
    key = granted(50).key
    asked: dict[str, Any] = {"user_id": "u_ada", "amount": -50, "grant": key, **wrong}
    with pytest.raises(OperationError, match=said):
        TakeBackCredits(**asked, **BOB).apply()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_another_operation_or_none_is_no_grant_to_take_back() -> None:
    correction = CorrectBalance(user_id="u_ada", balance=50, **BOB)
    correction.apply()
    with pytest.raises(OperationError, match="did not grant"):
        TakeBackCredits(user_id="u_ada", amount=-50, grant=correction.key, **BOB).apply()
    for key in ("op_none", "x" * 5000, "a\x00b", "  "):
        with pytest.raises(InvalidInputError):
            TakeBackCredits(user_id="u_ada", amount=-50, grant=key, **BOB)
    assert OperationRecord.objects.count() == 2
    assert LeadCredits.objects.get().balance == 50
