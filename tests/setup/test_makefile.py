"""What `make` says on a machine that cannot run the project yet."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backoffice.postgres import BASE_DIR
from tests.support.environment import child_environment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing was installed."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(BASE_DIR / name, tmp_path)
    return tmp_path


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_target_it_says_what_there_is(checkout: Path) -> None:
    said = make(checkout).stdout
    for target in ("demo", "demo-reset", "install", "test", "bench"):
        assert f"make {target} " in said


def test_an_old_python_is_refused_in_one_sentence(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(checkout, "install", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stderr.startswith("Python 3.11 or newer was not found")
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_refused_in_one_sentence(checkout: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    bare.chmod(0o755)
    done = make(checkout, "install", f"PYTHON={bare}")
    assert done.returncode != 0
    assert "cannot make virtual environments" in done.stderr
    assert "python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_everything_is_installed_by_hash_and_only_once(checkout: Path) -> None:
    planned = make(checkout, "--dry-run", "install").stdout
    assert "--require-hashes" in planned
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    assert "pip" not in make(checkout, "--dry-run", "install").stdout
