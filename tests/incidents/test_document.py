"""The report of an incident: its draft, its document, and its timeline."""

import pytest
from django.utils import timezone

from billing.incidents import document, timeline, wording
from billing.incidents.document import as_markdown
from billing.incidents.figures import figures
from billing.models import OperationRecord
from billing.operations.incidents import MAX_REPORT, NoteIncident, TellOfIncident
from billing.operations.runs import StartReconciliation
from billing.reconciliation.runs import reconcile
from tests.admin import rows
from tests.admin.rows import HOSTILE
from tests.incidents.trouble import HOUR, outage, recovery
from tests.operations.shop import BOB
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


def test_the_draft_says_what_is_known() -> None:
    row = outage()
    alert = rows.alert(opened_at=row.started_at + HOUR / 2)
    row.alert = alert
    row.save(update_fields=["alert"])
    rows.record("op_1", incident=row, created_at=row.started_at + HOUR)
    rows.record("op_2", incident=row, status=OperationRecord.Status.FAILED)
    details = {"summary": "Replayed.", "details": {"events": [{}, {}, {}]}}
    rows.record("op_3", name="replay_events", incident=row, result=details)
    recovery(row, status="done", finished_at=row.started_at + 1.5 * HOUR)
    rows.run(incident=row)
    TellOfIncident(incident_id=row.pk, to="Sue", by="by phone", message="x", **BOB).apply()
    said = wording.draft(row, figures(row))
    for line in (
        "Noticed: {}, after 30 minutes",
        "First action: {}, after",
        "Last recovery: {}, after 1 hour 30 minutes",
        "Ended: it is open",
        "6 customers were touched, 5 still are; 2 had paid and had no access, 2 still have none.",
        "At stake at the worst: 29.00 EUR, 45.05 USD, 50 credits.",
        "Events missed: 6; recovered: 1; replayed by hand: 3; waiting: 0.",
        "Operation: grant credits: 1 applied, 1 failed",
        "Reconciliation (daily): done",
        "Told: Sue (by phone).",
    ):
        assert all(part in said for part in line.split("{}")), line
    assert len(said) < MAX_REPORT


def test_what_was_done_and_what_else_happened_stand_apart() -> None:
    row = rows.incident()
    rows.record("op_mine", incident=row, created_at=row.started_at - HOUR)
    rows.record("op_other", subject="u_bob")
    rows.alert("Mine", key="1", incident=row, resolved_at=timezone.now())
    rows.alert("Before", key="2", opened_at=row.started_at - HOUR, resolved_at=timezone.now())
    rows.run(incident=row)
    rows.bulk_job(incident=row)
    recovery(row)
    NoteIncident(incident_id=row.pk, text="The secret was rolled", **BOB).apply()
    mine = [(each.kind, each.title) for each in timeline.belonging(row)]
    assert sorted(mine) == [
        ("Alert opened", "Mine"),
        ("Alert over", "Mine"),
        ("Bulk job", "Grant credits, done"),
        ("Note", "By cli:bob"),
        ("Operation", "Grant credits, applied"),
        ("Reconciliation", "Daily run"),
        ("Recovery", "Outage recovery, running"),
    ]
    assert mine[-1] == ("Operation", "Grant credits, applied")
    assert sorted((each.kind, each.title) for each in timeline.meanwhile(row)) == [
        ("Alert over", "Before"),
        ("Operation", "Grant credits, applied"),
    ]


def test_a_document_takes_nothing_that_was_written_for_markup() -> None:
    row = rows.incident(f"# {HOSTILE} | *x*")
    NoteIncident(incident_id=row.pk, text="| a |\n[x](javascript:1)", **BOB).apply()
    made = as_markdown(document.document(row))
    assert made.startswith(f"# Incident {row.pk}: \\# \\<script\\>")
    assert "\\| a \\| \\[x\\](javascript:1)" in made
    assert "It is open: the report is written when it is closed." in made
    assert document.as_dict(row)["state"] == "open"


def test_a_run_belongs_to_it_and_begins_where_it_was_told(sandbox: SandboxProcess) -> None:
    row = rows.incident()
    start = StartReconciliation(kind="daily", since=row.started_at.isoformat(), **BOB)
    assert "since" in start.plan().summary
    start.apply()
    run = reconcile("daily", actor="erin", since=start.since)
    assert (run.incident, run.since) == (row, row.started_at)
    assert figures(row)["runs"][0]["id"] == run.pk
