"""check_alerts: what fires, without telling anybody unless asked to."""

import pytest
from django.core import mail
from pytest_django import Settings

from backoffice.sandbox import API_VERSION
from billing.alerts.rules import ALL
from billing.models import Alert, WatchedRule
from tests.admin import rows
from tests.alerts.looking import start_worker
from tests.commands.conftest import Run
from tests.operations.shop import past_triggers
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


def test_what_fires_is_printed_and_told_only_on_demand(
    run: Run, sandbox: SandboxProcess, settings: Settings
) -> None:
    settings.ALERT_EMAILS = ["ops@example.com"]
    sandbox.stripe.v1.webhook_endpoints.create(
        {
            "url": f"{settings.PUBLIC_URL}/webhooks/stripe",
            "enabled_events": ["*"],
            "api_version": API_VERSION,  # type: ignore[typeddict-item]
        }
    )
    start_worker()
    quiet = run("check_alerts")
    assert (quiet.code, quiet.stdout) == (0, f"All {len(ALL)} rules are quiet.\n")

    rows.grant()
    past_triggers("UPDATE lead_credits SET balance = 99")
    ran = run("check_alerts", "--json")
    assert (ran.code, ran.error) == (1, "1 alert fires.")
    [alert] = ran.document["alerts"]
    assert (alert["rule"], alert["severity"]) == ("ledger", "danger")
    assert alert["page"] == f"{settings.PUBLIC_URL}/admin/billing/assessment/"
    assert ran.document["unknown"] == {}
    assert not Alert.objects.exists()
    assert not WatchedRule.objects.exists()

    told = run("check_alerts", "--tell")
    assert told.code == 1
    assert told.stdout.startswith("DANGER   Balances differ from the ledger\n")
    assert Alert.objects.get().told_at
    assert [letter.subject for letter in mail.outbox] == ["Balances differ from the ledger"]


def test_what_cannot_be_asked_is_said(run: Run) -> None:
    start_worker()
    ran = run("check_alerts")
    assert (ran.code, ran.error) == (1, "2 rules could not be checked.")
    assert "UNKNOWN  endpoint: Stripe could not be reached" in ran.stdout
