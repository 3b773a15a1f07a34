"""With a key of live mode a smoke test looks, and cannot change anything."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pytest_django import Settings

from billing import smoke as smoke_package
from billing.gateway.client import Gateway, gateway
from billing.models import SmokeTest
from billing.smoke.flows import Visit
from billing.smoke.till import LiveModeError, Till
from billing.smoke.trying import smoke
from tests.commands.conftest import Run
from tests.sandbox.server import SandboxProcess
from tests.sandbox.test_modes import LIVE_KEY, live
from tests.support.databases import Database
from tests.support.events import deliver, events_of

LIVE_KEYS = (LIVE_KEY, LIVE_KEY.replace("sk_", "rk_"), "another-kind-of-key-of-tomorrow")


@pytest.fixture
def live_mode(settings: Settings, sandbox: SandboxProcess) -> SandboxProcess:
    """The settings have a live key."""
    settings.STRIPE_SECRET_KEY = settings.STRIPE_LIVE_SECRET_KEY = LIVE_KEY
    settings.STRIPE_TEST_SECRET_KEY = ""
    settings.STRIPE_LIVE_MODE = True
    return sandbox


@pytest.mark.parametrize("key", LIVE_KEYS, ids=["secret", "restricted", "unknown"])
@pytest.mark.django_db
def test_no_flow_can_begin_with_a_key_that_is_not_of_test_mode(
    sandbox: SandboxProcess, key: str
) -> None:
    stripe = Gateway(key, sandbox.url, gateway().api_version)
    visit = Visit(Till(stripe), "smoke-1", 1, lambda said: None)
    for flow in (visit.buy, visit.subscribe, visit.fail, visit.refund):
        with pytest.raises(LiveModeError, match="changes nothing"):
            flow()
    assert stripe.calls == 0
    with pytest.raises(LiveModeError):
        visit.till.delete("/v1/customers/cus_1")


def test_a_live_key_gets_the_checks_and_a_ping_and_nothing_is_made(
    real_database: Database,
    live_mode: SandboxProcess,
    run: Run,
) -> None:
    ran = run("smoke", "--json", "--watch", "0", "--timeout", "0.2")
    assert ran.code == 1
    said = ran.document
    assert (said["mode"], said["user"]) == ("live", "")
    steps = {step["name"]: step for step in said["steps"]}
    assert list(steps)[:4] == ["account", "permissions", "newest events", "prices"]
    assert all(steps[name]["ok"] for name in list(steps)[:4]), steps
    assert "in live mode" in steps["account"]["detail"]
    assert not steps["webhook: endpoint"]["ok"]
    assert not steps["webhook: answer"]["ok"]
    assert SmokeTest.objects.get().mode == "live"
    for path in ("customers", "products", "charges", "checkout/sessions", "events"):
        assert live(live_mode, "GET", f"/v1/{path}").json()["data"] == []


def test_prices_and_events_that_are_not_here_are_named(
    real_database: Database, sandbox: SandboxProcess
) -> None:
    product = sandbox.stripe.v1.products.create({"name": "Pack"}).id
    price = sandbox.stripe.v1.prices.create(
        {
            "product": product,
            "currency": "usd",
            "unit_amount": 100,
            "metadata": {"lead_credits": "5"},
        }
    ).id
    first, *missing = events_of(sandbox)
    deliver([first])
    assert len(missing) == 1  # of a type that we handle
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        test = smoke(actor="cli:test", timeout=1, watch=0, tell=lambda said: None, only_look=True)
    steps = {step["name"]: step for step in test.steps}
    assert price in steps["prices"]["detail"]
    assert steps["prices"]["page"] == "/admin/billing/creditprice/"
    assert missing[0]["id"] in steps["newest events"]["detail"]
    assert sandbox.get("/v1/charges").json()["data"] == []


def test_bad_options_and_a_missing_key_are_refused(
    real_database: Database,
    settings: Settings,
    run: Run,
) -> None:
    assert "at most 300 s" in run("smoke", "--timeout", "301").error
    assert "0 to 3600 seconds" in run("smoke", "--watch", "-1").error
    settings.STRIPE_SECRET_KEY = ""
    ran = run("smoke", "--json")
    assert (ran.code, ran.document["status"]) == (2, "failed")
    assert "STRIPE_SECRET_KEY is not set" in ran.document["error"]
    assert not SmokeTest.objects.exists()


def test_nothing_but_the_till_changes_anything_at_stripe() -> None:
    for file in Path(smoke_package.__path__[0]).glob("*.py"):
        if file.name == "till.py":
            continue
        calls = re.findall(r"([\w.]+)\.(post|delete)\b", file.read_text())
        assert {of for of, _ in calls} <= {"self.till"}, file
        methods = re.findall(r"\.request\(\s*\"(\w+)\"", file.read_text())
        assert set(methods) <= {"get"}, file
