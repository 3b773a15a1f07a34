"""The shape of the house (DESIGN.md): imports run one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "billing"

# Lower layers first; a module imports its own layer and lower ones. Modules of one layer
# that must not know each other stand apart by name.
LAYERS = (
    (
        *("models", "formatting", "permissions", "database", "privacy", "signed_links"),
        *("log_context", "tracing", "rate_limits", "resumable", "addresses"),
    ),
    ("access",),
    ("gateway",),
    ("mirror",),
    ("projection",),
    ("ingress",),
    ("diagnosis", "revenue"),
    ("incidents",),
    ("operations",),
    ("adoption",),
    ("reconciliation",),
    ("recovery",),
    ("alerts",),
    ("smoke", "observing", "roles"),
    ("admin", "management", "selfservice", "tasks", "apps"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def layer(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "billing" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        target = layer(name)
        if target is not None:
            assert target in LEVEL, f"{target} has no layer: add it to LAYERS"
            assert LEVEL[target] <= LEVEL[own], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_billing_knows_nothing_of_the_sandbox(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith("backoffice")]


@pytest.mark.parametrize(
    "path", list((ROOT / "backoffice" / "sandbox").rglob("*.py")), ids=lambda p: p.name
)
def test_the_sandbox_stands_alone(path: Path) -> None:
    foreign = ("billing", "django", "djstripe", "backoffice.settings")
    assert not [name for name in imported(path) if name.startswith(foreign)]


def test_only_the_gateway_talks_to_stripe() -> None:
    for path in modules():
        if path.relative_to(PACKAGE).parts[0] != "gateway":
            assert "stripe" not in imported(path), path


def test_nobody_is_led_elsewhere_by_an_answer() -> None:
    """httpx follows no redirect unless it is told to."""
    for path in modules():
        assert "follow_redirects" not in path.read_text(), path
