"""Alerts are opened once, kept, and resolved; people are told of both, once."""

import logging
import time
from datetime import datetime, timedelta

import pytest
from django.conf import settings as configured
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from billing.alerts import state, telling
from billing.alerts.firing import Firing
from billing.alerts.rules import Outcome
from billing.alerts.state import CALM
from billing.incidents.told import told
from billing.models import Alert, AlertMessage
from billing.operations.incidents import TellOfIncident
from tests.admin import rows
from tests.admin.conftest import count_queries
from tests.alerts.hook import SECRET_PATH, Hook
from tests.alerts.looking import MINUTE, firing, rule
from tests.operations.shop import BOB, at_once
from tests.support.databases import Database


def say(now: datetime, *firings: Firing, unknown: str = "") -> None:
    """One round in which a rule says this."""
    state.keep([Outcome(rule(), list(firings), unknown)], now)
    telling.tell(now)


@pytest.mark.django_db
def test_an_alert_is_told_when_it_opens_and_when_it_is_over(hook: Hook, settings: Settings) -> None:
    settings.ALERT_EMAILS = ["ops@example.com", "eve@example.com"]
    now = timezone.now()
    for minute in range(3):
        say(now + minute * MINUTE, firing("Events fail", f"{minute} of 9 failed."))
    [alert] = state.open_alerts()
    assert (alert.detail, alert.opened_at) == ("2 of 9 failed.", now)
    assert alert.last_seen_at == now + 2 * MINUTE
    assert alert.told_at == now
    [text] = hook.texts
    address = f"{configured.PUBLIC_URL}/admin/?a=1&amp;b=2"
    assert text == f"*Events fail*\n0 of 9 failed.\n<{address}|Open it>"
    [letter] = mail.outbox
    assert (letter.subject, letter.to) == ("Events fail", ["ops@example.com", "eve@example.com"])
    assert letter.body == f"0 of 9 failed.\n\n{configured.PUBLIC_URL}/admin/?a=1&b=2\n"

    say(now + 70 * MINUTE)
    say(now + 71 * MINUTE)
    assert not state.open_alerts()
    assert len(hook.texts) == len(mail.outbox) == 2
    assert hook.texts[1].startswith("*Resolved: Events fail*\nIt is over. It lasted 1 hour 10 min")
    assert mail.outbox[1].subject == "Resolved: Events fail"
    alert.refresh_from_db()
    assert (alert.resolved_at, alert.over_told_at) == (now + 70 * MINUTE, now + 70 * MINUTE)

    say(now + 90 * MINUTE, firing("Events fail"))
    assert Alert.objects.count() == 2
    assert len(hook.texts) == 3


@pytest.mark.django_db
def test_what_comes_and_goes_is_one_alert(hook: Hook) -> None:
    now = timezone.now()
    for minute in range(0, 20, 2):
        say(now + minute * MINUTE, firing())
        say(now + (minute + 1) * MINUTE)
    assert len(hook.texts) == 1
    say(now + 18 * MINUTE + CALM)
    assert state.open_alerts()
    say(now + 19 * MINUTE + CALM)
    assert not state.open_alerts()
    assert len(hook.texts) == 2


@pytest.mark.django_db
def test_each_key_is_an_alert_and_what_could_not_be_seen_stands(hook: Hook) -> None:
    now = timezone.now()
    say(now, firing("One", key="1"), firing("Two", key="2"))
    say(now + 60 * MINUTE, firing("The rule fails", key="unchecked"), unknown="It failed.")
    assert [alert.title for alert in state.open_alerts()] == ["One", "Two", "The rule fails"]
    say(now + 61 * MINUTE, firing("Two", key="2"))
    assert [alert.title for alert in state.open_alerts()] == ["Two", "The rule fails"]
    say(now + 70 * MINUTE)
    assert len(hook.texts) == 6


@pytest.mark.django_db
def test_nothing_in_a_message_is_a_link_or_a_mention(hook: Hook) -> None:
    page = "/admin/?q=a|b> <!channel>"
    say(timezone.now(), Firing("<!here> & more\nlines", "<https://x.example|Log in>", page))
    [text] = hook.texts
    assert text.startswith("*&lt;!here&gt; &amp; more lines*\n&lt;https://x.example|Log in&gt;\n")
    assert text.endswith("/admin/?q=a%7Cb%3E%20%3C%21channel%3E|Open it>")


@pytest.mark.django_db
def test_nobody_is_told_where_no_way_is_configured() -> None:
    say(timezone.now(), firing())
    assert state.open_alerts().get().told_at is None
    assert not AlertMessage.objects.exists()


@pytest.mark.django_db
def test_what_somebody_writes_of_an_incident_goes_the_same_way(
    hook: Hook, settings: Settings
) -> None:
    """The team and others get one letter, and the others are not shown to the team."""
    settings.ALERT_EMAILS = ["ops@example.com"]
    row = rows.incident("No webhooks <!here>")
    to, message = "team, cto@example.com", "We are at it.\nBack at 11."
    TellOfIncident(incident_id=row.pk, to=to, message=message, **BOB).apply()
    hook.status = 503
    now = timezone.now()
    assert telling.tell(now) == 1
    [letter] = mail.outbox
    assert (letter.subject, letter.to) == ("Incident: No webhooks <!here>", ["ops@example.com"])
    assert letter.bcc == ["cto@example.com"]
    address = f"{configured.PUBLIC_URL}/admin/billing/incident/{row.pk}/change/"
    assert letter.body == f"{message}\n\n{address}\n"
    assert [(each.way, each.whom, each.state) for each in told(row)] == [
        ("Webhook", "team", "Under way"),
        ("Email", "team, cto@example.com", "Told"),
    ]

    hook.status = 200
    assert telling.tell(now + 2 * MINUTE) == 1
    [text] = hook.texts
    assert text.startswith("*Incident: No webhooks &lt;!here&gt;*\nWe are at it.")
    assert len(mail.outbox) == 1
    assert {each.state for each in told(row)} == {"Told"}


