"""check_webhooks: each check, right and wrong."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import Settings

from backoffice.sandbox import API_VERSION
from billing.ingress.handled import HANDLED
from tests.commands.conftest import Ran, Run
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice, run_manage
from tests.support.environment import WEBHOOK_SECRET
from tests.support.events import events_of

URL = "http://127.0.0.1:9/webhooks/stripe"


def register(sandbox: SandboxProcess, **more: Any) -> str:
    params = {"url": URL, "enabled_events": ["*"], **more}
    made = sandbox.stripe.v1.webhook_endpoints.create(params)  # type: ignore[arg-type]
    return made.id


def checks(ran: Ran) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in ran.document["checks"]}


def test_all_is_well_from_the_secret_to_the_worker(back_office: BackOffice) -> None:
    back_office.start_worker()
    ran = run_manage("check_webhooks", "--json", env=back_office.environment)
    assert '"status": "done"' in ran.stdout
    assert ran.stdout.count('"ok": true') == 8
    assert '"ok": false' not in ran.stdout
    assert back_office.environment["STRIPE_WEBHOOK_SECRET"] not in ran.stdout + ran.stderr
    readable = run_manage("check_webhooks", env=back_office.environment)
    assert "ok    worker: It was ignored after" in readable.stdout


def test_a_worker_that_does_not_run_is_noticed(back_office: BackOffice) -> None:
    ran = run_manage("check_webhooks", "--timeout", "0.3", env=back_office.environment, check=False)
    assert ran.returncode == 1
    assert "FAIL  worker: It is pending" in ran.stdout
    assert "manage.py run_worker" in ran.stdout
    assert "1 of 8 checks failed." in ran.stderr


def test_a_server_with_another_secret_is_noticed(back_office: BackOffice) -> None:
    env = back_office.environment | {"STRIPE_WEBHOOK_SECRET": "whsec_another"}
    ran = run_manage("check_webhooks", env=env, check=False)
    assert ran.returncode == 1
    assert "FAIL  answer: A signed ping was answered with 400: refused: wrong signature" in (
        ran.stdout
    )
    assert "whsec_another" not in ran.stdout + ran.stderr


@pytest.mark.django_db
def test_each_fault_of_the_endpoint_is_named_with_advice(run: Run, sandbox: SandboxProcess) -> None:
    def check() -> dict[str, dict[str, Any]]:
        ran = run("check_webhooks", "--url", URL, "--json")
        assert ran.code == 1
        assert ran.document["status"] == "attention"
        return checks(ran)

    register(sandbox, url="https://elsewhere.example/webhooks/stripe")
    missing = check()["endpoint"]
    assert "https://elsewhere.example" in missing["detail"]
    assert "register it" in missing["advice"]

    some = sorted(HANDLED - {"invoice.paid", "customer.deleted"})
    endpoint = register(sandbox, enabled_events=some, api_version="2024-06-20", url=f"{URL}/")
    found = check()
    assert (found["endpoint"]["ok"], found["enabled"]["ok"]) == (True, True)
    assert "2024-06-20" in found["version"]["detail"]
    assert "customer.deleted, invoice.paid" in found["events"]["detail"]
    assert not any(found[name]["ok"] for name in ("version", "events", "answer"))
    assert "worker" not in found

    sandbox.post(f"/v1/webhook_endpoints/{endpoint}", {"disabled": "true"}).raise_for_status()
    assert "disabled" in check()["enabled"]["detail"]
    register(sandbox, enabled_events=sorted(HANDLED), api_version=API_VERSION)
    found = check()
    assert all(found[name]["ok"] for name in ("endpoint", "enabled", "version", "events"))
    assert "could not be reached" in found["answer"]["detail"]


@pytest.mark.django_db
def test_what_stripe_could_not_deliver_is_counted_until_it_was_processed(
    run: Run, shop: Shop
) -> None:
    register(shop.sandbox)
    shop.buy()
    made = len(events_of(shop.sandbox))
    assert checks(run("check_webhooks", "--url", URL, "--json"))["deliveries"]["ok"]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        found = checks(run("check_webhooks", "--url", URL, "--json"))["deliveries"]
    assert not found["ok"]
    assert "recover_outage --since" in found["advice"]
    assert 0 < int(re.findall(r"\d+", found["detail"])[0]) < made
    shop.deliver()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        assert checks(run("check_webhooks", "--url", URL, "--json"))["deliveries"]["ok"]


@pytest.mark.django_db
def test_what_only_the_application_s_own_endpoint_lacks_is_not_ours_to_recover(
    run: Run, shop: Shop
) -> None:
    """Stripe counts an event as undelivered while any endpoint of the account lacks it."""
    register(shop.sandbox, enabled_events=sorted(HANDLED), api_version=API_VERSION)
    register(shop.sandbox, url="http://127.0.0.1:9/application", enabled_events=["*"])
    shop.buy()
    shop.deliver()  # to us; to the application nothing could be delivered
    shop.sandbox.post("/v1/tax_rates", {"display_name": "VAT", "percentage": "19",
                                        "inclusive": "false"}).raise_for_status()  # fmt: skip
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        found = checks(run("check_webhooks", "--url", URL, "--json"))
    assert found["deliveries"]["ok"], found["deliveries"]
    assert found["endpoint"]["ok"]


@pytest.mark.django_db
def test_missing_settings_are_named(run: Run, sandbox: SandboxProcess, settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = []
    settings.STRIPE_SECRET_KEY = ""
    found = checks(run("check_webhooks", "--json"))
    assert set(found) == {"secret", "endpoint"}
    assert "STRIPE_WEBHOOK_SECRET" in found["secret"]["detail"]
    assert "STRIPE_SECRET_KEY" in found["endpoint"]["detail"]


@pytest.mark.django_db
def test_stripe_that_does_not_answer_is_said(run: Run, sandbox: SandboxProcess) -> None:
    sandbox.stop()
    ran = run("check_webhooks", "--url", URL, "--json")
    assert ran.code == 1
    assert "could not be reached" in checks(ran)["endpoint"]["detail"]
    assert WEBHOOK_SECRET not in ran.stdout
