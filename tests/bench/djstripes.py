"""What dj-stripe does by itself, measured; run by tests.bench.child.

What it finds in its tables beforehand is written by our mirror, whose rows equal those
that its own sync writes.
"""

import contextlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.urls import reverse
from djstripe.models import Account, APIKey, Event, WebhookEndpoint

from billing.projection.bulk import sync_everything
from tests.bench import ours
from tests.bench.measure import measured

MODELS = {"customer": "Customer", "subscription": "Subscription", "invoice": "Invoice"}


def prepare() -> None:
    """The same beginning as ours, and the key, which dj-stripe would look up on first use."""
    ours.prepare()
    key, _ = APIKey.objects.get_or_create_by_api_key(settings.STRIPE_SECRET_KEY)
    key.refresh_account()


def register_webhook(secret: str) -> dict[str, str]:
    """An endpoint of dj-stripe's; returns its path."""
    prepare()
    endpoint = WebhookEndpoint.objects.create(
        id="we_bench",
        djstripe_owner_account=Account.objects.get(),
        livemode=False,
        secret=secret,
        enabled_events=["*"],
        status="enabled",
        url="https://billing.example.com/",
    )
    uuid = {"uuid": endpoint.djstripe_uuid}
    return {"path": reverse("djstripe:djstripe_webhook_by_uuid", kwargs=uuid)}


def process(events: str) -> dict[str, Any]:
    """Processes the events of a file of JSON lines, as its webhook does."""
    prepare()
    bodies = [json.loads(line) for line in Path(events).read_bytes().splitlines()]
    with measured() as work:
        for body in bodies:
            work.items += 1
            try:
                Event.process(body)
            except Exception as error:
                print(f"dj-stripe: {body['type']} {body['id']}: {error!r}")  # noqa: T201
                work.failures += 1
    return asdict(work)


def sync(kinds: list[str], most: int) -> dict[str, Any]:
    """Its own command for each kind, stopped after `most` objects; figures by kind."""
    prepare_for = ("product", "price")
    sync_everything(actor=ours.ACTOR, kinds=lambda kind: kind in prepare_for)
    APIKey.objects.get_or_create_by_api_key(settings.STRIPE_SECRET_KEY)[0].refresh_account()
    figures = {}
    for wanted in kinds:
        with measured() as work:
            said = Counted(most)
            with contextlib.suppress(KeyboardInterrupt):  # dj-stripe passes on nothing else
                call_command("djstripe_sync_models", MODELS[wanted], stdout=said, stderr=said)
            work.items, work.failures = said.synced, said.failed
        figures[wanted] = asdict(work)
        sync_everything(actor=ours.ACTOR, kinds=lambda kind, wanted=wanted: kind == wanted)
    return figures


class Counted(io.TextIOBase):
    """Counts the objects that `djstripe_sync_models` names, and ends it after so many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.synced = 0
        self.failed = 0

    def write(self, text: str) -> int:
        self.synced += text.startswith("  id=")
        if "Error" in text:
            self.failed += 1
            print(text)  # noqa: T201
        if self.synced >= self.most:
            raise KeyboardInterrupt
        return len(text)
