"""A database of its own, a shop, and a person about whom much is stored."""

import subprocess
from collections.abc import Callable, Iterable

import pytest

from backoffice.postgres import LOCAL_DIR, EmbeddedServer
from tests.commands.conftest import run
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database

__all__ = ["run"]

Found = Callable[[Iterable[str]], dict[str, list[str]]]


@pytest.fixture
def shop(real_database: Database, sandbox: SandboxProcess) -> Shop:
    shop = Shop(sandbox)
    shop.deliver()
    return shop


@pytest.fixture
def found(real_database: Database) -> Found:
    """Those of the texts that a full-text search over a dump of the database finds, and where."""

    def search(texts: Iterable[str]) -> dict[str, list[str]]:
        dumped = subprocess.run(
            [
                EmbeddedServer(LOCAL_DIR / "tests").binary("pg_dump"),
                *("--data-only", real_database.url),
            ],
            check=True,
            capture_output=True,
        ).stdout.decode()
        hits: dict[str, list[str]] = {}
        table = ""
        for line in dumped.lower().splitlines():
            if line.startswith("copy "):
                table = line.split()[1]
            for text in texts:
                if text.lower() in line:
                    hits.setdefault(text, []).append(table)
        return hits

    return search
