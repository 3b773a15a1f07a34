"""deploy/: its files say the same, and what they do works in a clean folder."""

import os
import pwd
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from backoffice.postgres import BASE_DIR
from billing.management.commands.run_worker import STOP_WITHIN
from tests.support.databases import Database

DEPLOY = BASE_DIR / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
WEB = ["gunicorn", "--config", "deploy/gunicorn.conf.py", "backoffice.wsgi"]
WORKER = ["python", "manage.py", "run_worker"]
MIGRATE = ["python", "manage.py", "migrate"]


class Unit(RawConfigParser):
    """A systemd unit; of an option that is given twice, which ours do not, this would raise."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(path: Path) -> Unit:
    parsed = Unit(interpolation=None, delimiters="=")
    parsed.read(path)
    return parsed


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with the lines that they go on over."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]  # type: ignore[misc]


def test_dockerfile_compose_file_and_units_start_the_same() -> None:
    said = dict(instructions())  # the last one of each
    assert yaml.safe_load(said["CMD"]) == WEB
    services = COMPOSE["services"]
    assert services["worker"]["command"] == WORKER
    assert services["migrate"]["command"] == MIGRATE
    assert "command" not in services["web"]
    started = {path.name: unit(path)["Service"]["ExecStart"].split() for path in UNITS}
    bin_ = "/opt/billing/.venv/bin/"
    assert started == {
        "billing-migrate.service": [bin_ + MIGRATE[0], *MIGRATE[1:]],
        "billing-web.service": [bin_ + WEB[0], *WEB[1:]],
        "billing-worker@.service": [bin_ + WORKER[0], *WORKER[1:]],
    }


def test_the_image_is_built_by_what_is_tried_below() -> None:
    """Whatever else is done to the checkout would not be tried."""
    run = [rest for name, rest in instructions() if name == "RUN"]
    installing = [each for each in run if each.startswith("deploy/install.sh")]
    assert installing == ["deploy/install.sh packages /venv", "deploy/install.sh static /venv"]
    assert [each.split()[0] for each in run if each not in installing] == ["useradd"]
    assert [rest for name, rest in instructions() if name == "USER"] == ["10001"]
    assert any(name == "HEALTHCHECK" and "/readyz/web" in rest for name, rest in instructions())
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [BASE_DIR / line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert all(path.exists() for path in kept)
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY"]
    files = [name for names in copied for name in names if not name.startswith(("-", "/"))]
    assert all((BASE_DIR / name).exists() for name in files)


def test_threads_share_what_they_have_freed() -> None:
    """glibc gives up to eight arenas to each core, and memory seldom leaves one for another."""
    [image] = [rest for name, rest in instructions() if name == "ENV"]
    units = [unit(path)["Service"]["Environment"] for path in UNITS if "migrate" not in path.name]
    assert len(units) == 2
    assert all("MALLOC_ARENA_MAX=2" in each.split() for each in (image, *units))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_may_do_as_little_as_it_needs(path: Path) -> None:
    service = unit(path)["Service"]
    for name in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateDevices",
        "PrivateTmp",
        "ProtectKernelModules",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
    ):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["User"] == "billing"
    assert service["CapabilityBoundingSet"] == ""
    assert set(unit(path).sections()) <= {"Unit", "Service", "Install"}


def test_whoever_stops_it_waits_longer_than_it_takes() -> None:
    graceful = int(re.findall(r"^graceful_timeout = (\d+)", gunicorn(), re.MULTILINE)[0])
    longest = max(graceful, STOP_WITHIN)
    for path in UNITS[1:]:
        assert int(unit(path)["Service"]["TimeoutStopSec"]) > longest
    for name in ("web", "worker"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) > longest


def gunicorn() -> str:
    return (DEPLOY / "gunicorn.conf.py").read_text()


def test_the_compose_file_keeps_secrets_out_and_the_doors_shut() -> None:
    services = COMPOSE["services"]
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    for name in ("web", "worker", "migrate"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert "SECRET" not in str(services[name]["environment"])
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
        for needed in service.get("depends_on", {}):
            assert needed in services
    assert services["migrate"]["restart"] == "no"


def test_only_what_runs_is_installed() -> None:
    """Every package comes with its hashes, and none is there for developers alone."""
    printed = subprocess.run(
        [sys.executable, DEPLOY / "runtime_requirements.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = re.findall(r"^([a-z0-9-]+)==", printed, re.MULTILINE)
    assert {"django", "psycopg-binary", "gunicorn", "prometheus-client"} <= set(names)
    assert not {"pytest", "mypy", "playwright", "ruff", "pyyaml"} & set(names)
    blocks = re.split(r"^(?=[a-z0-9])", printed, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


def can_run(python: str, user: str) -> bool:
    """Whether this user may run it, and it takes the packages that are installed here."""
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        said = subprocess.run(
            [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"],
            user=user,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return said.stdout.strip() == wanted


@pytest.mark.long
def test_it_is_installed_in_a_clean_folder_as_another_user_and_works(
    real_database: Database,
) -> None:
    """Whose user has no rights here, where there is one whom this may be run as."""
    own = Path(yaml.__file__).parent.parent
    options: list[str] = []
    python = sys.executable
    if os.geteuid() == 0:
        for candidate in (sys.executable, "/usr/bin/python3"):
            if can_run(candidate, user="postgres" if has("postgres") else "nobody"):
                python = candidate
                options = ["--user", "postgres" if has("postgres") else "nobody"]
                break
        else:
            options = ["--user", "root"]
    done = subprocess.run(
        [sys.executable, DEPLOY / "check.py", "--packages", own, *options],
        env={**os.environ, "DATABASE_URL": real_database.url, "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it is processed" in done.stdout
    assert done.stdout.endswith("All of it works.\n")


def has(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
