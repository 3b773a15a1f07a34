"""Undo: an operation of its own, linked to what it takes back, while that is safe."""

from typing import Any

import pytest

from billing.models import OperationRecord
from billing.operations.base import Actor, CannotUndoError, OperationError
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.registry import undo
from tests.operations.shop import audits, balance

pytestmark = pytest.mark.django_db
BOB: dict[str, Any] = {"actor": Actor.cli("bob"), "reason": "A slip"}


def granted(amount: int = 50) -> OperationRecord:
    operation = GrantCredits(user_id="u_ada", amount=amount, **BOB)
    operation.apply()
    return OperationRecord.objects.get(key=operation.key)


def test_a_grant_is_taken_back_and_both_are_linked() -> None:
    record = granted()
    operation = undo(record, **BOB)
    assert [(c.before, c.after) for c in operation.plan().changes] == [("50", "0")]
    operation.apply()
    assert balance("u_ada") == (0, 0)
    taken_back = OperationRecord.objects.get(key=operation.key)
    assert taken_back.undoes == record
    assert list(record.undone_by.all()) == [taken_back]
    assert [audit["undoes"] for audit in audits("manual.credit_adjustment")] == ["", record.key]


def test_a_correction_downwards_is_given_back() -> None:
    granted(30)
    correction = CorrectBalance(user_id="u_ada", balance=10, **BOB)
    correction.apply()
    undo(OperationRecord.objects.get(key=correction.key), **BOB).apply()
    assert balance("u_ada") == (30, 0)


def test_it_is_undone_once() -> None:
    record = granted()
    undo(record, **BOB).apply()
    with pytest.raises(CannotUndoError, match="already"):
        undo(record, **BOB)


def test_what_was_spent_is_not_made_a_debt() -> None:
    record = granted(50)
    CorrectBalance(user_id="u_ada", balance=20, **BOB).apply()
    with pytest.raises(OperationError, match="were spent"):
        undo(record, **BOB).apply()
    assert balance("u_ada") == (20, 0)


def test_an_undo_is_not_undone() -> None:
    operation = undo(granted(), **BOB)
    operation.apply()
    with pytest.raises(CannotUndoError, match="undo itself"):
        undo(OperationRecord.objects.get(key=operation.key), **BOB)


def test_what_was_not_applied_cannot_be_undone() -> None:
    operation = CorrectBalance(user_id="u_ada", balance=0, **BOB)
    with pytest.raises(OperationError):
        operation.apply()
    with pytest.raises(CannotUndoError, match="not applied"):
        undo(OperationRecord.objects.get(key=operation.key), **BOB)
