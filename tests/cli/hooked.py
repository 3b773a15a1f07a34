"""A sandbox with a webhook, and what came there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stripe

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess
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
        return not undelivered["data"]
