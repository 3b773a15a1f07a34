"""What `make lint` makes of pip-audit, and that bandit leaves to ruff what ruff looks at."""

import json
import tomllib

import pytest

from tests.support.audit import ROOT, judge

CLEAN = {"name": "django", "version": "5.2.1", "vulns": []}
UNKNOWN = {"name": "django", "version": "5.2.1", "skip_reason": "not found"}
HOLE = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["5.2.2"]}
HOLED = {"name": "django", "version": "5.2.1", "vulns": [HOLE]}
# Bandit's tests of which ruff has no rule of the same number: its S603 looks at each call of a
# process (B404 at the import), its S308 at mark_safe (B703, too).
BY_ANOTHER = {"B404": "S603", "B703": "S308"}


def said(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("answer", "answered", "code", "words"),
    [
        (said(CLEAN), {}, 0, "1 dependencies audited, none vulnerable."),
        (said(HOLED), {}, 1, "django 5.2.1: PYSEC-1, fixed in 5.2.2"),
        (said(HOLED), {"PYSEC-1": "We do not use it."}, 0, "none vulnerable"),
        (said(HOLED), {"CVE-2026-1": "We do not use it."}, 0, "none vulnerable"),
        (said(CLEAN), {"PYSEC-1": "We do not use it."}, 1, "found no more: PYSEC-1"),
        (said(CLEAN, UNKNOWN), {}, 1, "did not tell of: django"),
        (said(HOLED, UNKNOWN), {}, 1, "Vulnerable"),
        (said(UNKNOWN), {}, 0, "NOT audited"),
        ("", {}, 0, "NOT audited"),
        ("Traceback", {"PYSEC-1": "We do not use it."}, 0, "NOT audited"),
    ],
)
def test_what_is_found_fails_and_what_cannot_be_known_is_said(
    answer: str, answered: dict[str, str], code: int, words: str
) -> None:
    verdict = judge(answer, answered, is_required=False)
    assert verdict.code == code
    assert words in verdict.said


def test_a_release_needs_an_answer() -> None:
    assert judge("", {}, is_required=True).code == 1
    assert judge(said(CLEAN), {}, is_required=True).code == 0


def test_ruff_looks_at_what_bandit_does_not() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    lint = tools["ruff"]["lint"]
    assert "S" in lint["select"]
    rules = {BY_ANOTHER.get(each, each.replace("B", "S")) for each in tools["bandit"]["skips"]}
    assert not rules & set(lint["ignore"])
    assert all(reason.strip() for reason in tools["audit"]["answered"].values())
