"""Incidents in the admin: their list and page, how far they reach, and how they are opened."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.admin.cells import changelist_url, page_url
from billing.admin.home import Figure
from billing.admin.operations import CLOSE_INCIDENT, OPEN_INCIDENT
from billing.incidents import timeline
from billing.models import Alert, InboxEvent, Incident
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def page_of(client: Client, row: Alert | Incident) -> str:
    return client.get(page_url(row)).content.decode()


def scope(client: Client, row: Incident) -> dict[str, Figure]:
    return {f.title: f for f in client.get(page_url(row)).context["scope"].figures}


def trouble(now_ago: timedelta = timedelta()) -> Incident:
    """Two customers' findings and three events of its time, and one of each from before."""
    now = timezone.now() - now_ago
    row = rows.incident(started_at=now - 2 * HOUR)
    before, meanwhile = now - 3 * HOUR, now - HOUR
    for subject, user, currency, at, state in (
        ("cs_1", "u_ada", "usd", meanwhile, "open"),
        ("cs_2", "u_ada", "eur", meanwhile, "open"),
        ("cs_3", "u_bob", "usd", meanwhile, "open"),
        ("cs_4", "u_eve", "usd", meanwhile, "resolved"),
        ("cs_5", "u_eve", "usd", before, "open"),
    ):
        rows.finding(
            subject, user_id=user, currency=currency, state=state, first_seen_at=at, last_seen_at=at
        )
    for number, (status, at) in enumerate(
        [("failed", meanwhile), ("pending", meanwhile), ("processed", meanwhile), ("dead", before)]
    ):
        rows.inbox_event(f"evt_{number}", status=status, received_at=at)
    return row


def test_its_scope_is_what_was_found_in_its_time_and_leads_to_it(support: Client) -> None:
    row = trouble()
    found = scope(support, row)
    assert {title: figure.value for title, figure in found.items()} == {
        "Customers touched": "2",
        "Access at stake": "0",
        "Paid, not granted": "150 credits",
        "Money at stake": "45.00 EUR, 90.00 USD",
        "Credits at stake": "150",
        "Events pending": "1",
        "Events failed": "1",
        "Events dead": "0",
    }
    for title, count in (("Customers touched", 3), ("Events failed", 1), ("Events dead", 0)):
        listed = support.get(found[title].url).context["cl"].result_list
        assert len(listed) == count, title


def test_a_closed_one_counts_nothing_of_later(support: Client) -> None:
    row = rows.incident(ended_at=timezone.now() - HOUR, closed_by="erin")
    rows.finding()
    rows.inbox_event()
    found = scope(support, row)
    assert [found[title].value for title in ("Customers touched", "Events dead")] == ["0", "0"]
    assert list(support.get(found["Events dead"].url).context["cl"].result_list) == []
    assert "It is over since" in page_of(support, row)


def test_what_happened_meanwhile_newest_first(support: Client) -> None:
    row, now = rows.incident(), timezone.now()
    rows.record("op_1", created_at=now - HOUR, result={"summary": "Granted 50 credits."})
    rows.record("op_old", created_at=now - 3 * HOUR)
    rows.alert("Events fail", opened_at=now - 3 * HOUR, resolved_at=now - HOUR / 2)
    rows.run(started_at=now - HOUR / 4)
    shown = support.get(page_url(row)).context["happened"]
    assert [cells[:2] for _, cells in shown.rows] == [
        ["Daily run", "Reconciliation"],
        ["Events fail", "Alert over"],
        ["Grant credits, applied", "Operation"],
    ]
    for number in range(timeline.SHOWN):
        rows.alert(f"Alert {number}", key=f"{number}")
    shown = support.get(page_url(row)).context["happened"]
    assert len(shown.rows) == timeline.SHOWN
    assert f"the newest {timeline.SHOWN}" in shown.title


def test_its_page_costs_the_same_however_much_happened(support: Client) -> None:
    row = rows.incident()
    rows.fill(3)
    few = count_queries(lambda: page_of(support, row))
    rows.fill(57, start=3)
    assert count_queries(lambda: page_of(support, row)) == few <= 24


def test_an_alert_opens_one_with_everything_filled_in(support: Client) -> None:
    good = timezone.now() - 5 * HOUR
    rows.inbox_event(status=InboxEvent.Status.PROCESSED, stripe_created_at=good)
    alert = rows.alert()
    address = OPEN_INCIDENT.url({"target": alert.title, "alert": str(alert.pk)})
    assert address.replace("&", "&amp;") in page_of(support, alert)
    form = support.get(address).context["form"]
    assert form["started_at"].value() == f"{good:%Y-%m-%dT%H:%M:%S}"
    answers = {
        "target": alert.title,
        "alert": alert.pk,
        "started_at": form["started_at"].value(),
        "owner": "me",
    }
    plan = support.post(OPEN_INCIDENT.url(), answers).context["previews"][0].plan
    assert ("Owner", "support") in [(change.label, change.after) for change in plan.changes]
    done = support.post(
        OPEN_INCIDENT.url(),
        {
            **answers,
            "_apply": "1",
            "key": form["key"].value(),
            "reason": "Told at 9",
            "reason_code": "other",
        },
    )
    assert done.context["outcomes"][0].error == ""
    row = Incident.objects.get()
    assert (row.title, row.owner, row.alert) == (alert.title, "support", alert)
    assert "is open for this alert already" in page_of(support, alert)
    opened = support.get(reverse("admin:billing_open"), {"id": row.title})
    assert opened["Location"] == page_url(row)


@pytest.mark.parametrize(
    ("role", "opens", "closes"),
    [("support", True, False), ("finance", False, False), ("engineer", True, True)],
)
def test_each_role_has_its_buttons(log_in: LogIn, role: str, opens: bool, closes: bool) -> None:
    client, row = log_in(role), rows.incident()
    listed = client.get(changelist_url(Incident)).content.decode()
    assert (OPEN_INCIDENT.url() in listed) == opens
    assert (CLOSE_INCIDENT.url() in page_of(client, row)) == closes
    closed = rows.incident("Old", ended_at=timezone.now(), closed_by="erin")
    assert CLOSE_INCIDENT.url() not in page_of(client, closed)


def test_the_form_names_who_may_own_it(support: Client) -> None:
    User.objects.create_user("erin", is_staff=True)
    page = support.get(OPEN_INCIDENT.url()).content.decode()
    assert 'value="user:erin"' in page
    assert "Nobody: lay it down" not in page
