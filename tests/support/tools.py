"""What some tests need and a machine may lack: how it is found, and how to get it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


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


# By pytest marker. Tests whose tool is missing are left out, and the run says so.
TOOLS = {
    "browser": Tool("Chromium", find_chromium, "apt-get install chromium"),
}


def left_out_notice(counts: dict[str, int]) -> str:
    """What the run says of the tests left out, in one line; `counts` are by marker."""
    parts = [
        f"{count} {marker} test{'s' if count > 1 else ''}: {TOOLS[marker].name} was not found"
        f" (to get it: {TOOLS[marker].advice})"
        for marker, count in counts.items()
    ]
    return f"!!! NOT RUN: {'; '.join(parts)} !!!"
