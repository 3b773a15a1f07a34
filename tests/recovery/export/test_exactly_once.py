"""Whatever writers and exporters do at the same time, and whoever is killed: each row once."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from backoffice.processes import Child
from billing.models import CreditEntry, LeadClaim
from billing.recovery.export import reading, segments
from billing.recovery.export.store import open_store
from billing.recovery.export.writing import AlreadyExportingError, export_books
from tests.recovery.export.conftest import exported
from tests.recovery.export.writers import act_as, claim, give
from tests.support.databases import Database
from tests.support.environment import child_environment
from tests.support.waiting import wait_until

WRITERS = 3
STEP = st.one_of(
    st.tuples(
        st.sampled_from(["give", "claim", "fail", "commit", "roll back"]),
        st.integers(0, WRITERS - 1),
    ),
    st.just(("export", 0)),
)


class Writers:
    """Connections that are each at a transaction of its own; what they committed, and when."""

    def __init__(self, connections: list[psycopg.Connection[Any]]) -> None:
        self.connections = connections
        self.committed_at: dict[int, datetime] = {}  # by the entry's id
        self.open: list[list[int]] = [[] for _ in connections]

    def take(self, step: str, number: int) -> None:
        connection, user = self.connections[number], f"user-{number}"
        if step == "commit":
            connection.commit()
            now = timezone.now()
            self.committed_at |= dict.fromkeys(self.open[number], now)
            self.open[number] = []
        elif step == "roll back":
            connection.rollback()
            self.open[number] = []
        else:
            act_as(connection, "olga")
            if step == "give":
                give(connection, user)
            elif step == "claim":
                give(connection, user, 1)
                claim(connection, user, "lead")
            else:
                connection.execute(
                    "UPDATE lead_claims SET status = 'failed' WHERE user_id = %s", [user]
                )
            newest = connection.execute(
                "SELECT max(id) FROM credit_entries WHERE user_id = %s", [user]
            ).fetchone()
            self.open[number] += [newest[0]] if newest and newest[0] else []


@pytest.fixture
def writers(real_database: Database) -> Iterator[list[psycopg.Connection[Any]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(psycopg.connect(real_database.url)) for _ in range(WRITERS)]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEP, min_size=5, max_size=25))
def test_any_interleaving_exports_each_row_once_and_in_its_order(
    writers: list[psycopg.Connection[Any]],
    tmp_path: Path,
    settings: Settings,
    steps: list[tuple[str, int]],
) -> None:
    settings.EXPORT_URL = f"file://{mkdtemp(dir=tmp_path)}"
    told = Writers(writers)
    for step, number in steps:
        if step == "export":
            until = export_books().until
            there = {row["id"] for row in exported("ledger")}
            committed = [id_ for id_, at in told.committed_at.items() if until and at < until]
            assert there.issuperset(committed)
        else:
            told.take(step, number)
    for connection in writers:
        connection.commit()
    export_books()
    export_books()  # who was writing at the note of the first one is over
    ids = [row["id"] for row in exported("ledger")]
    assert ids == list(CreditEntry.objects.order_by("id").values_list("id", flat=True))
    last = {row["id"]: row["row"] for row in exported("records") if row["table"] == "lead_claims"}
    assert {id_: row["status"] for id_, row in last.items()} == dict(  # type: ignore[index]
        LeadClaim.objects.values_list("id", "status")
    )


def test_an_exporter_that_is_killed_leaves_nothing_out_and_nothing_twice(
    real_database: Database, place: Path, tmp_path: Path
) -> None:
    with psycopg.connect(real_database.url) as connection:
        act_as(connection, "olga")
        connection.execute(
            "INSERT INTO lead_credits (user_id, balance)"
            " SELECT 'u' || n, 5 FROM generate_series(1, 40000) AS n"
        )
    exporter = Child(
        "exporter",
        [sys.executable, "manage.py", "export_books"],
        log=tmp_path / "exporter.log",
        env=child_environment(DATABASE_URL=real_database.url, EXPORT_URL=f"file://{place}"),
    )
    third = place / segments.path_of("ledger", 3)
    wait_until(third.exists, pause=0.002)
    exporter.process.send_signal(signal.SIGKILL)
    exporter.process.wait()
    wait_until(exports)  # the server has seen that the killed one is gone
    ids = [row["id"] for row in exported("ledger")]
    assert ids == list(CreditEntry.objects.order_by("id").values_list("id", flat=True))
    assert not [verdict.wrong for verdict in reading.verify(open_store()) if verdict.wrong]


def exports() -> bool:
    try:
        export_books()
    except AlreadyExportingError:
        return False
    return True


@pytest.mark.usefixtures("place")
def test_of_two_exporters_of_one_database_one_leaves_it_to_the_other(
    real_database: Database,
) -> None:
    lock = "hashtextextended('billing.export', 2)"
    with psycopg.connect(real_database.url) as other:
        other.execute(f"SELECT pg_advisory_lock({lock})")
        with pytest.raises(AlreadyExportingError):
            export_books()
        other.execute(f"SELECT pg_advisory_unlock({lock})")
    assert exports()
