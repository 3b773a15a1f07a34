"""An incident's way: opened from what is known, handed over, closed for good with a report."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings

from billing.alerts import state
from billing.alerts.firing import Firing, Rule
from billing.alerts.rules import Outcome
from billing.formatting import format_time, iso_time
from billing.incidents.figures import kept_or_now
from billing.models import (
    Alert,
    BillingEvent,
    BulkJob,
    FindingRecord,
    Incident,
    OperationRecord,
)
from billing.models.incidents import current_incident
from billing.operations import bulk, registry
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    Operation,
)
from billing.operations.credits import GrantCredits
from billing.operations.incidents import (
    CloseIncident,
    HandOverIncident,
    NoteIncident,
    OpenIncident,
    TellOfIncident,
)
from tests.admin import rows
from tests.incidents.trouble import outage, recovery
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


def telling(row: Incident, **more: object) -> TellOfIncident:
    arguments = {"to": "cto@example.com, team", "message": "We are at it.", **more}
    return TellOfIncident(incident_id=row.pk, **BOB, **arguments)  # type: ignore[arg-type]


def test_a_note_stands_for_good_even_after_the_end() -> None:
    row = rows.incident(ended_at=timezone.now(), closed_by="erin")
    note = NoteIncident(incident_id=row.pk, text="The secret was rolled.\r\nAt nine.", **BOB)
    assert [(c.label, c.after) for c in note.plan().changes] == [
        ("Note", "The secret was rolled.\nAt nine.")
    ]
    note.apply()
    assert note.apply().already_done
    [entry] = row.entries.all()
    assert (entry.kind, entry.text, entry.actor) == ("note", note.text, "cli:bob")
    [audit] = audits("manual.incident_noted")
    assert (audit["incident"], audit["entry"], audit["text"]) == (row.pk, entry.pk, note.text)
    with pytest.raises(CannotUndoError, match="stays there"):
        undo(note)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        row.entries.update(text="It was not me")


def test_the_team_and_others_are_told_by_what_is_configured(settings: Settings) -> None:
    row = rows.incident()
    assert "ALERT_EMAILS and ALERT_WEBHOOK_URL are not set" in telling(row).plan().blocked
    settings.ALERT_EMAILS = ["ops@example.com"]
    settings.ALERT_WEBHOOK_URL = "http://127.0.0.1:9/hook"
    told = telling(row)
    assert "cannot be called back" in told.plan().warnings[0]
    told.apply(seen=told.plan().digest)
    assert told.apply().already_done
    [entry] = row.entries.all()
    assert (entry.told, entry.text) == (["cto@example.com", "team"], "We are at it.")
    assert sorted(entry.messages.values_list("way", "occasion")) == [
        ("email", "written"),
        ("webhook", "written"),
    ]
    assert audits("manual.incident_told_of")[0]["ways"] == ["email", "webhook"]
    assert ProcrastinateJob.objects.filter(task_name="billing.tell").count() == 1
    only = telling(row, to=["cto@example.com"])
    assert only.ways() == ["email"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    assert "EMAIL_URL is not set" in only.plan().blocked


def test_who_was_told_otherwise_is_written_down_and_nothing_is_sent() -> None:
    row = rows.incident()
    told = telling(row, to="Sue, the customers", by="on the status page")
    assert "Nothing is sent" in told.plan().summary
    told.apply()
    [entry] = row.entries.all()
    assert (entry.told, entry.by) == (["Sue", "the customers"], "on the status page")
    assert not entry.messages.exists()
    for wrong in (
        {"to": " , "}, {"to": "Sue"}, {"to": "a@b,c d"}, {"to": "x" * 201, "by": "x"},
                  {"by": "two\nlines"}, {"message": " "}, {"to": [f"a{n}@b" for n in range(51)]},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError):
            telling(row, **wrong)
    assert "There is no incident" in telling(Incident(pk=row.pk + 1)).plan().blocked


def test_what_is_done_while_it_is_open_belongs_to_it(erin: Actor) -> None:
    """Operations, bulk jobs, runs and alerts find it by themselves, and not the one before."""
    grant = GrantCredits(user_id="u_ada", amount=5, **BOB)
    grant.apply()
    assert record_of(grant.key).incident is None
    opened = opening(erin, alert_id=rows.alert().pk)
    opened.apply()
    row = current_incident()
    assert row is not None
    assert (record_of(opened.key).incident, row.alerts.get()) == (row, row.alert)

    again = GrantCredits(user_id="u_ada", amount=5, **BOB)
    again.apply()
    job = bulk.draft(GrantCredits, ["u_bob"], answers={"amount": 1}, actor=erin)
    bulk.start(job, answers={"amount": 1}, actor=erin, reason="All", reason_code="other")
    bulk.work(job.pk, 5)
    fired = Firing("It is so", "Do this.", "/admin/")
    state.keep([Outcome(Rule("made_up", lambda look: iter(())), [fired])], timezone.now())
    assert {record_of(again.key).incident, BulkJob.objects.get().incident} == {row}
    assert OperationRecord.objects.get(subject="u_bob").incident == row
    assert Alert.objects.get(rule="made_up").incident == row

    old = rows.incident("Old", started_at=timezone.now() - timedelta(days=1))
    NoteIncident(incident_id=old.pk, text="Mine", **BOB).apply()
    assert OperationRecord.objects.get(name="note_incident").incident == old
    assert current_incident() == row
    Incident.objects.update(ended_at=timezone.now())
    assert current_incident() is None


def test_what_began_in_its_time_before_it_was_opened_belongs_to_it(erin: Actor) -> None:
    hour, now = timedelta(hours=1), timezone.now()
    before, meanwhile = now - 3 * hour, now - hour
    other = rows.incident("Another")
    for at, key in ((before, "1"), (meanwhile, "2")):
        rows.alert(key=key, opened_at=at)
        rows.run(started_at=at)
        recovery(None, started_at=at)
    taken = recovery(other, started_at=meanwhile)
    opening(erin, started_at=(now - 2 * hour).isoformat()).apply()
    row = Incident.objects.get(title=TITLE)
    for found in (row.alerts.all(), row.runs.all(), row.recoveries.all()):
        assert len(found) == 1
    taken.refresh_from_db()
    assert taken.incident == other


def test_its_figures_are_kept_as_they_were_when_it_was_closed(erin: Actor) -> None:
    row = outage()
    grant = GrantCredits(user_id="u_ada", amount=5, **BOB)
    grant.apply()
    end = timezone.now()
    CloseIncident(
        incident_id=row.pk, report=REPORT, ended_at=end.isoformat(), actor=erin, reason="Over"
    ).apply()
    row.refresh_from_db()
    said = row.figures
    assert said["ended_at"] == iso_time(end)
    assert said["seconds"]["lasted"] == 2 * 60 * 60
    assert (said["now"]["customers"], said["now"]["access"]) == (5, 2)
    assert said["now"]["money"] == {"eur": 2900, "usd": 4505}
    assert said["events"] == {
        "missed": 6, "recovered": 1, "not_recovered": 5, "replayed": 0, "waiting": 0,
    }  # fmt: skip
    assert said["operations"] == {"grant_credits": {"applied": 1}}
    assert audits("manual.incident_closed")[0]["set"]["figures"] == said
    FindingRecord.objects.update(state="resolved")
    assert kept_or_now(row)["now"]["findings"] == 3
