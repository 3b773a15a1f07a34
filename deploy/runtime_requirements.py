"""Prints that part of requirements.txt which the running product needs, hashes included.

The lock has the tools of development, too. It says of each package by whom it is needed, so what
the product needs follows from the dependencies in pyproject.toml, and no second lock can differ.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "billing-back-office"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.split("[")[0].strip().lower())


def locked(text: str) -> dict[str, tuple[str, set[str]]]:
    """By package: its lines in the lock, and the packages that need it."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    found = {}
    for block in blocks:
        lines, _, via = block.partition("    # via")
        needing = {normal(name) for name in re.findall(r"[A-Za-z0-9][\w.-]*", via)}
        found[normal(block.split("==")[0])] = (lines, needing)
    return found


def needed(lock: dict[str, tuple[str, set[str]]], roots: set[str]) -> set[str]:
    """The roots, and what they need, and what that needs."""
    kept = set(roots)
    while more := {name for name, (_, by) in lock.items() if by & kept} - kept:
        kept |= more
    return kept


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = {normal(re.split(r"[<>=!~; ]", each)[0]) for each in project["dependencies"]}
    lock = locked((ROOT / "requirements.txt").read_text())
    if missing := roots - set(lock):
        raise SystemExit(f"requirements.txt lacks {', '.join(sorted(missing))}: make it anew.")
    sys.stdout.writelines(lock[name][0] for name in sorted(needed(lock, roots)))


if __name__ == "__main__":
    main()
