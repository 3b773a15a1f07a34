"""An incident's way: opened from what is known, handed over, closed for good with a report."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from billing.formatting import format_time
from billing.models import BillingEvent, Incident, OperationRecord
from billing.operations import registry
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    Operation,
)
from billing.operations.incidents import CloseIncident, HandOverIncident, OpenIncident
from tests.admin import rows
from tests.operations.shop import BOB, audits, record_of

pytestmark = pytest.mark.django_db

TITLE, REPORT = "No webhooks come in", "The worker was down.\nAll was replayed."


@pytest.fixture
def erin() -> Actor:
    """An engineer, who may do all of it."""
    user = User.objects.create_user("erin", is_staff=True)
    user.groups.set(Group.objects.filter(name="engineer"))
    return Actor.of(user)


def opening(actor: Actor, **more: object) -> OpenIncident:
    arguments = {"incident_title": TITLE, **more}
    return OpenIncident(actor=actor, reason="Alert of today", **arguments)  # type: ignore[arg-type]


def undo(operation: Operation) -> None:
    registry.undo(record_of(operation.key), actor=BOB["actor"], reason="It was wrong").apply()


def test_it_is_opened_with_what_is_known(erin: Actor) -> None:
    """The trouble began after the newest event that was processed; who opens it owns it."""
    hour = timedelta(hours=1)
    good = timezone.now() - 3 * hour
    rows.inbox_event("evt_1", status="processed", stripe_created_at=good - hour)
    rows.inbox_event("evt_2", status="processed", stripe_created_at=good)
    rows.inbox_event("evt_3", status="failed", stripe_created_at=good + hour)
    alert = rows.alert()
    operation = opening(erin, alert_id=alert.pk)
    assert not operation.plan().warnings
    operation.apply(seen=operation.plan().digest)
    row = Incident.objects.get()
    assert (row.title, row.started_at, row.ended_at) == (TITLE, good, None)
    assert (row.owner, row.opened_by, row.alert) == ("erin", "erin", alert)
    assert operation.apply().already_done
    [audit] = audits("manual.incident_opened")
    assert (audit["incident"], audit["alert"], audit["admin"]) == (row.pk, alert.pk, "erin")
    assert not BillingEvent.objects.filter(type__startswith="sql.").exists()

    again = opening(erin, alert_id=alert.pk)
    assert again.plan().blocked == f"“{TITLE}” is open for this alert already."
    with pytest.raises(BlockedError):
        again.apply()
    other = opening(erin, incident_title="Stripe is down", started_at="2026-03-01T09:30")
    assert TITLE in other.plan().warnings[0]
    other.apply()
    assert format_time(Incident.objects.get(title="Stripe is down").started_at) == (
        "2026-03-01 09:30:00 UTC"
    )
    with pytest.raises(CannotUndoError, match="close it"):
        undo(operation)


def test_without_any_event_it_begins_now(erin: Actor) -> None:
    before = timezone.now()
    opening(erin).apply()
    assert before <= Incident.objects.get().started_at <= timezone.now()


def test_what_makes_no_sense_is_refused(erin: Actor) -> None:
    tomorrow = (timezone.now() + timedelta(days=1)).isoformat()
    for more, said in (
        ({"started_at": tomorrow}, "is to come"),
        ({"owner": "ghost"}, "ghost has no account here"),
        ({"alert_id": 1}, "There is no alert 1"),
    ):
        operation = opening(erin, **more)
        assert said in operation.plan().blocked
        with pytest.raises(BlockedError, match=said):
            operation.apply()
    for more in ({"incident_title": " "}, {"incident_title": "two\nlines"}, {"alert_id": "x"},
                 {"incident_title": "x" * 201}, {"started_at": "soon"}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            opening(erin, **more)
    assert not Incident.objects.exists()


def test_it_is_handed_over_and_back(erin: Actor) -> None:
    User.objects.create_user("fin", is_staff=True)
    row = rows.incident()
    hand = HandOverIncident(incident_id=f"incident:{row.pk}", owner="fin", actor=erin, reason="Off")
    assert [(c.before, c.after) for c in hand.plan().changes] == [("sue", "fin")]
    hand.apply()
    take = HandOverIncident(incident_id=row.pk, actor=erin, reason="Mine")
    take.apply()
    assert HandOverIncident(incident_id=row.pk, actor=erin, reason="Mine").plan().blocked == (
        "erin owns it already."
    )
    undo(take)
    row.refresh_from_db()
    assert row.owner == "fin"
    assert [each["set"] for each in audits("manual.incident_handed_over")] == [
        {"owner": "fin"},
        {"owner": "erin"},
        {"owner": "fin"},
    ]


def test_it_is_closed_for_good_with_a_report(erin: Actor) -> None:
    row = rows.incident()
    closing = CloseIncident(incident_id=row.pk, report=REPORT, actor=erin, reason="Over")
    assert "cannot be undone" in closing.plan().warnings[0]
    closing.apply(seen=closing.plan().digest)
    row.refresh_from_db()
    assert (row.closed_by, row.closing_report) == ("erin", REPORT)
    assert row.ended_at is not None
    assert audits("manual.incident_closed")[0]["set"]["closing_report"] == REPORT
    assert closing.apply().already_done
    for operation in (
        CloseIncident(incident_id=row.pk, report=REPORT, **BOB),
        HandOverIncident(incident_id=row.pk, owner="erin", **BOB),
    ):
        assert operation.plan().blocked == "erin has closed it already."
        with pytest.raises(BlockedError):
            operation.apply()
    with pytest.raises(CannotUndoError, match="stays closed"):
        undo(closing)


def test_it_ends_between_its_start_and_now(erin: Actor) -> None:
    row = rows.incident()
    for hours, said in ((-3, "cannot have ended before"), (1, "is to come")):
        end = (timezone.now() + timedelta(hours=hours)).isoformat()
        operation = CloseIncident(incident_id=row.pk, report=REPORT, ended_at=end, **BOB)
        assert said in operation.plan().blocked
    end = timezone.now() - timedelta(hours=1)
    CloseIncident(incident_id=row.pk, report=REPORT, ended_at=end.isoformat(), **BOB).apply()
    row.refresh_from_db()
    assert row.ended_at == end
    with pytest.raises(InvalidInputError, match="report is empty"):
        CloseIncident(incident_id=row.pk, report=" \n", **BOB)
    with pytest.raises(InvalidInputError, match="number of the incident"):
        CloseIncident(incident_id="run:1", report=REPORT, **BOB)
    assert "no incident" in CloseIncident(incident_id=row.pk + 1, report="x", **BOB).plan().blocked


def test_raw_sql_on_it_is_seen() -> None:
    row = rows.incident()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_incidents SET owner = 'me' WHERE id = %s", [row.pk])
    [event] = BillingEvent.objects.filter(type="sql.billing_incidents.update")
    assert (event.payload["before"]["owner"], event.payload["after"]["owner"]) == ("sue", "me")
    assert not OperationRecord.objects.exists()
