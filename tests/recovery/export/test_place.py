"""The place: a folder or a bucket, down, full, shared by mistake, tampered with."""

from pathlib import Path

import pytest

from billing.recovery.export import reading
from billing.recovery.export.store import Store
from billing.recovery.export.writing import export_books

pytestmark = pytest.mark.django_db


def give_and_export(count: int = 1) -> None:
    """So many segments of the audit log and of the ledger, one after the other."""
    from django.db import connection

    for number in range(count):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO lead_credits (user_id, balance) VALUES (%s, 5)", [f"u{number}"]
            )
        export_books()


@pytest.fixture
def filled(place: Path) -> Path:
    """A place with three segments of the audit log."""
    give_and_export(3)
    return place


def wrong(store: Store) -> dict[str, str]:
    return {verdict.stream: verdict.wrong for verdict in reading.verify(store) if verdict.wrong}
