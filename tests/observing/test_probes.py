"""/healthz and /readyz, as load balancers and orchestrators ask for them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from billing.alerts.flow import BACKLOG
from billing.models import InboxEvent
from billing.observing import readiness
from tests.alerts.looking import start_worker
from tests.conftest import connected_to
from tests.support.databases import Database


@pytest.fixture
def production(settings: Settings) -> None:
    """What stands in a probe's way in production: only these host names, and TLS alone."""
    settings.ALLOWED_HOSTS = ["billing.example.com"]
    settings.SECURE_SSL_REDIRECT = True


def ask(path: str = "/readyz", **headers: str) -> tuple[int, dict[str, Any]]:
    """As a kubelet does: plain HTTP, the pod's address for a host, no cookies."""
    readiness.everything.forget()
    readiness.web_server.forget()
    answer = Client().get(path, headers={"host": "10.1.2.3:8000", **headers})
    return answer.status_code, answer.json()


@pytest.mark.django_db
def test_a_probe_needs_no_host_name_no_tls_and_no_log_in(production: None) -> None:
    start_worker()
    assert ask() == (200, everything_well())
    assert Client().get("/admin/", headers={"host": "10.1.2.3:8000"}).status_code == 400
    head = Client().head("/readyz", headers={"host": "10.1.2.3:8000"})
    assert (head.status_code, head.content) == (200, b"")
    assert Client().post("/readyz").status_code == 405


def everything_well() -> dict[str, Any]:
    said = {
        "database": "It answers.",
        "migrations": "All are applied.",
        "worker": "One is alive.",
        "backlog": "Few events wait.",
    }
    checks = {name: {"ok": True, "said": sentence} for name, sentence in said.items()}
    return {"ready": True, "checks": checks}


def test_that_the_process_is_up_asks_no_database(production: None) -> None:
    """Without the mark, a question to the database would raise."""
    answer = Client().get("/healthz", headers={"host": "10.1.2.3"})
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_without_a_worker_it_is_not_ready_and_yet_takes_requests() -> None:
    status, said = ask()
    assert status == 503
    assert [name for name, check in said["checks"].items() if not check["ok"]] == ["worker"]
    assert "manage.py run_worker" in said["checks"]["worker"]["said"]
    status, said = ask("/readyz/web")
    assert (status, set(said["checks"])) == (200, {"database", "migrations"})


@pytest.mark.django_db
def test_a_worker_that_gave_no_sign_for_long_is_not_alive() -> None:
    start_worker(seen=timedelta(seconds=61))
    assert ask()[0] == 503


@pytest.mark.django_db
def test_a_long_backlog_and_a_missing_migration_are_named() -> None:
    start_worker()
    now = timezone.now()
    InboxEvent.objects.bulk_create(
        InboxEvent(stripe_event_id=f"evt_{n}", type="x", body="{}", stripe_created_at=now)
        for n in range(BACKLOG)
    )
    assert not ask()[1]["checks"]["backlog"]["ok"]
    InboxEvent.objects.filter(stripe_event_id="evt_0").update(status="processed")
    assert ask()[0] == 200
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'billing' AND name LIKE '00%%'")
    status, said = ask("/readyz/web")
    assert (status, said["checks"]["migrations"]["ok"]) == (503, False)
    assert "manage.py migrate" in said["checks"]["migrations"]["said"]


@pytest.mark.django_db
def test_it_does_not_mind_what_a_newer_version_has_migrated() -> None:
    start_worker()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('billing', '9999_newer', now())"
        )
    assert ask()[0] == 200


@pytest.mark.django_db
def test_however_often_it_is_asked_the_database_is_asked_once_a_second() -> None:
    ask()
    with CaptureQueriesContext(connection) as asked:
        for _ in range(20):
            Client().get("/readyz/web")
            Client().get("/readyz")
    assert len(asked) <= 12  # what the first of each asks, savepoints included


def test_a_database_that_is_gone_is_said_without_a_word_of_where_it_is(
    django_db_blocker: DjangoDbBlocker,
) -> None:
    nowhere = Database("none", "postgres://tell-nobody:tell-nobody@127.0.0.1:9/tell-nobody")
    with django_db_blocker.unblock(), connected_to(nowhere):
        status, said = ask()
        assert Client().get("/healthz").status_code == 200
    assert status == 503
    assert said == {
        "ready": False,
        "checks": {"database": {"ok": False, "said": "The database does not answer."}},
    }
