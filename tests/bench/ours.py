"""What the back office does, measured; run by tests.bench.child."""

import contextlib
import io
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.urls import reverse

from billing.ingress import inbox
from billing.projection.bulk import sync_everything
from tests.bench.measure import measured

ACTOR = "benchmark"
BEFORE_EVENTS = ("product", "price", "customer")


def prepare() -> None:
    """Who buys and what is sold, as a back office knows them before the events come."""
    sync_everything(actor=ACTOR, kinds=lambda kind: kind in BEFORE_EVENTS)


def register_webhook(secret: str) -> dict[str, str]:
    """Nothing needs to be registered; returns the webhook's path."""
    prepare()
    return {"path": reverse("stripe-webhook")}


def process(events: str) -> dict[str, Any]:
    """Brings the events of a file of JSON lines to the inbox, then processes them."""
    prepare()
    with Path(events).open("rb") as bodies:
        while some := [inbox.parse(body) for body in islice(bodies, 1000)]:
            inbox.receive(some)
    said, progress = io.StringIO(), io.StringIO()
    # It exits with 1 where events failed; they are counted.
    with measured() as work, contextlib.suppress(SystemExit):
        call_command("process_inbox", "--drain", "--json", stdout=said, stderr=progress)
    tally = json.loads(said.getvalue())
    work.items = tally["total"]
    work.failures = sum(tally["by_status"].get(status, 0) for status in ("failed", "dead"))
    return asdict(work)


def sync(kinds: list[str]) -> dict[str, Any]:
    """Brings in all objects of these kinds, after what they refer to; figures by kind."""
    sync_everything(actor=ACTOR, kinds=lambda kind: kind in ("product", "price"))
    figures = {}
    for wanted in kinds:
        with measured() as work:
            report = sync_everything(actor=ACTOR, kinds=lambda kind, wanted=wanted: kind == wanted)
            work.items = report.read[wanted]
        figures[wanted] = asdict(work)
    return figures
