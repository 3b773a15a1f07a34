"""No kind of finding without a test that plants its cause, and no fix that cannot be run."""

import ast
from pathlib import Path

import pytest

from billing.admin import operations
from billing.diagnosis.kinds import Kind
from billing.diagnosis.runbook import SCRIPTS
from billing.management.command_lines import COMMANDS
from billing.operations.registry import BY_NAME

HERE = Path(__file__).parent
DIAGNOSIS = HERE.parent.parent / "billing" / "diagnosis"
PLANTED = "\n".join(path.read_text() for path in HERE.parent.glob("*/test_*_findings.py"))


def recommended() -> set[str]:
    """The operations that checks name, in a fix or as what a function of theirs returns."""
    files = [*(DIAGNOSIS / "checks").glob("*.py"), DIAGNOSIS / "causes.py", DIAGNOSIS / "lookup.py"]
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            is_fix = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Fix"
            if is_fix or isinstance(node, ast.Return):
                names |= {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
    return {str(name) for name in names} & set(BY_NAME)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_its_cause_is_planted(kind: Kind) -> None:
    assert f"Kind.{kind.name}" in PLANTED or f'"{kind.value}"' in PLANTED


def test_every_fix_has_a_page_and_a_command() -> None:
    names = recommended()
    assert {"sync_from_stripe", "replay_events", "void_invoice"} <= names
    assert names <= {page.operation.name for page in operations.ALL}
    assert names <= set(COMMANDS)


def test_scripts_ask_about_each_kind_once() -> None:
    for script in SCRIPTS:
        assert len(set(script.kinds)) == len(script.kinds), script.slug
