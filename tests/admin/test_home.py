"""The home page: at a glance whether webhooks flow, and what waits for a person."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing.admin.home import Figure, Section
from billing.models import (
    InboxEvent,
    OperationRecord,
    Purchase,
    ReconciliationRun,
    WebhookRejection,
)
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries

pytestmark = pytest.mark.django_db

Status = InboxEvent.Status


def sections(client: Client) -> dict[str, Section]:
    response = client.get(reverse("admin:index"))
    assert response.status_code == 200
    return {section.title: section for section in response.context["sections"]}


def figure(client: Client, title: str) -> Figure:
    found = [f for s in sections(client).values() for f in s.figures if f.title == title]
    assert len(found) == 1, title
    return found[0]


def start_worker(*, seen: timedelta = timedelta(seconds=5)) -> None:
    """A worker's row, as Procrastinate writes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)",
            [timezone.now() - seen],
        )


def test_all_is_well(support: Client, settings: Settings) -> None:
    settings.BACKUP_FOLDER = "/srv/backups"
    rows.backup()
    rows.inbox_event(status=Status.PROCESSED)
    start_worker()
    ReconciliationRun.objects.create(
        kind="daily",
        status="done",
        until=timezone.now(),
        actor="worker",
        signed_off_at=timezone.now(),
        measures={"completeness": {"count": {"share": 1.0}}},
    )
    page = support.get(reverse("admin:index")).content.decode()
    assert "Webhooks flow" in page
    assert "All that was paid is granted" in page
    assert "Nothing has come from Stripe yet" not in page
    assert {section.tone for section in sections(support).values()} == {"success"}
    assert figure(support, "Last event").value == "just now"


def test_nothing_has_come_yet(support: Client) -> None:
    page = support.get(reverse("admin:index")).content.decode()
    assert "Nothing has come from Stripe yet" in page
    assert "manage.py check_webhooks" in page
    assert figure(support, "Last event").verdict == "Nothing was ever received."
    rows.inbox_event(source=InboxEvent.Source.API)  # fetched, and no sign that webhooks flow
    assert figure(support, "Last event").value == "none yet"


def test_a_quiet_day_is_pointed_out(support: Client) -> None:
    rows.inbox_event(status=Status.PROCESSED, received_at=timezone.now() - timedelta(hours=30))
    found = figure(support, "Last event")
    assert (found.value, found.tone) == ("1 day ago", "warning")


def test_each_figure_counts_and_leads_to_its_rows(support: Client) -> None:
    for i, status in enumerate(
        [Status.DEAD, Status.DEAD, Status.FAILED, Status.PENDING, Status.SET_ASIDE]
    ):
        rows.inbox_event(f"evt_{i}", status=status)
    rows.purchase("cs_1", status=Purchase.Status.UNATTRIBUTED, user_id=None)
    rows.purchase("cs_2", status=Purchase.Status.UNPRICED)
    rows.record("op_1", status=OperationRecord.Status.FAILED)
    rows.record(
        "op_2",
        status=OperationRecord.Status.STARTED,
        created_at=timezone.now() - timedelta(hours=1),
    )
    expected = {
        "Dead": ("2", "danger"),
        "Failed": ("1", "warning"),
        "Pending": ("1", "success"),
        "Set aside in the past week": ("1", "warning"),
        "Paid by nobody we know": ("1", "warning"),
        "Paid without a price in credits": ("1", "warning"),
        "Failed in the past week": ("1", "warning"),
        "Started, never finished": ("1", "warning"),
    }
    for title, (value, tone) in expected.items():
        found = figure(support, title)
        assert (found.value, found.tone) == (value, tone), title
        listed = support.get(found.url).context["cl"].result_list
        assert str(len(listed)) == value, title
    assert sections(support)["Webhooks"].answer == "Webhooks need you"


def test_what_waits_too_long_is_pointed_out(support: Client) -> None:
    rows.inbox_event(status=Status.PENDING, received_at=timezone.now() - timedelta(minutes=20))
    found = figure(support, "Pending")
    assert found.tone == "danger"
    assert "20 minutes ago" in found.verdict


def test_refusals_are_counted_with_their_reasons(support: Client) -> None:
    rows.rejection("wrong signature", count=40)
    rows.rejection("body too large", count=2)
    rows.rejection("old", hour=timezone.now() - timedelta(days=3))
    WebhookRejection.objects.filter(reason="old").update(last_at=timezone.now() - timedelta(days=3))
    found = figure(support, "Refused in the past day")
    assert (found.value, found.tone) == ("42", "warning")
    assert found.verdict == "40 × wrong signature; 2 × body too large."


def test_whether_a_worker_lives(support: Client) -> None:
    assert figure(support, "Workers").value == "none alive"
    assert "None ever ran." in figure(support, "Workers").verdict
    start_worker(seen=timedelta(minutes=10))
    found = figure(support, "Workers")
    assert (found.value, found.tone) == ("none alive", "danger")
    assert "10 minutes ago" in found.verdict
    start_worker()
    found = figure(support, "Workers")
    assert (found.value, found.tone) == ("1 alive", "success")


def test_users_who_owe_credits_are_counted(support: Client) -> None:
    rows.grant("u_bob", 5)
    rows.grant("u_ada", -5)
    found = figure(support, "Users who owe credits")
    assert found.value == "1"
    assert len(support.get(found.url).context["cl"].result_list) == 1


def test_the_latest_operations_are_shown(support: Client) -> None:
    for i in range(7):
        rows.record(f"op_{i}", reason=f"Reason number {i}")
    page = support.get(reverse("admin:index")).content.decode()
    assert "Reason number 6" in page
    assert "Reason number 0" not in page


@pytest.mark.parametrize(
    ("role", "shortcut", "figures"),
    [
        ("support", True, True),
        ("engineer", True, True),
        ("finance", False, True),
        ("nobody", False, False),
    ],
)
def test_each_role_sees_its_own(log_in: LogIn, role: str, shortcut: bool, figures: bool) -> None:
    rows.record()
    page = log_in(role).get(reverse("admin:index")).content.decode()
    assert ("Sync everything from Stripe" in page) == shortcut
    assert ("Webhooks" in page) == figures
    assert ("Latest operations" in page) == figures
    assert ("You have no role here yet" in page) != figures


def test_it_costs_the_same_however_much_there_is(support: Client) -> None:
    rows.fill(3)
    few = count_queries(lambda: sections(support))
    rows.fill(57, start=3)
    assert count_queries(lambda: sections(support)) == few <= 30


@pytest.mark.parametrize(
    ("role", "sees", "does_not_see"),
    [
        ("support", ["Customers", "Inbox", "Operations"], ["Roles"]),
        ("superuser", ["Customers", "Users", "Roles"], []),
        ("nobody", ["Home"], ["Customers", "Inbox", "Operations", "Roles"]),
    ],
)
def test_the_sidebar_lists_what_one_may_see(
    log_in: LogIn, role: str, sees: list[str], does_not_see: list[str]
) -> None:
    response = log_in(role).get(reverse("admin:index"))
    groups = response.context["sidebar_navigation"]
    shown = {item["title"] for g in groups for item in g["items"] if item["has_permission"]}
    assert shown.issuperset(sees)
    assert not shown.intersection(does_not_see)
