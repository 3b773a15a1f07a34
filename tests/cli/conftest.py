"""A sandbox that sends its events to a webhook, and Stripe's CLI to drive it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.cli.stripe_cli import StripeCli
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.tools import find_stripe_cli
from tests.support.waiting import wait_until


@dataclass
class Hooked:
    """A sandbox whose events all go to `receiver`, signed with `secret`."""

    sandbox: SandboxProcess
    socket: Path
    receiver: Receiver
    endpoint: str
    secret: str
    seen: str | None = None

    def news(self) -> list[Any]:
        """The events since the last call, oldest first."""
        told: list[Any] = []
        while True:
            since = {"ending_before": self.seen} if self.seen else {}
            page = self.sandbox.get("/v1/events", limit=100, **since).json()
            if page["data"]:
                self.seen = page["data"][0]["id"]
            told += reversed(page["data"])
            if not page["has_more"]:
                return told

    def deliveries(self, event: str) -> int:
        """How many valid webhooks brought the event with this id."""
        signed = [one for one in list(self.receiver.received) if one.event["id"] == event]
        for one in signed:
            stripe.Webhook.construct_event(one.body, one.signature, self.secret)
        return len(signed)

    def wait_for_delivery(self) -> None:
        """Returns once every event so far was delivered and answered with 200."""
        wait_until(self._all_delivered, seconds=60)

    def _all_delivered(self) -> bool:
        undelivered = self.sandbox.get("/v1/events", delivery_success="false", limit=1).json()
        return undelivered["data"] == []


@pytest.fixture(scope="module")
def hooked() -> Iterator[Hooked]:
    # A Unix socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="cli-", dir="/tmp") as folder, Receiver() as receiver:
        socket = Path(folder) / "api.sock"
        options = ["--retry-schedule", "", "--delivery-timeout", "60", "--unix-socket", str(socket)]
        with run_sandbox(Path(folder) / "stripe.db", extra_args=options) as sandbox:
            made = sandbox.stripe.v1.webhook_endpoints.create(
                {"url": receiver.url, "enabled_events": ["*"]}
            )
            yield Hooked(sandbox, socket, receiver, made.id, str(made.secret))


@pytest.fixture(scope="module")
def cli(hooked: Hooked, tmp_path_factory: pytest.TempPathFactory) -> StripeCli:
    program = find_stripe_cli()
    assert program is not None
    return StripeCli(program, tmp_path_factory.mktemp("home"), hooked.sandbox.url)
