"""What some tests need and a machine may lack: how it is found, and how to get it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backoffice.postgres import BASE_DIR
from tests.support.environment import child_environment

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STRIPE_CLI_FOLDER = BASE_DIR / ".local" / "stripe-cli"


@dataclass(frozen=True)
class Tool:
    """A program that the tests with one marker need."""

    name: str
    find: Callable[[], str | None]
    advice: str


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome, if one is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def chromium_arguments() -> list[str]:
    """Command line arguments that keep Chromium off the network; as root it has no sandbox."""
    return [*CHROMIUM_ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def find_pgbouncer() -> str | None:
    """The path of pgbouncer; a package puts it where only root looks."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def find_stripe_cli() -> str | None:
    """The path of Stripe's official CLI: where `.ci/run` installs it, else on PATH.

    Other programs are called `stripe`, too, so it must say what it is.
    """
    installed = STRIPE_CLI_FOLDER.glob("node_modules/@stripe/cli-*/bin/stripe")
    candidates = [*map(str, installed), shutil.which("stripe")]
    return next((program for program in candidates if program and _is_stripe_cli(program)), None)


def _is_stripe_cli(program: str) -> bool:
    with tempfile.TemporaryDirectory() as home:
        try:
            said = subprocess.run(
                [program, "--version"],
                env=stripe_cli_environment(Path(home)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return False
    return said.startswith(b"stripe version ")


def stripe_cli_environment(home: Path, **changes: str) -> dict[str, str]:
    """The whole environment of Stripe's CLI: it keeps its files in `home`.

    It looks for updates and counts its use; a proxy that does not exist keeps it on loopback.
    """
    return child_environment(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home),
        HTTP_PROXY="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
        STRIPE_CLI_TELEMETRY_OPTOUT="1",
        **changes,
    )


# By pytest marker. Tests whose tool is missing are left out, and the run says so.
TOOLS = {
    "browser": Tool("Chromium", find_chromium, "apt-get install chromium"),
    "stripe_cli": Tool(
        "Stripe's CLI",
        find_stripe_cli,
        "npm install --prefix .local/stripe-cli @stripe/cli@1.52.0",
    ),
    "jq": Tool("jq", lambda: shutil.which("jq"), "apt-get install jq"),
    "pgbouncer": Tool("pgbouncer", find_pgbouncer, "apt-get install pgbouncer"),
}


def left_out_notice(counts: dict[str, int]) -> str:
    """What the run says of the tests left out, in one line; `counts` are by marker."""
    parts = [
        f"{count} {marker} test{'s' if count > 1 else ''}: {TOOLS[marker].name} was not found"
        f" (to get it: {TOOLS[marker].advice})"
        for marker, count in counts.items()
    ]
    return f"!!! NOT RUN: {'; '.join(parts)} !!!"
