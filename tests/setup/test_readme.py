"""What the README says there is: each line of the runbook, each page and command by its name."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.core.management import get_commands

from backoffice.postgres import BASE_DIR
from backoffice.sidebar import SIDEBAR
from billing.admin import operations

README = (BASE_DIR / "README.md").read_text()
# How many lines of the runbook each chapter has.
LINES = {"W": 12, "F": 9, "S": 7, "C": 10, "R": 4, "P": 3, "E": 9, "D": 9}
ROW = re.compile(r"^\| ([A-Z])(\d+)(?:–[A-Z]?(\d+))? (.*?) \| (.*?) \|(.*)\|$", re.MULTILINE)
PAGES = re.compile(r"\*{1,2}([A-Z][^*]+)\*{1,2}")
COMMANDS = re.compile(r"`([a-z]+(?:_[a-z]+)*)(?: [^`]*)?`")
NO_COMMANDS = {"active", "canceled", "deleted", "op", "dispute"}


def rows() -> Iterator[tuple[list[str], str, str]]:
    """The lines that a row of the table speaks of, its state, and where they live."""
    for letter, first, last, _, state, where in ROW.findall(README):
        numbers = range(int(first), int(last or first) + 1)
        yield [f"{letter}{number}" for number in numbers], state, where.strip()


def test_each_line_of_the_runbook_has_its_place() -> None:
    told = Counter(line for lines, _, _ in rows() for line in lines)
    every = {f"{letter}{n}" for letter, count in LINES.items() for n in range(1, count + 1)}
    assert told.keys() == every
    assert set(told.values()) == {1}
    for lines, state, where in rows():
        assert state in ("done", "in part", "to come"), lines
        assert where or state == "to come", lines


def test_the_pages_that_it_names_exist() -> None:
    titles = {page.title for page in operations.ALL}
    titles |= {entry["title"] for group in SIDEBAR["navigation"] for entry in group["items"]}
    named = {name for _, _, where in rows() for name in PAGES.findall(where)}
    assert len(named) > 20
    assert [name for name in named if not any(title.startswith(name) for title in titles)] == []


def test_the_commands_that_it_names_exist() -> None:
    named = {name for _, _, where in rows() for name in COMMANDS.findall(where)}
    named |= set(re.findall(r"manage\.py ([a-z_]+)", README))
    assert len(named) > 25
    assert named - {"checkout.session.completed"} <= set(get_commands()) | NO_COMMANDS


def test_the_pictures_that_it_shows_exist() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(shown) >= 6
    for name in shown:
        assert Path(BASE_DIR, name).stat().st_size > 1_000, name
