"""The commands on incidents: as thin as the pages, with the same answers."""

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import load_command_class
from pytest_django import Settings

from billing.formatting import format_time
from billing.models import Incident
from tests.admin import rows
from tests.commands.conftest import Run
from tests.incidents.trouble import outage
from tests.operations.shop import audits

WHY = ("--reason", "Alert of today", "--actor", "sue")


@pytest.mark.django_db
def test_an_incident_goes_its_way(run: Run) -> None:
    User.objects.create_user("sue", is_staff=True)
    User.objects.create_user("erin", is_staff=True)
    alert = str(rows.alert().pk)
    since = ("--since", "2026-03-01T09:30")
    arguments = ("open_incident", "No webhooks", *since, "--alert", alert, *WHY)
    assert "  Owner:  -> sue" in run(*arguments, "--dry-run").stdout.splitlines()
    assert not Incident.objects.exists()
    ran = run(*arguments, "--json")
    number = str(ran.document["result"]["details"]["incident"])
    again = run(*arguments)
    assert (again.code, "open for this alert already" in again.error) == (1, True)

    assert run("hand_over_incident", number, "--owner", "erin", *WHY).code == 0
    assert run("hand_over_incident", number, "--owner", "ghost", *WHY).code == 1
    closing = ("close_incident", number, "All was replayed.", "--until", "2026-03-02", *WHY)
    assert "warning: This cannot be undone" in run(*closing, "--dry-run").stdout
    assert run(*closing).code == 0
    row = Incident.objects.get()
    assert (row.owner, row.closed_by, row.closing_report) == (
        "erin",
        "cli:sue",
        "All was replayed.",
    )
    assert row.ended_at is not None
    assert format_time(row.ended_at) == "2026-03-02 00:00:00 UTC"
    assert run("close_incident", number, " ", *WHY).code == 2


@pytest.mark.parametrize(
    "name",
    [
        "open_incident", "hand_over_incident", "close_incident", "note_incident",
        "tell_of_incident", "incident_report",
    ],
)  # fmt: skip
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())


@pytest.mark.django_db
def test_notes_and_who_was_told_stand_in_the_report(run: Run, settings: Settings) -> None:
    number = str(outage().pk)
    assert run("note_incident", number, "The secret was rolled.", *WHY).code == 0
    assert run("note_incident", number, " ", *WHY).code == 2
    assert run("note_incident", "999999", "x", *WHY).code == 1

    told = ("tell_of_incident", number, "--message", "We are at it.", *WHY)
    assert run(*told, "--to", "Sue", "--by", "by phone").code == 0
    refused = run(*told, "--to", "team")
    assert (refused.code, "ALERT_EMAILS" in refused.error) == (1, True)
    settings.ALERT_EMAILS = ["ops@example.com"]
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/secret"
    assert (
        "Told:  -> team, cto@example.com"
        in run(*told, "--to", "team", "--to", "cto@example.com", "--dry-run").stdout
    )
    assert mail.outbox == []
    sent = run(*told, "--to", "team", "--to", "cto@example.com")
    assert len(mail.outbox) == 1
    assert sent.code == 1
    assert "not gone out by webhook yet: it could not be reached" in sent.error
    assert "secret" not in sent.error

    shown = run("incident_report", f"incident:{number}").stdout
    for line in ("  Paid, and without access: 2, 2", "Sue, by phone: Told", "  Ended: it is open"):
        assert line in shown, line
    said = run("incident_report", number, "--json").document
    assert (said["status"], said["state"], said["figures"]["notes"]) == ("done", "open", 1)
    assert said["customers"][0]["user_id"] == "u_bob"
    draft = run("incident_report", number, "--draft").stdout
    assert "What is to be done yet:" in draft
    assert run("close_incident", number, draft, *WHY).code == 0
    markdown = run("incident_report", number, "--markdown").stdout
    assert "## Closing report" in markdown
    assert "The secret was rolled." in markdown
    assert [each["file"] for each in audits("manual.export")] == ["json", "md"]
    assert run("incident_report", number, "--markdown", "--json").code == 2
    assert run("incident_report", "999999").code == 1
