"""Which of several snapshots of one object counts, and when Stripe has to be asked."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from billing.gateway.observation import Observation
from billing.mirror.versions import Held, digest, judge

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def seen(name: str, at: datetime = NOON, **flags: Any) -> Observation:
    """A customer with this name, as an event of that second shows them."""
    return Observation({"id": "cus_1", "object": "customer", "name": name}, at, at, **flags)


def held(name: str, at: datetime, rank: int = 0) -> dict[str, Held]:
    return {"cus_1": Held(at, at, rank, digest(seen(name).data), False, at)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_was_just_made_is_older_than_all_else_of_its_second(order: tuple[int, int]) -> None:
    both = [seen("as made", first=True), seen("renamed")]
    verdict = judge([both[i] for i in order], {})
    assert [item.data["name"] for item in verdict.write] == ["renamed"]
    assert not verdict.doubtful


def test_what_was_just_made_does_not_replace_what_became_of_it_in_that_second() -> None:
    verdict = judge([seen("as made", first=True)], held("renamed", NOON))
    assert not verdict.write
    assert not verdict.doubtful


def test_what_became_of_it_in_that_second_replaces_what_was_just_made() -> None:
    verdict = judge([seen("renamed")], held("as made", NOON, rank=-1))
    assert [item.data["name"] for item in verdict.write] == ["renamed"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_two_changes_of_one_second_cannot_be_ordered(order: tuple[int, int, int]) -> None:
    three = [seen("as made", first=True), seen("renamed"), seen("renamed again")]
    verdict = judge([three[i] for i in order], {})
    assert not verdict.write
    assert len(verdict.doubtful) == 1


def test_two_changes_of_one_second_need_no_order_where_what_is_held_is_newer() -> None:
    verdict = judge(
        [seen("renamed"), seen("renamed again")], held("in the end", NOON + timedelta(seconds=1))
    )
    assert not verdict.write
    assert not verdict.doubtful
    assert len(verdict.old) == 2
