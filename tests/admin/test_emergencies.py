"""What to do in an emergency: every step leads to a page and names a command that there is."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.core.management import get_commands
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.admin.cells import changelist_url, page_url
from billing.admin.emergencies import Step
from billing.models import Alert, Backup
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.incidents.trouble import recovery

pytestmark = pytest.mark.django_db

ADDRESS = "/admin/billing/incident/emergencies/"


def steps(client: Client) -> dict[str, list[Step]]:
    response = client.get(ADDRESS)
    assert response.status_code == 200
    return {each.name: each.steps for each in response.context["procedures"]}


def test_it_is_where_the_address_says_and_for_whoever_sees_anything(log_in: LogIn) -> None:
    assert reverse("admin:billing_emergencies") == ADDRESS
    assert log_in("nobody").get(ADDRESS).status_code == 403
    for role in ("support", "finance", "engineer"):
        assert set(steps(log_in(role))) == {"webhooks", "database", "anything"}


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("role", ["support", "finance", "engineer"])
def test_every_link_opens_and_every_command_exists(log_in: LogIn, role: str, is_open: bool) -> None:
    if is_open:
        rows.incident()
    rows.alert(rule="quiet")
    client = log_in(role)
    found = [step for each in steps(client).values() for step in each]
    for words, address in {link for step in found for link in step.links}:
        assert client.get(address).status_code == 200, words
    commands = {step.command for step in found if step.command}
    assert {"manage.py check_webhooks", "manage.py reconcile full"} <= commands
    for command in commands:
        assert command.split()[1] in get_commands(), command


def test_it_shows_what_is_so(log_in: LogIn) -> None:
    client = log_in("engineer")
    by_name = steps(client)
    assert by_name["webhooks"][0].state == "No alert about webhooks is open."
    assert by_name["anything"][1].state == "None is open."
    assert [step.state for step in by_name["database"] if step.is_bad] == [
        "It was never assessed.",
        "No good backup is known.",
    ]
    row = rows.incident()
    rows.alert("No event has come", rule="quiet")
    recovery(row, started_at=timezone.now() - timedelta(hours=3))
    taken = timezone.now() - timedelta(hours=5)
    Backup.objects.create(
        name="nightly", taken_at=taken, actor="worker", location="/b", size=1, seconds=1,
        verified_at=taken,
    )  # fmt: skip
    by_name = steps(client)
    assert by_name["webhooks"][0].state == "No event has come."
    assert by_name["webhooks"][0].is_bad
    assert by_name["webhooks"][1].state == "Open: “No webhooks come in”. sue looks after it."
    states = [step.state for each in by_name.values() for step in each]
    assert "The newest good one: nightly, 5 hours ago." in states
    assert any("recovery" in state and "3 hours ago" in state for state in states)
    assert count_queries(lambda: client.get(ADDRESS)) <= 16


def test_the_banner_and_the_alerts_lead_to_it(support: Client) -> None:
    alert = rows.alert()
    for address in (changelist_url(Alert), page_url(alert)):
        assert f'href="{ADDRESS}"' in support.get(address).content.decode()
    home = reverse("admin:index")
    assert "What to do in an emergency" not in support.get(home).content.decode()
    rows.incident()
    page = unescape(re.sub(r"<[^>]+>", " ", support.get(home).content.decode()))
    assert "What to do in an emergency" in page
