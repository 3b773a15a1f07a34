"""The worker's own rounds, the web process that misses the worker, and the heartbeat."""

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.signals import request_finished
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing import tasks
from billing.alerts import heartbeat, web
from billing.alerts.state import open_alerts
from billing.models import Alert, WatchedRule
from tests.alerts.hook import Hook
from tests.alerts.looking import MINUTE, fired, start_worker
from tests.ingress.webhook import as_body, deliver, event
from tests.support.databases import Database
from tests.support.environment import WEBHOOK_SECRET
from tests.support.waiting import wait_until


@pytest.fixture
def watching(settings: Settings) -> Iterator[None]:
    """The web process looks after its next request."""
    settings.WATCH_WORKER_FROM_WEB = True
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
    web.after_requests.next_at = 0
    yield
    wait_until(looked)


def looked() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "alerts"]


def test_the_web_process_tells_that_no_worker_is_running(
    real_database: Database, hook: Hook, watching: None
) -> None:
    hook.delay = 0.5  # which no request waits for
    assert deliver(as_body(event())).status_code == 200
    wait_until(lambda: hook.texts)
    wait_until(looked)
    assert hook.texts[0].startswith("*No worker is running*\nNone is known.")
    [alert] = open_alerts()
    assert alert.rule == "workers"

    Client().get("/robots.txt")  # within the minute nobody looks
    assert looked()
    start_worker()
    Alert.objects.update(last_seen_at=timezone.now() - 4 * MINUTE)
    web.after_requests.next_at = 0
    Client().get("/robots.txt")
    wait_until(lambda: len(hook.texts) == 2)
    assert hook.texts[1].startswith("*Resolved: No worker is running*")
    assert not connection.in_atomic_block


def test_a_look_that_fails_is_a_line_in_the_log(
    real_database: Database,
    watching: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "FROM_WEB", None)
    request_finished.send(sender=None)
    wait_until(looked)
    assert "the web process could not look for a worker" in caplog.text
    assert deliver(as_body(event())).status_code == 200


@pytest.mark.django_db
def test_each_process_waits_a_minute_before_its_first_look(settings: Settings) -> None:
    settings.WATCH_WORKER_FROM_WEB = True
    web.AfterRequests()()
    assert looked()


def test_the_worker_watches_and_takes_back_what_the_web_process_said(
    real_database: Database, hook: Hook
) -> None:
    tasks.watch(timestamp=0)
    [alert] = open_alerts()
    assert alert.rule == "workers"
    start_worker()
    Alert.objects.update(last_seen_at=timezone.now() - 4 * MINUTE)
    tasks.watch(timestamp=60)
    assert not open_alerts()
    assert len(hook.texts) == 2

    tasks.watch_outside(timestamp=0)  # nothing listens where Stripe should be
    assert not open_alerts()
    silence = WatchedRule.objects.get(rule="stripe_silent")
    silence.memory["since"] = (timezone.now() - timedelta(minutes=6)).isoformat()
    silence.save()
    tasks.watch(timestamp=120)
    assert open_alerts().get().title == "Stripe cannot be reached"


@pytest.mark.django_db
def test_the_heartbeat_is_sent_and_tried_again_where_it_was_in_vain(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert heartbeat.beat()  # nobody to call
    with Hook() as listener:
        settings.HEARTBEAT_URL = listener.url
        assert heartbeat.beat()
        assert listener.calls == 1
        assert not fired("heartbeat_failed")
        listener.status = 500
        assert not heartbeat.beat()
        [found] = fired("heartbeat_failed").values()
        assert "it answered 500." in found.detail
        assert listener.calls == 2
        fired("heartbeat_failed", timezone.now() + 6 * MINUTE)
        assert listener.calls == 3
        listener.status = 200
        assert not fired("heartbeat_failed", timezone.now() + 12 * MINUTE)
        assert listener.calls == 4
    assert not heartbeat.beat()
    assert "ConnectError" in fired("heartbeat_failed")[""].detail
    assert "tell-nobody" not in caplog.text
    assert "tell-nobody" not in fired("heartbeat_failed")[""].detail
