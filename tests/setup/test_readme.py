"""What the README says there is: each line of the runbook, pages, commands, tests, pictures."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.management import get_commands

from backoffice.postgres import BASE_DIR
from backoffice.sidebar import SIDEBAR
from billing.admin import operations

README = (BASE_DIR / "README.md").read_text()
# How many lines of the runbook each chapter has.
LINES = {"W": 12, "F": 9, "S": 7, "C": 10, "R": 4, "P": 3, "E": 9, "D": 9}
ROW = re.compile(
    r"^\| ([WFSCRPED]\d+) ([^|]+) \| ([^|]+) \| ([^|]+) \| `([\w/]+\.py)::(\w+)` \|$", re.MULTILINE
)
PAGES = re.compile(r"\*{1,2}([A-Z][^*]+)\*{1,2}")
COMMANDS = re.compile(r"`([a-z]+(?:_[a-z]+)*)(?: [^`]*)?`")
THE_RUNBOOKS_OWN = "the runbook's quer"  # what it says still works, and is no command of ours


@dataclass(frozen=True)
class Row:
    """A row of the table: a line of the runbook, where it lives now, and what proves it."""

    line: str
    what: str
    page: str
    command: str
    file: str
    test: str


ROWS = [Row(*found) for found in ROW.findall(README)]


def every_line() -> set[str]:
    return {f"{letter}{n}" for letter, count in LINES.items() for n in range(1, count + 1)}


def test_each_line_of_the_runbook_has_its_row() -> None:
    told = Counter(row.line for row in ROWS)
    assert told.keys() == every_line()
    assert set(told.values()) == {1}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line)
def test_its_pages_and_buttons_exist(row: Row) -> None:
    titles = {page.title for page in operations.ALL}
    titles |= {entry["title"] for group in SIDEBAR["navigation"] for entry in group["items"]}
    named = PAGES.findall(row.page)
    assert named or "every page" in row.page, row.page
    assert [name for name in named if not any(title.startswith(name) for title in titles)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line)
def test_its_command_exists(row: Row) -> None:
    named = set(COMMANDS.findall(row.command))
    assert named or THE_RUNBOOKS_OWN in row.command, row.command
    assert named <= set(get_commands())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.line)
def test_what_proves_it_exists(row: Row) -> None:
    code = (BASE_DIR / "tests" / row.file).read_text()
    assert re.search(rf"^(async )?def {row.test}\(", code, re.MULTILINE), row.test


def test_the_commands_that_it_names_exist() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", README))
    assert len(named) > 25
    assert named <= set(get_commands())


def test_the_pictures_that_it_shows_exist() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(shown) >= 6
    for name in shown:
        assert Path(BASE_DIR, name).stat().st_size > 1_000, name
