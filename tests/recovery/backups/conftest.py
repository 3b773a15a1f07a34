"""A database with some rows in it, and a backup of it, which tests look at and spoil."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from django.db import transaction
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from billing.models import BillingEvent, CreditEntry, InboxEvent, acting_as
from billing.projection import ledger
from billing.projection.ledger import Entry
from billing.recovery.backups import folder, making, servers
from billing.recovery.backups.folder import Manifest
from billing.recovery.backups.servers import Address
from tests.conftest import connected_to
from tests.support.databases import Database, Databases
from tests.support.environment import child_environment

USERS = 30


@dataclass
class Saved:
    """A backup in a folder, and the database that it was made of."""

    address: Address
    where: Path
    manifest: Manifest

    @property
    def dump(self) -> Path:
        return folder.dump_file(self.manifest.name, self.where)

    def change(self, **fields: object) -> Manifest:
        """Writes another manifest than is true."""
        self.manifest = replace(self.manifest, **fields)  # type: ignore[arg-type]
        folder.write(folder.manifest_file(self.manifest.name, self.where), self.manifest.as_json())
        return self.manifest


def fill() -> None:
    """Credits, an event, and a link of the audit chain."""
    with transaction.atomic(), acting_as("test"):
        ledger.post(
            [Entry(f"u_{n}", 10, CreditEntry.Kind.PACK, f"cs_{n}", "Paid") for n in range(USERS)]
        )
        BillingEvent.objects.create(type="manual.note", payload={"summary": "Hi"})
        InboxEvent.objects.create(
            stripe_event_id="evt_1",
            type="invoice.paid",
            body=json.dumps({"id": "evt_1"}),
            stripe_created_at=datetime(2026, 3, 1, tzinfo=UTC),
        )


def address_of(database: Database) -> Address:
    with connected_to(database):
        return servers.of_django()


@pytest.fixture(scope="session")
def original(
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Database, Saved]]:
    """The database, and a backup that was made of it. Not to be changed: see `saved`."""
    database, where = databases.create(), tmp_path_factory.mktemp("backups") / "folder"
    with (
        django_db_blocker.unblock(),
        connected_to(database),
        override_settings(BACKUP_FOLDER=str(where)),
    ):
        fill()
        made = making.make(actor="cli:sue")
        assert not made.manifest.error
        saved = Saved(servers.of_django(), where, made.manifest)
    yield database, saved
    databases.drop(database)


@pytest.fixture
def saved(original: tuple[Database, Saved], tmp_path: Path) -> Saved:
    """A copy of the backup's files for this test alone."""
    where = tmp_path / "backups"
    shutil.copytree(original[1].where, where)
    return replace(original[1], where=where)


@pytest.fixture
def copy(
    original: tuple[Database, Saved],
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
    saved: Saved,
) -> Iterator[Database]:
    """A copy of the database for this test alone; Django, and BACKUP_FOLDER, lead to the copies."""
    database = databases.create(template=original[0])
    with (
        django_db_blocker.unblock(),
        connected_to(database),
        override_settings(BACKUP_FOLDER=str(saved.where)),
    ):
        yield database
    databases.drop(database)


@pytest.fixture
def own(copy: Database, saved: Saved) -> Saved:
    """The backup as one of the copy: that is the database that it is restored to."""
    saved.address = servers.of_django()
    saved.change(database=copy.name)
    return saved


@pytest.fixture
def environment(copy: Database, saved: Saved) -> dict[str, str]:
    """Of child processes that work on the copies."""
    return child_environment(DATABASE_URL=copy.url, BACKUP_FOLDER=str(saved.where))


@pytest.fixture
def server(databases: Databases) -> psycopg.Connection:
    """A connection to another database of the same server."""
    return databases.admin


def beside(server: psycopg.Connection, database: Database) -> dict[str, str]:
    """The databases beside one, by what they are: `restoring`, `damaged`, `verifying`."""
    rows = server.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{database.name}_"]
    )
    return {name.removeprefix(f"{database.name}_").partition("_")[0]: name for (name,) in rows}
