"""What a run says, and how it ends, where a browser or Stripe's CLI is missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from backoffice.postgres import BASE_DIR
from tests.support.environment import child_environment
from tests.support.tools import TOOLS

CONFTEST = """
from pathlib import Path

from tests.support import tools
from tests.support.left_out import LeftOut

tools.STRIPE_CLI_FOLDER = Path("nothing-is-installed-here")

def pytest_configure(config):
    config.pluginmanager.register(LeftOut())
"""
TESTS = """
import pytest

@pytest.mark.browser
@pytest.mark.parametrize("n", [1, 2])
def test_page(n):
    assert n

@pytest.mark.stripe_cli
def test_command():
    assert 2 + 2 == 4

def test_plain():
    assert 1 + 1 == 2
"""
CLI_SAYS = "stripe version 1.52.0"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of one plain test, two that need a browser and one that needs Stripe's CLI."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  browser\n  stripe_cli\n")
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a browser and with Stripe's CLI."""
    folder = tmp_path / "programs"
    folder.mkdir()
    install(folder / "google-chrome", "")
    install(folder / "stripe", CLI_SAYS)
    return folder


def install(program: Path, says: str) -> None:
    """Make a program that prints a line."""
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)


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
    assert "1 stripe_cli test: Stripe's CLI was not found" in lines[-1]
    assert TOOLS["stripe_cli"].advice in lines[-1]


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)], ids=["alone", "workers"])
def test_it_is_a_failure_where_everything_must_run(suite: Path, options: tuple[str, ...]) -> None:
    code, lines = run(suite, *options, BACKOFFICE_TEST_EVERYTHING="1")
    assert code == 1
    assert "NOT RUN" in lines[-1]


def test_another_program_called_stripe_is_not_taken_for_the_cli(
    suite: Path, programs: Path
) -> None:
    install(programs / "stripe", "stripe 0.7, paints stripes")
    code, lines = run(suite, path=programs)
    assert code == 0
    assert lines[-1].startswith("!!! NOT RUN: 1 stripe_cli test: Stripe's CLI was not found")


def test_ci_installs_the_cli_that_the_advice_names() -> None:
    wanted = TOOLS["stripe_cli"].advice.removeprefix("npm install ")
    assert re.search(r"--prefix \S+ @stripe/cli@\d+\.\d+\.\d+$", wanted)
    assert wanted in (BASE_DIR / ".ci" / "run").read_text()


def test_nothing_is_left_out_where_all_tools_are_found_and_browser_tests_come_last(
    suite: Path, programs: Path
) -> None:
    code, lines = run(suite, "-v", path=programs, BACKOFFICE_TEST_EVERYTHING="1")
    assert code == 0
    assert "4 passed" in lines[-1]
    ran = [line.split("::")[1].split()[0] for line in lines if "PASSED" in line]
    assert ran == ["test_command", "test_plain", "test_page[1]", "test_page[2]"]