@pytest.mark.django_db
def test_an_alert_of_an_incident_counts_as_told(hook: Hook) -> None:
    row, now = rows.incident(), timezone.now()
    say(now, firing("Events fail"))
    hook.status = 404
    say(now + 10 * MINUTE)
    AlertMessage.objects.filter(occasion="resolved").update(next_attempt_at=None)
    over, opened = told(row)
    assert (opened.what, opened.whom, opened.by, opened.state) == (
        "Events fail", "team", "the alert", "Told",
    )  # fmt: skip
    assert (over.what, over.state, over.error) == (
        "Resolved: Events fail", "In vain", "it answered 404.",
    )  # fmt: skip


@pytest.mark.django_db
def test_a_receiver_that_is_down_is_tried_again_and_the_other_way_goes_once(
    hook: Hook, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.ALERT_EMAILS = ["ops@example.com"]
    hook.status = 503
    now = timezone.now()
    say(now, firing("One", key="1"), firing("Two", key="2"))
    assert hook.calls == 1  # a round does not insist
    assert len(mail.outbox) == 2
    one = Alert.objects.get(key="1")
    assert (one.told_at, one.delivery_error) == (None, "webhook: it answered 503.")

    say(now + 10 * MINUTE)  # over, before anybody could be told by the webhook
    assert len(mail.outbox) == 4
    assert hook.texts == []
    hook.status = 200
    for minute in (11, 15, 20, 30):
        say(now + minute * MINUTE)
    assert [text.splitlines()[0] for text in hook.texts] == [
        "*One*", "*Two*", "*Resolved: One*", "*Resolved: Two*",
    ]  # fmt: skip
    one.refresh_from_db()
    assert one.told_at
    assert one.over_told_at
    assert one.delivery_error == ""
    assert len(mail.outbox) == 4

    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:9{SECRET_PATH}"
    say(now + 40 * MINUTE, firing("Three"))
    assert Alert.objects.get(title="Three").delivery_error == (
        "webhook: it could not be reached (ConnectError)."
    )
    assert "could not be told by webhook" in caplog.text
    assert "tell-nobody" not in caplog.text


@pytest.mark.django_db
def test_after_many_tries_a_message_is_given_up(hook: Hook) -> None:
    hook.status = 404
    now = timezone.now()
    say(now, firing())
    for hour in range(1, 60):
        say(now + timedelta(hours=hour), firing())
    assert hook.calls == len(telling.BACKOFF) + 1
    assert state.open_alerts().get().delivery_error == "webhook: it answered 404."


@pytest.mark.django_db
def test_a_receiver_that_hangs_holds_up_nothing_for_long(hook: Hook) -> None:
    hook.delay = 8
    started = time.monotonic()
    say(timezone.now(), *(firing(f"Number {i}", key=f"{i}") for i in range(5)))
    assert time.monotonic() - started < 2 * telling.ANSWER_WITHIN
    assert "ReadTimeout" in state.open_alerts()[0].delivery_error


@pytest.mark.django_db
def test_a_mail_server_that_is_down_is_said(settings: Settings) -> None:
    settings.ALERT_EMAILS = ["ops@example.com"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    say(timezone.now(), firing())
    assert state.open_alerts().get().delivery_error == (
        "email: it could not be reached (ConnectionRefusedError)."
    )


def test_two_workers_tell_each_alert_once(real_database: Database, hook: Hook) -> None:
    now, hook.delay = timezone.now(), 0.05
    found = [Outcome(rule(), [firing(f"Number {i}", key=f"{i}") for i in range(8)])]

    def round_() -> int:
        state.keep(found, now)
        return telling.tell(now)

    assert sum(at_once(round_, round_, round_)) == 8
    assert len(set(hook.texts)) == len(hook.texts) == Alert.objects.count() == 8
    over = now + 10 * MINUTE

    def end() -> int:
        state.keep([Outcome(rule())], over)
        return telling.tell(over)

    assert sum(at_once(end, end)) == 8
    assert len(hook.texts) == 16


@pytest.mark.django_db
def test_what_a_killed_sender_had_taken_goes_out_later(hook: Hook) -> None:
    now = timezone.now()
    state.keep([Outcome(rule(), [firing()])], now)
    assert len(telling.take(now)) == 1  # and its process is killed
    assert telling.tell(now + timedelta(seconds=30)) == 0
    assert telling.tell(now + 2 * MINUTE) == 1
    assert len(hook.texts) == 1


@pytest.mark.django_db
def test_keeping_costs_the_same_however_much_fires() -> None:
    def keep(number: int) -> None:
        firings = [firing(f"{i}", key=f"{i}") for i in range(number)]
        state.keep([Outcome(rule(), firings)], timezone.now())

    assert count_queries(lambda: keep(1)) == count_queries(lambda: keep(50)) <= 5
