"""A place to export to, and writers on connections of their own."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from billing.recovery.export import reading
from billing.recovery.export.store import Store, open_store
from tests.support.databases import Database


@pytest.fixture
def place(tmp_path: Path, settings: Settings) -> Path:
    """The folder that EXPORT_URL names; the export makes it."""
    folder = tmp_path / "export"
    settings.EXPORT_URL = f"file://{folder}"
    return folder


@pytest.fixture
def store(place: Path) -> Store:
    return open_store()


@pytest.fixture
def application(real_database: Database) -> Iterator[psycopg.Connection]:
    """The marketplace's own connection, whose transactions last as long as it likes."""
    with psycopg.connect(real_database.url) as its_own:
        yield its_own


@pytest.fixture
def ours(db: None) -> psycopg.Connection:
    """Django's own connection, for what needs no second one: the test is one transaction."""
    connection.ensure_connection()
    return connection.connection  # type: ignore[no-any-return]


def exported(stream: str) -> list[dict[str, object]]:
    """All rows of a stream that are at the place."""
    return list(reading.rows(stream))
