"""/metrics: who may read it, that each figure is right, and what it costs."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoDbBlocker, Settings

from billing.models import (
    Alert,
    Backup,
    ExportProgress,
    FindingRecord,
    InboxEvent,
    OperationRecord,
    ReconciliationRun,
)
from billing.observing import metrics, of_events
from tests.alerts.looking import start_worker
from tests.conftest import connected_to
from tests.ingress.webhook import as_body, deliver, event, signed
from tests.observing.conftest import TOKEN
from tests.support.databases import Database
from tests.support.environment import WEBHOOK_SECRET
from tests.support.plans import plan

LARGE = ("billing_inbox", "billing_events", "billing_operations", "billing_findings")


@pytest.fixture(autouse=True)
def tokens(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]


def read() -> dict[str, dict[tuple[str, ...], float]]:
    """The figures, as Prometheus reads them: by name, by their labels' values.

    Labels stand in the order of their names.
    """
    metrics.exposition.forget()
    answer = Client().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@pytest.mark.django_db
def test_it_is_for_whoever_shows_the_token(settings: Settings) -> None:
    def status(**headers: str) -> int:
        return Client().get("/metrics", headers=headers).status_code

    assert status(authorization=f"Bearer {TOKEN}") == 200
    assert status() == status(authorization="Bearer ") == status(authorization=f"Bearer {TOKEN}x")
    assert status(authorization=TOKEN) == status(authorization="Bearer é") == 401
    settings.METRICS_TOKEN = ""
    assert status(authorization="Bearer ") == status() == 404


@pytest.mark.django_db
def test_deliveries_are_counted_received_and_refused() -> None:
    before = read()
    deliver(as_body(event()))
    deliver(as_body(event(id="evt_2", type="invoice.paid")))
    deliver(as_body(event()), header=signed(as_body(event()), secret="whsec_another"))
    deliver(as_body(event()), header="")
    after = read()
    received = "billing_deliveries_received_total"
    assert after[received][()] - before[received][()] >= 2
    assert after["billing_events_recent"] == {("webhook",): 2, ("api",): 0}
    refused = after["billing_deliveries_refused_total"]
    assert sum(refused.values()) == 2
    assert refused["no signature",] == 1


@pytest.mark.django_db
def test_the_backlog_its_age_and_what_fails() -> None:
    now = timezone.now()
    for number, (status, minutes) in enumerate(
        [("pending", 3), ("pending", 1), ("failed", 30), ("dead", 60), ("processed", 2)]
    ):
        InboxEvent.objects.create(
            stripe_event_id=f"evt_{number}",
            type="invoice.paid",
            body="{}",
            stripe_created_at=now,
            status=status,
            received_at=now - timedelta(minutes=minutes),
            processed_at=now - timedelta(seconds=100) if status == "processed" else None,
        )
    found = read()
    assert found["billing_inbox_events"] == {("pending",): 2, ("failed",): 1, ("dead",): 1}
    ages = found["billing_inbox_oldest_age_seconds"]
    assert [int(ages[status,] // 60) for status in ("pending", "failed", "dead")] == [3, 30, 60]
    assert found["billing_events_failing"] == {
        ("failed", "invoice.paid"): 1,
        ("dead", "invoice.paid"): 1,
    }
    buckets = found["billing_processing_seconds_bucket"]
    assert (buckets["10",], buckets["30",], buckets["+Inf",]) == (0, 1, 1)
    assert found["billing_processing_seconds_gsum"][()] == pytest.approx(20)


@pytest.mark.django_db
def test_workers_operations_and_alerts() -> None:
    start_worker()
    start_worker(seen=timedelta(minutes=5))
    for number, status in enumerate(["applied", "applied", "failed", "requested"]):
        OperationRecord.objects.create(
            key=f"op_{number}", name="grant_credits", subject="u", actor="sue", status=status
        )
    old = OperationRecord.objects.create(key="op_old", name="sync", subject="u", actor="sue")
    OperationRecord.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(2))
    Alert.objects.create(rule="workers", severity="danger", title="No worker")
    Alert.objects.create(rule="quiet", severity="danger", title="x", resolved_at=timezone.now())
    found = read()
    assert found["billing_workers_alive"] == {(): 1}
    assert 4 < found["billing_worker_heartbeat_age_seconds"][()] < 60
    assert found["billing_operations_recent"] == {
        ("grant_credits", "applied"): 2,
        ("grant_credits", "failed"): 1,
        ("grant_credits", "requested"): 1,
    }
    assert found["billing_approvals_waiting"] == {(): 1}
    assert found["billing_alerts_firing"] == {("workers", "danger"): 1}
    assert found["billing_incidents_open"] == {(): 0}


@pytest.mark.django_db
def test_the_books_their_differences_and_their_copies() -> None:
    now = timezone.now()
    finding: dict[str, Any] = {"severity": "danger", "rank": 0, "verdict": "x", "currency": "eur"}
    FindingRecord.objects.create(kind="lost_pack", subject="a", amount=4900, **finding)
    FindingRecord.objects.create(kind="lost_pack", subject="b", amount=100, **finding)
    FindingRecord.objects.create(kind="gone", subject="c", state="resolved", **finding)
    ReconciliationRun.objects.create(
        kind="daily",
        status="done",
        until=now,
        actor="schedule",
        started_at=now - timedelta(hours=3),
        finished_at=now - timedelta(hours=2),
        differences={"lost_pack": 2},
        at_stake={"eur": 5000, "credits": 50},
        measures={
            "timeliness": {"median": 0.5, "p95": 2.5},
            "clearing": {"count": {"share": 0.9}},
        },
    )
    ReconciliationRun.objects.create(kind="daily", status="failed", until=now, actor="sue")
    Backup.objects.create(
        name="b", taken_at=now - timedelta(hours=5), actor="x", location="/", size=1, seconds=1,
        verified_at=now,
    )  # fmt: skip
    ExportProgress.objects.create(stream="events", exported_at=now - timedelta(seconds=40))
    found = read()
    assert found["billing_findings_open"] == {("lost_pack", "danger"): 2}
    assert found["billing_findings_amount"] == {("eur",): 5000}
    assert found["billing_reconciliation_last"] == {("daily", "failed"): 1}
    assert found["billing_reconciliation_age_seconds"]["daily",] == pytest.approx(7200, abs=60)
    assert found["billing_reconciliation_differences"] == {("daily",): 2}
    assert found["billing_reconciliation_amount"] == {("eur", "daily"): 5000}
    assert found["billing_reconciliation_timeliness_seconds"]["daily", "0.95"] == 2.5
    assert found["billing_reconciliation_cleared_ratio"] == {("daily",): 0.9}
    assert found["billing_backup_age_seconds"][()] == pytest.approx(5 * 3600, abs=60)
    assert found["billing_backup_last_ok"] == {(): 1}
    assert found["billing_export_age_seconds"][()] == pytest.approx(40, abs=30)
    assert found["billing_export_failing"] == {(): 0}


@pytest.mark.django_db
def test_a_figure_that_cannot_be_read_is_named_and_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_events, "WINDOW", "no number")
    found = read()
    failed = {of for (of,), value in found["billing_figures_failed"].items() if value}
    assert failed == {"events.deliveries", "events.processing"}
    assert found["billing_database_up"] == {(): 1}
    assert "billing_workers_alive" in found


def test_a_database_that_is_gone_is_a_figure_too(django_db_blocker: DjangoDbBlocker) -> None:
    nowhere = Database("none", "postgres://tell-nobody:tell-nobody@127.0.0.1:9/tell-nobody")
    with django_db_blocker.unblock(), connected_to(nowhere):
        assert read()["billing_database_up"] == {(): 0}


@pytest.mark.django_db
def test_no_statement_has_to_read_a_large_table_from_end_to_end() -> None:
    """PostgreSQL is told to avoid that at all costs, so where it does it has no other way."""
    with CaptureQueriesContext(connection) as asked:
        read()
    statements = [query["sql"] for query in asked if "FROM" in query["sql"]]
    assert len(statements) < 50
    for statement in statements:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            lines = "\n".join(plan(statement, "seqscan"))
            assert not re.search(rf"Seq Scan on ({'|'.join(LARGE)})\b", lines), lines
