"""PostgreSQL was restarted between two deliveries: neither is lost, nor answered with a 500."""

import psycopg
import pytest
from pytest_django import Settings

from tests.ingress.webhook import as_body, deliver, event, kept
from tests.support.databases import Database
from tests.support.environment import WEBHOOK_SECRET


@pytest.fixture
def our_secret(settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]


def end_all_connections(database: Database) -> int:
    with psycopg.connect(database.url, autocommit=True) as other:
        ended = other.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(ended[0]) if ended else 0


def test_a_connection_that_died_costs_no_delivery(
    real_database: Database, our_secret: None
) -> None:
    assert deliver(as_body(event(id="evt_1"))).status_code == 200
    assert end_all_connections(real_database) >= 1
    assert deliver(as_body(event(id="evt_2"))).status_code == 200
    assert [event_id for event_id, _ in kept()] == ["evt_1", "evt_2"]
