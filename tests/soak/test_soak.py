"""The soak in small, and that its judge notices what must not be."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from backoffice.postgres import BASE_DIR
from tests.soak.judging import DEAD_SHARE, FEW, judge
from tests.soak.running import Sample, Soaked
from tests.support.environment import child_environment

# Beside other tests a lock may be held for long, and half a minute is but a start.
SMALL = ("--minutes", "0.5", "--lock-wait", "30", "--growth", "2", "--json")
FLAT = [Sample({"web": 100 << 20}, {"inbox": 10}, {"inbox": 1000}, 0)] * 20
WHOLE = Soaked(FLAT, {})


def test_half_a_minute_of_it_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *SMALL],
        cwd=BASE_DIR, capture_output=True, text=True, check=False,
        env=child_environment(DJANGO_SETTINGS_MODULE="tests.settings"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert figures["events"] > 50
    for kind in ("stories", "claims", "pages", "grants", "export_books ended with 0",
                 "stripe_fails", "kill_a_worker"):  # fmt: skip
        assert figures[kind] > 0, figures


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
