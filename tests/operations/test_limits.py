"""How many credits one person may move alone, at once and in a day."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from billing.models import OperationRecord
from billing.operations import approvals
from billing.operations.base import Actor, OperationError, Result
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.limits import limit_of, moved_lately
from billing.permissions import COMMAND_LIMIT, CREDIT_LIMITS
from tests.operations.shop import balance, record_of

pytestmark = pytest.mark.django_db

SUPPORT, ENGINEER = CREDIT_LIMITS["support"], CREDIT_LIMITS["engineer"]


def somebody(name: str, *roles: str, **more: Any) -> Actor:
    user = User.objects.create_user(name, is_staff=True, **more)
    user.groups.set(Group.objects.filter(name__in=roles))
    return Actor.of(User.objects.get(pk=user.pk))


def grant(actor: Actor, amount: int, user: str = "u_ada") -> Result:
    return granting(actor, amount, user).apply()


def granting(actor: Actor, amount: int, user: str = "u_ada") -> GrantCredits:
    return GrantCredits(user_id=user, amount=amount, actor=actor, reason="The customer called")


def correct(actor: Actor, wanted: int, user: str = "u_ada") -> Result:
    return CorrectBalance(user_id=user, balance=wanted, actor=actor, reason="A slip").apply()


def test_up_to_the_limit_support_grants_alone() -> None:
    sue = somebody("sue", "support")
    assert not granting(sue, SUPPORT.at_once).plan().approval
    assert not grant(sue, SUPPORT.at_once).requested
    assert balance("u_ada") == (500, 0)


def test_above_it_the_grant_becomes_a_request() -> None:
    sue = somebody("sue", "support")
    operation = granting(sue, SUPPORT.at_once + 1)
    assert operation.plan().approval == (
        "501 credits are more than sue may move at once (500): another person has to approve it."
    )
    result = operation.apply()
    assert result.requested
    assert result.warnings == [operation.plan().approval]
    assert balance("u_ada") == (0, 0)
    assert record_of(operation.key).status == OperationRecord.Status.REQUESTED


def test_somebody_elses_approval_grants_it_and_ones_own_does_not() -> None:
    sue, eve = somebody("sue", "support"), somebody("eve", "engineer")
    operation = granting(sue, 501)
    operation.apply()
    with pytest.raises(OperationError):
        approvals.approve(record_of(operation.key), actor=sue, words="Fine")
    assert balance("u_ada") == (0, 0)
    approvals.approve(record_of(operation.key), actor=eve, words="Fine")
    assert balance("u_ada") == (501, 0)


def test_a_day_has_a_limit_of_its_own() -> None:
    sue = somebody("sue", "support")
    for user in ("u_1", "u_2", "u_3", "u_4"):
        assert not grant(sue, SUPPORT.at_once, user).requested
    assert moved_lately(sue) == SUPPORT.a_day
    operation = granting(sue, 1, "u_5")
    assert operation.plan().approval == (
        "With these 1 credits sue would have moved 2,001 in 24 hours, and may move 2,000:"
        " another person has to approve it."
    )
    assert operation.apply().requested
    assert balance("u_5") == (0, 0)


def test_corrections_count_by_what_they_move_either_way() -> None:
    sue = somebody("sue", "support")
    grant(sue, 500)
    assert not correct(sue, 100).requested
    assert moved_lately(sue) == 900
    assert not correct(sue, 600).requested
    assert moved_lately(sue) == 1400
    assert correct(sue, 1101).requested
    assert not correct(sue, 100).requested
    assert moved_lately(sue) == 1900
    assert grant(sue, 101).requested
    assert balance("u_ada") == (100, 0)


def test_yesterday_is_forgotten() -> None:
    sue = somebody("sue", "support")
    for user in ("u_1", "u_2", "u_3", "u_4"):
        grant(sue, 500, user)
    OperationRecord.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert moved_lately(sue) == 0
    assert not grant(sue, 500).requested


def test_each_person_has_a_day_of_their_own() -> None:
    sue, tom = somebody("sue", "support"), somebody("tom", "support")
    for user in ("u_1", "u_2", "u_3", "u_4"):
        grant(sue, 500, user)
    assert not grant(tom, 500).requested


def test_what_a_second_person_approved_does_not_use_up_ones_day() -> None:
    sue, eve = somebody("sue", "support"), somebody("eve", "engineer")
    operation = granting(sue, 5_000)
    operation.apply()
    assert moved_lately(sue) == 0
    approvals.approve(record_of(operation.key), actor=eve, words="Fine")
    assert (moved_lately(sue), moved_lately(eve)) == (0, 0)
    assert not grant(sue, 500).requested


def test_what_failed_does_not_use_it_up_either() -> None:
    sue = somebody("sue", "support")
    with pytest.raises(OperationError):
        correct(sue, 0)
    assert moved_lately(sue) == 0


def test_engineers_may_more() -> None:
    eve = somebody("eve", "engineer")
    assert not grant(eve, ENGINEER.at_once).requested
    assert grant(eve, ENGINEER.at_once + 1).requested
    for number in range(4):
        assert not grant(eve, ENGINEER.at_once, f"u_{number}").requested
    assert grant(eve, 1).requested


def test_of_several_roles_the_widest_counts() -> None:
    assert limit_of(somebody("both", "support", "finance", "engineer")) == ENGINEER
    assert limit_of(somebody("sue", "support")) == SUPPORT


def test_without_a_role_of_the_list_the_narrowest_counts() -> None:
    assert limit_of(somebody("fin", "finance")) == SUPPORT
    assert limit_of(somebody("none")) == SUPPORT


def test_superusers_and_the_command_line_are_held_to_what_engineers_may() -> None:
    for actor in (somebody("root", is_superuser=True), Actor.cli("bob")):
        assert limit_of(actor) == COMMAND_LIMIT == ENGINEER
        assert not grant(actor, COMMAND_LIMIT.at_once, f"u_{actor.name}").requested
        assert grant(actor, COMMAND_LIMIT.at_once + 1, f"u_{actor.name}").requested
        assert balance(f"u_{actor.name}") == (COMMAND_LIMIT.at_once, 0)
