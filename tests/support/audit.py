"""Whether a dependency has a known vulnerability: `python -m tests.support.audit`.

pip-audit asks a service for each package of requirements.txt. Where that service cannot be reached,
nothing is known and that is said; AUDIT=required makes it an error, for releases. What is found
fails, unless pyproject.toml answers it ([tool.audit.answered]: id and reason).
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (
    *("-m", "pip_audit", "--requirement", "requirements.txt", "--require-hashes", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "5"),
)
LONGEST = 300  # seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said, and the exit code: 0 is clean, 1 is not."""

    said: str
    code: int


def main() -> int:
    answered = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["audit"]["answered"]
    verdict = judge(ask(), answered, is_required=os.environ.get("AUDIT") == "required")
    print(verdict.said, file=sys.stderr if verdict.code else sys.stdout)
    return verdict.code


def ask() -> str:
    """What pip-audit says, as JSON; '' where it did not come to its end."""
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def judge(said: str, answered: Mapping[str, str], *, is_required: bool) -> Verdict:
    """What follows from pip-audit's answer."""
    try:
        packages: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        packages = []
    known = [package for package in packages if "vulns" in package]
    found = {
        name: f"{package['name']} {package['version']}: {each['id']},"
        f" fixed in {', '.join(each.get('fix_versions') or ['no version yet'])}"
        for package in known
        for each in package["vulns"]
        for name in [named(each, answered)]
    }
    if wrong := [text for name, text in found.items() if name not in answered]:
        return Verdict(
            "Vulnerable dependencies: raise their versions in requirements.txt, or answer them in"
            " pyproject.toml ([tool.audit.answered]).\n" + "\n".join(wrong),
            1,
        )
    if not known:
        return Verdict(
            "Dependencies were NOT audited: the vulnerability service cannot be reached from here."
            " Run `make audit` where it can.",
            int(is_required),
        )
    if skipped := [package["name"] for package in packages if "vulns" not in package]:
        return Verdict(f"The service does not know, or did not tell of: {', '.join(skipped)}.", 1)
    if stale := sorted(set(answered) - set(found)):
        return Verdict(f"Answered in pyproject.toml and found no more: {', '.join(stale)}.", 1)
    return Verdict(f"{len(known)} dependencies audited, none vulnerable.", 0)


def named(each: Mapping[str, Any], answered: Mapping[str, str]) -> str:
    """The name by which a vulnerability is answered: its id, or one of its others."""
    names = [str(each["id"]), *map(str, each.get("aliases", []))]
    return next((name for name in names if name in answered), names[0])


if __name__ == "__main__":
    sys.exit(main())
