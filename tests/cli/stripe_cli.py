"""Stripe's official CLI, run against a sandbox."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sandbox.server import API_KEY
from tests.support.tools import stripe_cli_environment

PATIENCE = 120
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class StripeCli:
    """The CLI `program` with a home of its own, talking to the sandbox at `api_base`."""

    program: str
    home: Path
    api_base: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs one command, answering yes if it asks."""
        return subprocess.run(
            [self.program, *arguments, "--api-base", self.api_base],
            env=stripe_cli_environment(self.home, STRIPE_API_KEY=API_KEY),
            input="yes\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def answer(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout[done.stdout.index("{") :])

    def __call__(self, *arguments: str) -> Any:
        """The object or list that a command prints; it must not be an error."""
        answer = self.answer(*arguments)
        assert "error" not in answer, answer
        return answer

    def ids(self, *arguments: str) -> list[str]:
        """The ids of what a command lists."""
        return [listed["id"] for listed in self(*arguments)["data"]]
