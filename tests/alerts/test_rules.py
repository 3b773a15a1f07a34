"""Each rule fires on its cause and is quiet once that is gone."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from backoffice.sandbox import API_VERSION
from billing.alerts import books, rules
from billing.alerts.firing import Rule
from billing.alerts.rules import AT_STRIPE, HERE, UNCHECKED, look_at
from billing.ingress import worker
from billing.models import (
    FindingRecord,
    InboxEvent,
    ReconciliationRun,
    WatchedRule,
)
from billing.operations.tying import TieOutBalance
from tests.admin import rows
from tests.admin.conftest import count_queries
from tests.alerts.looking import MINUTE, NOON, fired, firing, outcome, rule, start_worker
from tests.ingress.webhook import as_body, deliver, event, signed
from tests.operations.shop import BOB, Shop, past_triggers
from tests.support.environment import WEBHOOK_SECRET

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ADDRESS = "http://127.0.0.1:9"  # where nobody listens


@pytest.fixture(autouse=True)
def our_address(settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
    settings.PUBLIC_URL = ADDRESS


def received(*times: Any, **more: Any) -> None:
    """Webhooks that came at these times."""
    InboxEvent.objects.bulk_create(
        InboxEvent(
            stripe_event_id=f"evt_{moment.timestamp()}_{more.get('type', '')}",
            **{"type": "invoice.paid", "body": "{}", "status": "processed", **more},
            stripe_created_at=moment,
            received_at=moment,
        )
        for moment in times
    )


def test_silence_for_longer_than_is_usual_at_this_hour() -> None:
    """On each day an event every 20 minutes, around noon alone."""
    hour = NOON.replace(minute=0)
    for day in range(1, 15):
        received(*(hour - day * DAY + n * 20 * MINUTE for n in range(-1, 3)))
    received(hour)
    assert not fired("quiet", hour + 35 * MINUTE)
    [found] = fired("quiet", NOON).values()
    assert "12:00:00 UTC, 50 minutes ago" in found.detail
    assert "usually 20 minutes" in found.detail
    assert "check_webhooks" in found.detail
    assert not fired("quiet", NOON + 6 * HOUR)  # an hour without any history

    received(NOON - MINUTE, type="ping")  # our own
    received(NOON - 2 * MINUTE, source=InboxEvent.Source.API)  # fetched by us
    assert fired("quiet", NOON)
    received(NOON - 3 * MINUTE)
    assert not fired("quiet", NOON)


def test_too_little_history_says_nothing_of_silence() -> None:
    hour = NOON.replace(minute=0)
    for day in range(1, 10):
        received(*(hour - day * DAY + n * MINUTE for n in range(-1, 50)))
    received(hour)
    assert not fired("quiet", NOON)
    received(*(hour - 10 * DAY + n * MINUTE for n in range(-1, 50)))
    assert fired("quiet", NOON)


def test_one_outage_does_not_become_usual_and_weekends_are() -> None:
    hour = NOON.replace(minute=0)
    for day in range(1, 29):
        gap = {3: 49, 7: 30, 14: 30, 21: 30, 28: 30}.get(day, 5)
        received(*(hour - day * DAY + n * gap * MINUTE for n in range(-1, 50 // gap)))
    received(hour)
    assert not fired("quiet", NOON + 9 * MINUTE)
    assert fired("quiet", NOON + 9 * MINUTE + 59 * MINUTE) == {}  # the next hour has no history
    received(hour - HOUR, hour - 50 * MINUTE)
    InboxEvent.objects.filter(received_at=hour).delete()
    assert fired("quiet", NOON + 9 * MINUTE)


def test_refused_deliveries() -> None:
    now = timezone.now()
    for _ in range(20):
        deliver(as_body(event()), header="")
    assert not fired("refused")  # Stripe signs whatever it sends
    refuse(9)
    assert not fired("refused")
    refuse(1)
    [found] = fired("refused").values()
    assert "10 of 10 in the past 15 minutes: 10 × wrong signature" in found.detail
    assert "STRIPE_WEBHOOK_SECRET" in found.detail
    assert not fired("refused", now + 16 * MINUTE)

    WatchedRule.objects.all().delete()
    fired("refused", now - 16 * MINUTE)  # what was refused until then is known
    refuse(12)
    [found] = fired("refused").values()
    assert "12 of 12" in found.detail
    received(*(now + n * timedelta(microseconds=1) for n in range(60)))
    assert not fired("refused")  # one of six


def refuse(times: int) -> None:
    body = as_body(event())
    for _ in range(times):
        assert deliver(body, signed(body, secret="whsec_another")).status_code == 400


def test_failing_and_waiting_events() -> None:
    """Events in an old version are fetched, and Stripe cannot be reached."""
    now = timezone.now()
    for i in range(5):
        about = {"object": {"id": f"cus_{i}", "object": "customer"}}
        deliver(as_body(event(id=f"evt_{i}", api_version="2020-08-27", data=about)))
    assert not fired("failing")  # not tried yet
    assert not fired("backlog")
    assert "5 events wait, the oldest since" in fired("backlog", now + 6 * MINUTE)["pending"].detail

    worker.drain()
    [found] = fired("failing").values()
    assert "5 of the 5 events" in found.detail
    assert "Stripe could not be reached" in found.detail
    assert found.page.endswith("/inboxevent/?status=failed&since=hour")
    assert not fired("failing", now + 16 * MINUTE)
    assert not fired("backlog", now + 6 * MINUTE)
    assert "5 events" in fired("backlog", now + 61 * MINUTE)["failed"].detail
    InboxEvent.objects.filter(stripe_event_id="evt_1").update(status=InboxEvent.Status.DEAD)
    assert "1 event has failed for good" in fired("backlog")["dead"].detail
    InboxEvent.objects.update(status=InboxEvent.Status.PROCESSED)
    assert not fired("failing")
    assert not fired("backlog", now + 61 * MINUTE)


def test_the_endpoint_at_stripe_and_what_it_could_not_deliver(shop: Shop) -> None:
    now = timezone.now()
    assert "manage.py connect_stripe" in fired("endpoint")["endpoint"].detail
    made = shop.sandbox.stripe.v1.webhook_endpoints.create(
        {"url": f"{ADDRESS}/webhooks/stripe", "enabled_events": ["*"], "api_version": API_VERSION}  # type: ignore[typeddict-item]
    )
    assert not fired("endpoint")

    shop.buy()
    assert not fired("undelivered")  # on their way yet
    [found] = fired("undelivered", now + 7 * MINUTE).values()
    assert "never came here" in found.detail
    assert "/recovery/step-by-step/?since=" in found.page
    shop.deliver()
    assert not fired("undelivered", now + 7 * MINUTE)

    shop.sandbox.post(f"/v1/webhook_endpoints/{made.id}", {"disabled": "true"})
    assert "Stripe sends nothing" in fired("endpoint")["enabled"].detail
    refusing(shop, "/v1/webhook_endpoints", 403)
    assert "permissions" in fired("endpoint")["key"].detail


def refusing(shop: Shop, path: str, status: int) -> None:
    shop.sandbox.control("faults", path=path, status=status)


def test_stripe_is_asked_every_ten_minutes_and_said_to_be_silent_after_five(shop: Shop) -> None:
    now = timezone.now()
    assert len(look_at(AT_STRIPE, now)) == 2
    assert look_at(AT_STRIPE, now + 9 * MINUTE) == []
    assert len(look_at(AT_STRIPE, now + 10 * MINUTE)) == 2

    shop.sandbox.control("faults", path="/v1/*", reset=True)
    silent_from = now + 20 * MINUTE
    found = look_at(AT_STRIPE, silent_from)
    assert [each.is_silence for each in found] == [True, True]
    assert [each.firings for each in found] == [[], []]
    assert len(look_at(AT_STRIPE, silent_from + MINUTE)) == 2  # sooner, while it is silent
    assert not fired("stripe_silent", silent_from + 5 * MINUTE)
    [said] = fired("stripe_silent", silent_from + 6 * MINUTE).values()
    assert "could not be reached" in said.detail

    shop.sandbox.control("faults", "DELETE")
    look_at(AT_STRIPE, silent_from + 7 * MINUTE)
    assert not fired("stripe_silent", silent_from + 8 * MINUTE)


def test_missing_settings_are_said(settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = ""
    settings.STRIPE_WEBHOOK_SECRETS = []
    assert set(fired("endpoint")) == {"secret", "key"}
    assert not fired("undelivered")


def finding(subject: str, **more: Any) -> FindingRecord:
    fields = {"kind": "purchase_not_granted", "severity": "money", "rank": 1, "verdict": "So."}
    return FindingRecord.objects.create(subject=subject, **{**fields, **more})


def test_open_findings_are_summed_up_by_severity() -> None:
    now = timezone.now()
    finding("a", amount=4500, currency="usd", credits=50)
    finding("b", amount=500, currency="usd")
    finding("c", amount=1000, currency="eur", state="snoozed", snoozed_until=now - MINUTE)
    finding("d", amount=9999, currency="usd", state="snoozed", snoozed_until=now + HOUR)
    finding("e", amount=9999, currency="usd", state="accepted")
    finding("f", amount=9999, currency="usd", state="resolved")
    finding("g", severity="warning")
    found = fired("findings")
    assert set(found) == {"money"}
    assert found["money"].detail.startswith("3 open findings, the oldest since")
    assert "at stake: 10.00 EUR, 50.00 USD, 50 credits." in found["money"].detail
    assert "3 × purchase not granted." in found["money"].detail
    assert found["money"].page.endswith("/findingrecord/?state=open&severity=money")
    finding("i", kind="granted_twice")
    assert "3 × purchase not granted, 1 × Granted twice." in fired("findings")["money"].detail
    finding("h", severity="access")
    assert fired("findings")["access"].detail.startswith("1 open finding,")
    FindingRecord.objects.update(state="resolved")
    assert not fired("findings")


def test_balances_that_differ_from_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    for user in ("u_ada", "u_bob", "u_cy", "u_dee"):
        rows.grant(user, 50)
    assert not fired("ledger", now)
    past_triggers("UPDATE lead_credits SET balance = 99 WHERE user_id = 'u_ada'")
    [found] = fired("ledger", now + MINUTE).values()
    assert found.detail.startswith("1 user: u_ada.")
    assert found.page.endswith("/billing/assessment/")
    TieOutBalance(user_id="u_ada", **BOB).apply()
    assert not fired("ledger", now + 2 * MINUTE)

    monkeypatch.setattr(books, "IN_TURN", 2)  # users a minute: ada and bob, then cy and dee
    later = now + HOUR  # when no entry is recent
    assert not fired("ledger", later)
    past_triggers(
        "UPDATE lead_credits SET balance = 7 WHERE user_id = 'u_bob'",
        "DELETE FROM lead_credits WHERE user_id = 'u_dee'",
        "INSERT INTO lead_credits (user_id, owed) VALUES ('u_eve', 3)",
    )
    rounds = [fired("ledger", later + n * MINUTE) for n in range(1, 5)]
    said = [found[""].detail.partition(".")[0] for found in rounds]
    assert said == [
        "1 user: u_dee",
        "2 users: u_dee, u_eve",
        "3 users: u_bob, u_dee, u_eve",
        "3 users: u_bob, u_dee, u_eve",
    ]


def test_a_balance_that_changed_just_now_is_looked_at_before_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(books, "IN_TURN", 1)
    rows.grant("u_ada", 50)
    rows.grant("u_zoe", 50)
    past_triggers("UPDATE lead_credits SET balance = 99 WHERE user_id = 'u_zoe'")
    assert "u_zoe" in fired("ledger")[""].detail


def run_of(now: Any, **more: Any) -> ReconciliationRun:
    fields = {"kind": "daily", "status": "done", "until": now, "actor": "worker"}
    return ReconciliationRun.objects.create(
        **{**fields, "started_at": now, "finished_at": now, **more}
    )


def test_a_reconciliation_that_failed_or_did_not_come() -> None:
    now = timezone.now()
    assert not fired("reconciliation")  # none was ever done
    run_of(now - 27 * HOUR)
    assert "manage.py reconcile daily" in fired("reconciliation")["overdue"].detail
    run_of(now - 2 * HOUR, kind="weekly")
    assert set(fired("reconciliation")) == {"overdue"}
    run_of(now - HOUR, status="failed", error="Stripe's list broke off.")
    found = fired("reconciliation")
    assert set(found) == {"failed", "overdue"}
    assert "Stripe's list broke off. Run it again" in found["failed"].detail
    run_of(now - MINUTE, status="running", finished_at=None)
    assert set(fired("reconciliation")) == {"overdue"}
    run_of(now)
    assert not fired("reconciliation")


def test_whether_a_worker_lives() -> None:
    assert "None is known." in fired("workers")[""].detail
    start_worker(seen=10 * MINUTE)
    assert "The last sign of one came 10 minutes ago." in fired("workers")[""].detail
    start_worker()
    assert not fired("workers")


def test_a_rule_that_fails_is_told_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def divide(look: object) -> Any:
        yield firing("Seen before it failed", key="before")
        InboxEvent.objects.raw("SELECT 1 / 0 AS id")[0]

    before, broken, after = rule("a", firing()), Rule("b", divide), rule("c", firing())
    found = {each.rule.name: each for each in look_at([before, broken, after], timezone.now())}
    assert [len(found["a"].firings), len(found["c"].firings)] == [1, 1]
    assert "division by zero" in found["b"].unknown
    assert [each.key for each in found["b"].firings] == ["before", UNCHECKED]
    assert "division by zero" in caplog.text


def test_no_rule_of_ours_fails_on_an_empty_database_or_costs_more_with_more_rows() -> None:
    assert not [o.unknown for o in look_at(HERE, timezone.now()) if o.unknown]

    def look() -> None:
        look_at(HERE, timezone.now())

    rows.fill(9)
    finding("a", severity="access")
    few = count_queries(look)
    rows.fill(40, start=9)
    for i in range(30):
        finding(f"more {i}", currency=("usd", "eur", "jpy")[i % 3], amount=5)
    assert count_queries(look) == few <= 55


def test_every_rule_has_its_own_name() -> None:
    names = rules.names(rules.ALL)
    assert len(set(names)) == len(names)
    assert outcome("backlog").rule in HERE
