"""The drill itself: what it breaks is found and recovered, and what is not so is noticed.

At length: `make drill`.
"""

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from backoffice.postgres import BASE_DIR
from tests.support.environment import child_environment

FIXED = {146: 26, 147: 34, 148: 32}  # seeds, with what each breaks on any machine
FRESH = 2
NAMES = {
    "seed", "faults", "found", "repaired", "wrongly_reported", "credits_doubled", "rows_lost",
}  # fmt: skip


def drill(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, a document for each seed, and what it said to people."""
    done = subprocess.run(
        [sys.executable, "manage.py", "drill", "--json", *arguments],
        cwd=BASE_DIR,
        env=child_environment(DATABASE_URL="postgres://nobody@127.0.0.1:9/none"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def all_is_well(document: dict[str, Any]) -> bool:
    wrong = ("wrongly_reported", "credits_doubled", "rows_lost")
    same = document["faults"] == document["found"] == document["repaired"]
    return same and document["faults"] > 0 and not any(document[name] for name in wrong)


@pytest.mark.long
def test_what_is_broken_is_found_and_recovered() -> None:
    """Seeds in which each scenario is played, and two of which once found a defect."""
    code, documents, said = drill("--seed", str(min(FIXED)), "--seeds", str(len(FIXED)))
    assert code == 0, said
    assert {document["seed"]: document["faults"] for document in documents} == FIXED
    assert all(set(document) == NAMES for document in documents)
    assert all(map(all_is_well, documents)), said


@pytest.mark.long
def test_seeds_that_nobody_has_seen() -> None:
    """The message of a failure says how to play it again."""
    seed = random.randrange(1_000, 1_000_000)
    code, documents, said = drill("--seed", str(seed), "--seeds", str(FRESH))
    assert code == 0, f"seed {seed}\n{said}"
    assert len(documents) == FRESH
    assert all(map(all_is_well, documents)), f"{documents}\n{said}"


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "step", "lost"), [("deliveries", "reconcile", True)])
def test_a_recovery_that_leaves_a_step_out_is_noticed(scenario: str, step: str, lost: bool) -> None:
    code, [document], said = drill("--seed", "1", "--scenario", scenario, "--without", step)
    assert code == 1
    assert document["repaired"] < document["faults"], said
    assert bool(document["rows_lost"]) == lost
    assert f"manage.py drill --seed 1 --scenario {scenario} --without {step}" in said
