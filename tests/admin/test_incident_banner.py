"""An open incident is told of on every page, and has its section on the home page."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.admin.cells import changelist_url, page_url
from billing.admin.home import Section
from billing.models import FindingRecord, Incident
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def at_home(client: Client) -> Section:
    sections = client.get(reverse("admin:index")).context["sections"]
    return next(section for section in sections if section.title == "Incidents")


def test_every_page_says_that_one_is_open(log_in: LogIn) -> None:
    client = log_in("finance")
    list_address = changelist_url(FindingRecord)
    assert 'aria-label="Open incidents"' not in client.get(list_address).content.decode()
    nothing_open = count_queries(lambda: client.get(list_address))
    made = [rows.incident(f"Trouble {number}") for number in range(5)]
    for address in (list_address, reverse("admin:index"), page_url(made[0])):
        page = client.get(address).content.decode()
        assert page.count("UTC. sue looks after it.") == 3, address
        assert f'href="{page_url(made[4])}"' in page
        assert "All open incidents" in page
    assert count_queries(lambda: client.get(list_address)) == nothing_open
    Incident.objects.update(ended_at=timezone.now())
    assert 'aria-label="Open incidents"' not in client.get(list_address).content.decode()


def test_who_may_not_see_them_reads_nothing_of_them(log_in: LogIn, client: Client) -> None:
    rows.incident()
    for each in (log_in("nobody"), client):
        page = each.get(reverse("admin:index"), follow=True).content.decode()
        assert "No webhooks come in" not in page


def test_the_home_page_says_what_is_open_and_what_was_last(support: Client) -> None:
    section = at_home(support)
    assert (section.answer, [f.verdict for f in section.figures]) == (
        "No incident is open",
        ["No incident is open."],
    )
    now = timezone.now()
    old = rows.incident("Old", ended_at=now - 2 * HOUR, closed_by="erin")
    rows.incident("Older", ended_at=now - 3 * HOUR, closed_by="erin")
    last = at_home(support).figures[1]
    assert (last.value, last.url, last.verdict) == (
        "2 hours ago",
        page_url(old),
        "“Old”, closed by erin.",
    )
    row = rows.incident()
    section = at_home(support)
    assert section.answer == "Somebody is at work on it"
    [figure] = section.figures
    assert (figure.title, figure.value, figure.url) == (row.title, "2 hours ago", page_url(row))
    assert figure.verdict.startswith("Owner: sue. It began at")
