"""The runbook's last chapter: the database is damaged, and everything comes back."""

from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from billing.models import CreditEntry
from tests.commands.conftest import Run
from tests.operations.shop import Shop, balance
from tests.recovery.restored.conftest import Books, books, work
from tests.support.databases import Database

EVERYTHING = 3 * 50 - 1 + 7  # three packs, a claim, a grant by hand


@pytest.fixture
def places(tmp_path: Path, settings: Settings) -> None:
    settings.BACKUP_FOLDER = str(tmp_path / "backups")
    settings.EXPORT_URL = f"file://{tmp_path / 'export'}"


def test_from_the_damage_to_books_that_are_whole(
    real_database: Database, shop: Shop, run: Run, places: None
) -> None:
    shop.buy()
    shop.deliver()
    assert run("export_books").code == 0
    made = run("backup", "--reason", "As every night", "--json")
    assert made.code == 0, made.error

    shop.buy()
    shop.deliver()
    work(real_database.url, "u_ada")
    assert run("export_books").code == 0
    shop.buy()  # comes while nothing works
    lost = books(real_database.url)
    destroy(real_database.url)

    said = run("assess", "--json")
    assert said.code == 1
    assert not said.document["whole"]
    assert "u_ada" in str(said.document["users"])

    connection.close()
    restored = run("restore", "latest", "--yes", "--json")
    assert restored.code == 0, restored.error
    back = run("recover_restore", "--yes", "--json")
    assert back.code == 0, back.stdout
    assert back.document["put_back"]["is_whole"]
    assert back.document["backup"] == restored.document["restored"]["backup"]
    assert balance("u_ada") == (EVERYTHING, 0)
    assert CreditEntry.objects.filter(kind="pack").count() == 3
    assert all_of(lost, books(real_database.url))

    whole = run("assess", "--json")
    assert whole.document["whole"], [c for c in whole.document["checks"] if c["verdict"] != "ok"]
    assert run("export_books").code == 0
    assert run("export_books", "--verify").code == 0
    connection.close()


def destroy(url: str) -> None:
    """What no program of ours would do."""
    with psycopg.connect(url) as hand:
        hand.execute("ALTER TABLE credit_entries DISABLE TRIGGER USER")
        hand.execute("DELETE FROM credit_entries WHERE user_id = 'u_ada'")
        hand.execute("DELETE FROM lead_claims")


def all_of(before: Books, after: Books) -> bool:
    """Whether every row of before is there again, as it was."""
    return all(
        row in after[table] for table in before if table != "balances" for row in before[table]
    )
