"""The smoke test against a running web server, worker and sandbox."""

import json
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from backoffice.postgres import BASE_DIR
from billing.gateway.client import gateway
from billing.models import BillingCustomer, BillingSubscription, CreditEntry, LeadCredits, SmokeTest
from billing.smoke.flows import Visit
from billing.smoke.signs import came, ledger_is, processed
from billing.smoke.steps import StuckError, wait_for
from billing.smoke.till import Till
from billing.smoke.trying import smoke, user_of
from billing.smoke.watching import Watch
from tests.admin.rows import grant, inbox_event, rejection
from tests.operations.shop import past_triggers
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.databases import Database
from tests.support.waiting import wait_until

FLOWS = [
    "buy a pack",
    "start a subscription",
    "renew it",
    "fail to renew it",
    "refund the pack",
]


def started(back_office: BackOffice, *options: str) -> "subprocess.Popen[str]":
    """`manage.py smoke` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "smoke", "--json", *options],
        cwd=BASE_DIR,
        env=back_office.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any]]:
    """How it exits, and what it answers."""
    stdout, stderr = process.communicate(timeout=120)
    assert stdout, stderr
    return process.returncode, json.loads(stdout)


def tried(timeout: float = 0.5) -> tuple[SmokeTest, dict[str, dict[str, Any]]]:
    """A test in this process; its steps by their names."""
    test = smoke(actor="cli:test", timeout=timeout, watch=0, tell=lambda said: None)
    assert test.finished_at is not None
    return test, {step["name"]: step for step in test.steps}


def assert_nothing_is_left(sandbox: SandboxProcess, user: str) -> None:
    """Neither at Stripe nor in our books."""

    def listed(path: str, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = sandbox.get(path, limit=100, **params).json()["data"]
        return found

    assert [each["status"] for each in listed("/v1/subscriptions")] == []
    assert all(charge["refunded"] for charge in listed("/v1/charges") if charge["paid"])
    assert listed("/v1/invoices", status="open") == []
    assert listed("/v1/test_helpers/test_clocks") == []
    assert listed("/v1/customers") == []
    assert listed("/v1/products", active="true") == []
    assert listed("/v1/prices", active="true") == []
    credits_ = LeadCredits.objects.filter(user_id=user).values_list("balance", "owed")
    assert list(credits_) in ([], [(0, 0)])
    running = BillingSubscription.objects.filter(user_id=user).exclude(status="canceled")
    assert not running.exists()
    assert not BillingCustomer.objects.filter(user_id=user, deleted=False).exists()


def test_two_at_once_go_through_every_flow_and_leave_nothing(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    back_office.start_worker()
    both = [started(back_office, "--watch", "0", "--timeout", "60") for _ in range(2)]
    for code, said in map(ended, both):
        assert (code, said["status"], said["ok"], said["mode"]) == (0, "done", True, "sandbox"), (
            said
        )
        assert [step["name"] for step in said["steps"]] == [
            *FLOWS,
            "clean up",
            *(f"watch: {of}" for of in ("alerts", "events", "backlog", "ledger")),
            "watch: refused webhooks",
        ]
        row = SmokeTest.objects.get(pk=said["test"])
        assert (row.ok, row.steps) == (True, said["steps"])
        assert said["user"] == user_of(row)
        entries = CreditEntry.objects.filter(user_id=said["user"])
        assert sorted(entries.values_list("delta", flat=True)) == [-7, -7, -5, 5, 7, 7]
        assert_nothing_is_left(sandbox, said["user"])


def test_a_worker_that_does_not_run_is_said_and_all_is_cleaned_up(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    test, steps = tried(timeout=10)
    assert test.ok is False
    stuck = steps["buy a pack"]
    assert not stuck["ok"]
    assert "came, and is still pending" in stuck["detail"]
    assert "manage.py run_worker" in stuck["advice"]
    assert "id=evt_" in stuck["page"]
    assert [steps[name]["detail"] for name in FLOWS[1:]] == [
        "Not tried: a step before it got stuck."
    ] * 4
    assert steps["clean up"]["ok"], steps["clean up"]
    assert_nothing_is_left(sandbox, user_of(test))
    entries = CreditEntry.objects.filter(user_id=user_of(test)).order_by("id")
    assert list(entries.values_list("delta", flat=True)) == [5, -5]


def test_webhooks_that_do_not_come_or_are_refused_are_said(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    [endpoint] = sandbox.get("/v1/webhook_endpoints").json()["data"]
    sandbox.post(f"/v1/webhook_endpoints/{endpoint['id']}", {"disabled": "true"})
    test, steps = tried()
    assert "webhooks do not reach this back office" in steps["buy a pack"]["detail"]
    assert "manage.py check_webhooks" in steps["buy a pack"]["advice"]
    assert_nothing_is_left(sandbox, user_of(test))

    sandbox.post(f"/v1/webhook_endpoints/{endpoint['id']}", {"disabled": "false"})
    sandbox.control(f"webhook_endpoints/{endpoint['id']}/roll")
    _, steps = tried(timeout=10)
    assert "were refused since the test began" in steps["buy a pack"]["detail"]
    assert "STRIPE_WEBHOOK_SECRET" in steps["buy a pack"]["advice"]
    assert "webhookrejection" in steps["buy a pack"]["page"]
    assert not steps["watch: refused webhooks"]["ok"]


def test_one_that_is_stopped_in_the_middle_cleans_up_and_says_so(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    process = started(back_office, "--timeout", "60")
    wait_until(lambda: sandbox.get("/v1/charges").json()["data"])
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert (code, said["ok"]) == (2, False)
    assert [step["name"] for step in said["steps"]] == ["clean up", "interrupted"]
    assert said["steps"][0]["ok"], said
    assert_nothing_is_left(sandbox, said["user"])


def test_what_a_killed_one_left_is_cleaned_up_by_the_next(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    long_ago = timezone.now() - timedelta(hours=3)
    killed = SmokeTest.objects.create(actor="cli:test", mode="sandbox", started_at=long_ago)
    visit = Visit(Till(gateway()), user_of(killed), 0, lambda said: None)
    for flow in (visit.buy, visit.subscribe):
        with pytest.raises(StuckError):
            flow()
    _, steps = tried(timeout=0)
    cleaned = steps[f"clean up after test {killed.pk}"]
    assert cleaned["ok"], cleaned
    assert_nothing_is_left(sandbox, user_of(killed))
    killed.refresh_from_db()
    assert (killed.ok, killed.finished_at is not None) == (False, True)


def test_a_purchase_that_is_granted_twice_is_told_at_once(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    grant("smoke-1", 5, "checkout:cs_1")
    wait_for([ledger_is("smoke-1", {"checkout:cs_1": 5})], timeout=0, tell=lambda said: None)
    grant("smoke-1", 5, "checkout:cs_1:again")
    with pytest.raises(StuckError, match="holds 2 entries, where 1 are right") as stuck:
        wait_for([ledger_is("smoke-1", {"checkout:cs_1": 5})], timeout=60, tell=lambda said: None)
    assert "user=smoke-1" in stuck.value.page


def test_an_event_that_is_dead_is_not_waited_for(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    inbox_event()
    signs = [
        came("checkout.session.completed", "cs_1", refused=0),
        processed("checkout.session.completed", "cs_1"),
    ]
    with pytest.raises(StuckError, match=r"is dead\. Stripe refused: no such line") as stuck:
        wait_for(signs, timeout=60, tell=lambda said: None)
    assert "manage.py replay_events evt_1" in stuck.value.advice


def test_the_watch_tells_of_what_is_new_and_of_nothing_else(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    grant("u_old", 5)
    past_triggers("UPDATE lead_credits SET balance = 9 WHERE user_id = 'u_old'")
    rejection(reason="no signature")
    watch = Watch.begin()
    assert all(step.ok for step in watch.run(0, lambda said: None))

    grant("u_new", 5)
    past_triggers("UPDATE lead_credits SET balance = 9 WHERE user_id = 'u_new'")
    rejection()
    inbox_event()
    inbox_event("evt_2", status="pending", received_at=timezone.now() - timedelta(minutes=2))
    told = {step.name: step for step in watch.run(0, lambda said: None)}
    assert not any(step.ok for step in told.values())
    assert "Events are dead" in told["watch: alerts"].detail
    assert "Stripe refused: no such line" in told["watch: events"].detail
    assert told["watch: ledger"].detail == "Balances differ from the ledger: u_new."
    assert "2 requests" in told["watch: refused webhooks"].detail
