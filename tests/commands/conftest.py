"""Commands, called in this process, with what they wrote and how they exited."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import call_command, load_command_class
from django.core.management.base import CommandError

from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess


@dataclass(frozen=True)
class Ran:
    """What a command answered."""

    code: int
    stdout: str
    error: str

    @property
    def document(self) -> dict[str, Any]:
        """Its one JSON document."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


Run = Callable[..., Ran]


@pytest.fixture
def run() -> Run:
    """Runs a command in this process: `run("grant_credits", "u", "5", "--json")`."""

    def call(name: str, *arguments: str) -> Ran:
        out = io.StringIO()
        try:
            call_command(load_command_class("billing", name), *arguments, stdout=out)
        except CommandError as error:
            return Ran(error.returncode, out.getvalue(), str(error))
        return Ran(0, out.getvalue(), "")

    return call


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A shop in the sandbox whose prices the back office knows."""
    shop = Shop(sandbox)
    shop.deliver()
    return shop
