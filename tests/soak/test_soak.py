"""The soak's judge notices what must not be."""

from dataclasses import replace

import pytest

from tests.soak.judging import DEAD_SHARE, FEW, judge
from tests.soak.running import Sample, Soaked

FLAT = [Sample({"web": 100 << 20}, {"inbox": 10}, {"inbox": 1000}, 0)] * 20
WHOLE = Soaked(FLAT, {})


def test_a_whole_run_is_right() -> None:
    assert judge(WHOLE) == []


@pytest.mark.parametrize(
    ("soaked", "said"),
    [
        (replace(WHOLE, lost={"evt_1"}), "1 events were lost"),
        (replace(WHOLE, doubled=2), "in the log twice"),
        (replace(WHOLE, unequal={"ada": (5, 4)}), "ada has 4 credits, and must have 5"),
        (replace(WHOLE, lock_waits=["process 7 still waiting for ..."]), "waited too long"),
        (replace(WHOLE, errors=["Buyers: no"]), "Buyers: no"),
        (
            replace(
                WHOLE,
                samples=[replace(each, memory={"web": (100 + 2 * n) << 20})
                         for n, each in enumerate(FLAT)],
            ),
            "the memory of web grew from 114 to 134 MiB",
        ),
        (
            replace(WHOLE, samples=[replace(each, dead={"inbox": FEW + 1}) for each in FLAT]),
            "inbox has 2001 dead rows",
        ),
    ],
)  # fmt: skip
def test_what_must_not_be_is_noticed(soaked: Soaked, said: str) -> None:
    [sentence] = judge(soaked)
    assert said in sentence


def test_a_large_table_may_have_more_dead_rows() -> None:
    live = 100_000
    dead = int(DEAD_SHARE * live) - 1
    samples = [replace(each, dead={"inbox": dead}, live={"inbox": live}) for each in FLAT]
    assert judge(replace(WHOLE, samples=samples)) == []
