"""The commands on incidents: as thin as the pages, with the same answers."""

import pytest
from django.contrib.auth.models import User
from django.core.management import load_command_class

from billing.formatting import format_time
from billing.models import Incident
from tests.admin import rows
from tests.commands.conftest import Run

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


@pytest.mark.parametrize("name", ["open_incident", "hand_over_incident", "close_incident"])
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())
