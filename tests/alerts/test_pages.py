"""At 3 a.m.: one click from an alert's message to a page that says what to do, for every rule."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import get_commands
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing.alerts import heartbeat, state
from billing.alerts.firing import Look, Rule
from billing.alerts.rules import ALL, UNCHECKED, look_at_one, names
from billing.alerts.telling import Words
from billing.models import Alert, AlertMessage, Backup, ExportProgress, WatchedRule
from tests.admin import rows
from tests.admin.conftest import log_in_as
from tests.alerts.looking import MINUTE, NOON, outcome
from tests.operations.shop import Shop, past_triggers
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
COMMAND = re.compile(r"manage\.py ([a-z_]+)")
# The buttons, or actions of a list, that the words of these rules name.
BUTTONS = {
    "failing": ("Replay event",),
    "backlog": ("Replay event",),
    "findings": ("Fix",),
    "reconciliation": ("Start daily run",),
}


class Causes:
    """What makes each rule fire, by its name; the time to look at, where it is not now."""

    def __init__(self, settings: Settings, sandbox: Callable[[], SandboxProcess], folder: Path):
        self.settings, self.sandbox, self.folder = settings, sandbox, folder

    def quiet(self) -> datetime:
        hour = NOON.replace(minute=0)
        times = [hour - timedelta(days=day) + n * 5 * MINUTE for day in range(1, 15)
                 for n in range(-1, 12)]  # fmt: skip
        for number, at in enumerate([*times, hour]):
            rows.inbox_event(f"evt_{number}", received_at=at, status="processed")
        return NOON

    def refused(self) -> None:
        rows.rejection(count=20)

    def failing(self) -> None:
        for number in range(5):
            rows.inbox_event(f"evt_{number}")

    def backlog(self) -> None:
        for status in ("pending", "failed", "dead"):
            long_ago = timezone.now() - 2 * HOUR
            rows.inbox_event(f"evt_{status}", status=status, received_at=long_ago)

    def payloads(self) -> None:
        rows.inbox_event(
            "evt_old", status="processed", received_at=timezone.now() - 420 * 24 * HOUR
        )

    def findings(self) -> None:
        rows.finding()
        rows.finding("cs_2", severity="money", rank=1)

    def ledger(self) -> None:
        rows.grant("u_ada", 50)
        past_triggers("UPDATE lead_credits SET balance = 99 WHERE user_id = 'u_ada'")

    def reconciliation(self) -> None:
        long_ago = timezone.now() - 27 * HOUR
        rows.run(started_at=long_ago, finished_at=long_ago)
        rows.run(kind="weekly", status="failed", error="Stripe's list broke off.")

    def workers(self) -> None:
        """There is none."""

    def stripe_silent(self) -> None:
        since = (timezone.now() - HOUR).isoformat()
        memory = {"since": since, "error": "It could not be reached."}
        WatchedRule.objects.create(rule="stripe_silent", memory=memory)

    def endpoint(self) -> None:
        self.settings.STRIPE_SECRET_KEY = ""
        self.settings.STRIPE_WEBHOOK_SECRETS = []

    def undelivered(self) -> datetime:
        sandbox = self.sandbox()
        address = "http://127.0.0.1:9/webhooks/stripe"  # where nobody listens
        sandbox.stripe.v1.webhook_endpoints.create({"url": address, "enabled_events": ["*"]})
        Shop(sandbox).buy()
        return timezone.now() + 7 * MINUTE

    def heartbeat_failed(self) -> None:
        self.settings.HEARTBEAT_URL = "http://127.0.0.1:9/"
        heartbeat.remember("it answered 500.")

    def backup(self) -> None:
        self.settings.BACKUP_FOLDER = str(self.folder)
        taken = timezone.now() - 30 * HOUR
        Backup.objects.create(
            name="old", taken_at=taken, actor="worker", location="/", size=1, seconds=1,
            verified_at=taken,
        )  # fmt: skip

    def export(self) -> None:
        self.settings.EXPORT_URL = self.folder.as_uri()
        ExportProgress.objects.create(stream="audit", exported_at=timezone.now() - HOUR)


@pytest.fixture
def causes(settings: Settings, request: pytest.FixtureRequest, tmp_path: Path) -> Causes:
    return Causes(settings, lambda: request.getfixturevalue("sandbox"), tmp_path)


def seen(page: str) -> str:
    """What a person reads on a page, its actions included."""
    without = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without)).split())


def lead_in(client: Client, alert: Alert) -> str:
    """The page behind the address of the alert's message, followed once."""
    message = AlertMessage(alert=alert, occasion="opened", way="email")
    response = client.get(Words.of(message).url.removeprefix(configured.PUBLIC_URL))
    assert response.status_code == 200, (alert.title, response.get("Location"))
    return seen(response.content.decode())


@pytest.mark.parametrize("name", names(ALL))
def test_its_page_has_what_its_words_name(name: str, causes: Causes) -> None:
    at: datetime | None = getattr(causes, name)()
    found = outcome(name, at)
    assert found.firings
    state.keep([found], timezone.now())
    engineer = log_in_as("engineer")
    for alert in Alert.objects.all():
        page = lead_in(engineer, alert)
        commands = COMMAND.findall(alert.detail)
        assert commands or alert.title in page, alert.title
        for command in commands:
            assert command in get_commands()
            assert f"manage.py {command}" in page, alert.title
        for button in BUTTONS.get(name, ()):
            assert button in page, alert.title


def test_a_rule_that_fails_leads_to_where_its_error_is_said() -> None:
    def fail(look: Look) -> Any:
        raise RuntimeError("It is broken")

    broken = look_at_one(Rule("broken", fail), Look(timezone.now()))
    assert broken.firings[0].key == UNCHECKED
    state.keep([broken], timezone.now())
    assert "It is broken" in lead_in(log_in_as("engineer"), Alert.objects.get())


def test_an_open_alert_is_said_on_the_page_it_leads_to_and_on_no_other() -> None:
    address = "/admin/billing/inboxevent/?status=dead"
    rows.alert("Events are dead", page=address)
    client = log_in_as("support")
    assert "Events are dead" in client.get(address).content.decode()
    assert "Events are dead" not in client.get("/admin/billing/inboxevent/").content.decode()
    Alert.objects.update(resolved_at=timezone.now())
    assert "Events are dead" not in client.get(address).content.decode()
