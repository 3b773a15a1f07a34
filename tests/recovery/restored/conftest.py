"""A database that is lost, and the older copy of it that takes its place."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from psycopg.rows import dict_row

from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from billing.operations.notes import AddNote
from billing.recovery.restored.recovering import Begin
from tests.commands.conftest import run as run
from tests.conftest import connected_to
from tests.recovery.export.conftest import place as place
from tests.recovery.export.writers import claim, give
from tests.support.databases import Database, Databases

# What only we know, and what must be as it was: which rows of a table.
OURS = {
    "billing_events": "type ~ '^(manual|system|sql)\\.'",
    "billing_audit_chain": "true",
    "credit_entries": "true",
    "lead_claims": "true",
    "billing_notes": "true",
    "billing_operations": "true",
}

BALANCES = "SELECT user_id, balance, owed FROM lead_credits ORDER BY 1"

Books = dict[str, list[dict[str, Any]]]


@pytest.fixture
def back_up(real_database: Database, databases: Databases) -> Iterator[Callable[[], Database]]:
    """Makes a copy of the database as it is now."""
    made: list[Database] = []

    def copy() -> Database:
        connection.close()
        made.append(databases.create(template=real_database))
        return made[-1]

    yield copy
    for each in made:
        databases.drop(each)


restored = connected_to
"""Django is connected to the copy, as after a restore."""


def lost() -> Begin:
    """A backup of an hour ago, restored just now."""
    now = datetime.now(UTC)
    return Begin(now - timedelta(hours=1), now)


def books(url: str) -> Books:
    """Every row that only we know."""
    with psycopg.connect(url, row_factory=dict_row) as reader:
        return {
            table: reader.execute(
                f"SELECT * FROM {table} WHERE {which} ORDER BY 1"  # noqa: S608  # type: ignore[arg-type]
            ).fetchall()
            for table, which in OURS.items()
        } | {"balances": reader.execute(BALANCES).fetchall()}


def live(url: str, name: str) -> None:
    """Credits by raw SQL, and then some work."""
    with psycopg.connect(url) as application:
        give(application, name, 5)
    work(url, name)


def work(url: str, name: str) -> None:
    """What the marketplace does for somebody who has credits, and what people do."""
    with psycopg.connect(url) as application:
        claim(application, name, f"lead of {name}")
    common: dict[str, Any] = {"actor": Actor.cli("ann"), "reason": "She called"}
    GrantCredits(user_id=name, amount=7, **common).apply()
    AddNote(about=name, text=f"About {name}: 1.10 €", **common).apply()


def all_add_up() -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT user_id, sum(delta)::bigint, sum(owed_delta)::bigint FROM credit_entries"
            " GROUP BY user_id EXCEPT SELECT user_id, balance, owed FROM lead_credits"
        )
        return cursor.fetchall() == []
