"""connect_stripe: the first contact with an account, from a key to a webhook that works."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from backoffice.sandbox import API_VERSION
from billing.ingress.handled import HANDLED
from billing.models import BillingCustomer, BillingEvent
from tests.commands.conftest import Ran, Run
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice, run_manage

OURS = "https://office.example.com"
URL = f"{OURS}/webhooks/stripe"
APPLICATION = "https://shop.example.com/stripe"
EVERYTHING = {
    **dict.fromkeys(
        ("account", "customers", "charges", "refunds", "payment_intents", "payment_methods",
         "invoice_payments", "disputes", "prices", "products", "payouts", "balance_transactions",
         "events"),
        "read",
    ),
    **dict.fromkeys(
        ("subscriptions", "invoices", "checkout_sessions", "billing_portal_sessions",
         "webhook_endpoints"),
        "write",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def address(settings: Settings) -> None:
    settings.PUBLIC_URL = OURS


def use_key(settings: Settings, sandbox: SandboxProcess, **changes: str) -> str:
    """A restricted key that may do all that we need, but for these changes."""
    key = str(sandbox.control("keys", permissions={**EVERYTHING, **changes})["key"])
    settings.STRIPE_SECRET_KEY = key
    return key


def endpoints(sandbox: SandboxProcess) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in sandbox.get("/v1/webhook_endpoints").json()["data"]}


def make(sandbox: SandboxProcess, url: str, **more: Any) -> str:
    params: Any = {"url": url, "enabled_events": ["*"], **more}
    return sandbox.stripe.v1.webhook_endpoints.create(params).id


def failed(ran: Ran) -> list[str]:
    return [check["detail"] for check in ran.document["checks"] if not check["ok"]]


def secret_at(path: Path) -> str:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().strip()


@pytest.mark.django_db
def test_an_endpoint_is_made_once_and_its_secret_is_only_in_the_file(
    run: Run, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    key, path = use_key(settings, sandbox), tmp_path / "secret"

    looked = run("connect_stripe", "--check", "--json")
    assert looked.code == 1
    assert looked.document["to_do"] == [
        f"make an endpoint for {URL}, with API version {API_VERSION} and {len(HANDLED)} events"
    ]
    assert endpoints(sandbox) == {}
    assert not BillingEvent.objects.filter(type="manual.stripe_connected").exists()

    made = run("connect_stripe", "--json", "--secret-file", str(path))
    secret = secret_at(path)
    [endpoint] = endpoints(sandbox).values()
    assert endpoint["url"] == URL
    assert set(endpoint["enabled_events"]) == HANDLED
    assert endpoint["api_version"] == API_VERSION
    assert secret.startswith("whsec_")
    assert made.document["endpoint"] == endpoint["id"]
    assert secret not in made.stdout + made.error
    assert key not in made.stdout + made.error
    audited = BillingEvent.objects.get(type="manual.stripe_connected")
    assert audited.payload["endpoint"] == endpoint["id"]
    assert secret not in str(audited.payload)

    settings.STRIPE_WEBHOOK_SECRETS = [secret]
    again = run("connect_stripe", "--json", "--secret-file", str(tmp_path / "none"))
    assert (again.document["changed"], again.document["to_do"]) == ([], [])
    assert endpoints(sandbox) == {endpoint["id"]: endpoint}
    assert not (tmp_path / "none").exists()
    assert BillingEvent.objects.filter(type="manual.stripe_connected").count() == 1


@pytest.mark.django_db
def test_a_secret_that_nobody_would_see_is_not_made(
    run: Run, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    for arguments in ((), ("--json",)):
        refused = run("connect_stripe", *arguments)
        assert refused.code == 2
        assert "--secret-file" in refused.error
    taken = tmp_path / "taken"
    taken.write_text("precious")
    assert run("connect_stripe", "--secret-file", str(taken)).code == 2
    assert taken.read_text() == "precious"
    assert endpoints(sandbox) == {}


@pytest.mark.django_db
def test_each_permission_that_a_restricted_key_lacks_is_named(
    run: Run, sandbox: SandboxProcess, settings: Settings
) -> None:
    make(sandbox, URL)
    use_key(settings, sandbox, disputes="none", invoices="read", billing_portal_sessions="none")
    ran = run("connect_stripe", "--check", "--json")
    assert ran.code == 1
    found = " ".join(failed(ran))
    for name in ("Disputes: Read", "Invoices: Write", "Customer portal: Write"):
        assert f"{name} is missing" in found
    assert found.count("is missing") == 3
    assert "rak_dispute_read" in found  # Stripe's own word
    advice = [check["advice"] for check in ran.document["checks"] if "missing" in check["detail"]]
    assert all("Developers, API keys" in each for each in advice)
    use_key(settings, sandbox)
    assert "permissions" in {
        check["name"]
        for check in run("connect_stripe", "--check", "--json").document["checks"]
        if check["ok"]
    }


@pytest.mark.django_db
def test_with_a_key_that_may_not_make_it_the_endpoint_is_made_by_hand(
    run: Run, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    for level in ("read", "none"):
        use_key(settings, sandbox, webhook_endpoints=level)
        ran = run("connect_stripe", "--json", "--secret-file", str(tmp_path / "secret"))
        assert ran.code == 1
        [note] = ran.document["notes"]
        assert URL in note
        assert API_VERSION in note
        assert "invoice.paid" in note
    assert not (tmp_path / "secret").exists()
    assert endpoints(sandbox) == {}


@pytest.mark.django_db
def test_an_endpoint_that_is_there_is_adopted_and_the_application_s_is_left_alone(
    run: Run, sandbox: SandboxProcess
) -> None:
    theirs = make(sandbox, APPLICATION, enabled_events=["invoice.paid"])
    ours = make(sandbox, URL, enabled_events=["invoice.paid", "tax_rate.created"],
                api_version=API_VERSION)  # fmt: skip
    sandbox.post(f"/v1/webhook_endpoints/{ours}", {"disabled": "true"}).raise_for_status()
    before = endpoints(sandbox)[theirs]

    ran = run("connect_stripe", "--json")
    assert ran.document["endpoint"] == ours
    assert ran.document["made"] is False
    assert "no longer send: tax_rate.created" in " ".join(ran.document["changed"])
    assert any(f"{theirs} sends to {APPLICATION}" in note for note in ran.document["notes"])
    now = endpoints(sandbox)
    assert set(now[ours]["enabled_events"]) == HANDLED
    assert now[ours]["status"] == "enabled"
    assert now[theirs] == before


@pytest.mark.django_db
def test_another_api_version_is_replaced_in_two_steps(
    run: Run, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    old = make(sandbox, URL, enabled_events=sorted(HANDLED), api_version="2024-06-20")
    kept = run("connect_stripe", "--json")
    assert kept.document["changed"] == []
    assert "Stripe cannot change it" in " ".join(kept.document["notes"])
    assert run("connect_stripe", "--disable", old).code == 2  # nothing would be sent any more

    made = run("connect_stripe", "--replace", "--json", "--secret-file", str(tmp_path / "secret"))
    new = made.document["endpoint"]
    assert endpoints(sandbox)[new]["api_version"] == API_VERSION
    assert f"--disable {old}" in " ".join(made.document["notes"])
    again = run("connect_stripe", "--replace", "--json")
    assert again.document["changed"] == []
    assert len(endpoints(sandbox)) == 2

    assert run("connect_stripe", "--disable", old, "--json").document["changed"] == [
        f"disable {old}"
    ]
    assert {each["id"]: each["status"] for each in endpoints(sandbox).values()} == {
        old: "disabled",
        new: "enabled",
    }
    assert run("connect_stripe", "--json").document["notes"] == []


@pytest.mark.django_db
def test_a_change_in_live_mode_is_asked_for(
    run: Run, sandbox: SandboxProcess, settings: Settings, tmp_path: Path
) -> None:
    settings.STRIPE_SECRET_KEY = str(
        sandbox.control("keys?mode=live", permissions=EVERYTHING)["key"]
    )
    settings.STRIPE_LIVE_MODE = True
    arguments = ("connect_stripe", "--json", "--secret-file", str(tmp_path / "secret"))
    assert "add --yes" in run(*arguments).error
    assert not (tmp_path / "secret").exists()
    assert run(*arguments, "--yes").document["made"]
    assert endpoints(sandbox) == {}  # of test mode


@pytest.mark.django_db
def test_another_account_s_or_another_mode_s_key_stops_it(
    run: Run, sandbox: SandboxProcess, settings: Settings
) -> None:
    BillingCustomer.objects.create(stripe_customer_id="cus_1", livemode=False)
    settings.STRIPE_LIVE_MODE = True
    assert "customers of test mode" in failed(run("connect_stripe", "--json"))[0]
    settings.STRIPE_LIVE_MODE = False
    settings.STRIPE_SECRET_KEY = "rk_test_" + "a" * 30
    assert "Invalid API Key" in failed(run("connect_stripe", "--json"))[0]


@pytest.mark.django_db
def test_stripe_could_not_reach_a_developer_s_machine(run: Run, settings: Settings) -> None:
    settings.STRIPE_API_BASE = "https://api.stripe.com"
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert "Stripe cannot reach" in run("connect_stripe", "--check").error
    settings.PUBLIC_URL, settings.STRIPE_LIVE_MODE = "http://office.example.com", True
    assert "https only" in run("connect_stripe", "--check").error


def test_from_an_empty_account_to_a_ping_that_arrives(back_office: BackOffice) -> None:
    """In a terminal the secret is shown, once; set, the second run follows a signed ping."""
    back_office.start_worker()
    second = run_manage("connect_stripe", "--json", env=back_office.environment)
    assert '"status": "done"' in second.stdout
    assert '"name": "worker"' in second.stdout

    elsewhere = back_office.environment | {"PUBLIC_URL": OURS}
    shown = in_a_terminal("connect_stripe", env=elsewhere)
    assert "STRIPE_WEBHOOK_SECRET=whsec_" in shown
    assert shown.count("whsec_") == 1
    assert "whsec_" not in in_a_terminal("connect_stripe", "--check", env=elsewhere)


def in_a_terminal(*arguments: str, env: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "manage.py", *arguments]
    with subprocess.Popen(
        command, cwd=BASE_DIR, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # the terminal's other end is closed
            pass
    os.close(ours)
    return said.decode()


def test_a_time_out_that_nobody_would_wait_is_refused_before_anything_changes(
    run: Run, sandbox: SandboxProcess
) -> None:
    before = endpoints(sandbox)
    for seconds in ("0", "-1", "nan", "3601"):
        refused = run("connect_stripe", "--timeout", seconds)
        assert (refused.code, "at most 3600 seconds" in refused.error) == (2, True)
    assert endpoints(sandbox) == before
