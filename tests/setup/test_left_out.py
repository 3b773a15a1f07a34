"""What a run says, and how it ends, where a browser is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from backoffice.postgres import BASE_DIR
from tests.support.environment import child_environment

CONFTEST = """
from tests.support.left_out import LeftOut

def pytest_configure(config):
    config.pluginmanager.register(LeftOut())
"""
TESTS = """
import pytest

@pytest.mark.browser
@pytest.mark.parametrize("n", [1, 2])
def test_page(n):
    assert n

def test_plain():
    assert 1 + 1 == 2
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of one plain test and two that need a browser."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    return tmp_path


def run(
    suite: Path, *options: str, path: Path | None = None, **environment: str
) -> tuple[int, list[str]]:
    """Run the suite with the programs in `path` alone: the exit code, the lines."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:django", *options],
        cwd=suite,
        env=child_environment(PYTHONPATH=str(BASE_DIR), PATH=str(path or suite), **environment),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)], ids=["alone", "workers"])
def test_the_last_line_says_what_was_not_run_and_how_to_get_it(
    suite: Path, options: tuple[str, ...]
) -> None:
    code, lines = run(suite, *options)
    assert code == 0
    assert "1 passed" in lines[-2]
    assert lines[-1].startswith("!!! NOT RUN: 2 browser tests")
    assert "apt-get install chromium" in lines[-1]


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)], ids=["alone", "workers"])
def test_it_is_a_failure_where_everything_must_run(suite: Path, options: tuple[str, ...]) -> None:
    code, lines = run(suite, *options, BACKOFFICE_TEST_EVERYTHING="1")
    assert code == 1
    assert "NOT RUN" in lines[-1]


def test_nothing_is_left_out_where_a_browser_is_found_and_browser_tests_come_last(
    suite: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "google-chrome").write_text("#!/bin/sh\n")
    (programs / "google-chrome").chmod(0o755)
    code, lines = run(suite, "-v", path=programs, BACKOFFICE_TEST_EVERYTHING="1")
    assert code == 0
    assert "3 passed" in lines[-1]
    ran = [line.split("::")[1].split()[0] for line in lines if "PASSED" in line]
    assert ran == ["test_plain", "test_page[1]", "test_page[2]"]
