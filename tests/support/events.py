"""Events of the sandbox, brought to the inbox as a webhook would bring them."""

import json
from collections.abc import Iterable
from typing import Any

from billing.ingress import inbox, worker
from tests.sandbox.server import SandboxProcess

Event = dict[str, Any]


def events_of(sandbox: SandboxProcess) -> list[Event]:
    """Every event that the sandbox has made, in the order in which it made them."""
    events: list[Event] = []
    after: dict[str, str] = {}
    while True:
        page = sandbox.get("/v1/events", limit=100, **after).json()
        events += page["data"]
        if not page["has_more"]:
            return events[::-1]
        after = {"starting_after": events[-1]["id"]}


def deliver(events: Iterable[Event]) -> None:
    """Puts the events into the inbox, in this order."""
    inbox.receive([inbox.parse(json.dumps(event).encode()) for event in events])


def deliver_and_drain(events: Iterable[Event]) -> worker.Tally:
    """Delivers and processes; returns what became of them."""
    deliver(events)
    return worker.drain()
