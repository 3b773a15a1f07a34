"""One foreign database, adopted once while its application runs; each test has a copy of it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from pytest_django.plugin import DjangoDbBlocker

from backoffice.postgres import BASE_DIR
from billing.adoption import applying
from billing.management.commands.adopt import checked
from tests.adoption import foreign
from tests.adoption.application import Application
from tests.conftest import connected_to
from tests.support.databases import Database, Databases
from tests.support.environment import child_environment

SEEN_BY_US = "-c search_path=backoffice,public"


@dataclass
class Adopted:
    """A database that was adopted, and what was known before."""

    database: Database
    planted: foreign.Planted
    application: Application
    check: dict[str, Any]
    schema_before: list[Any]
    rows_before: dict[str, list[Any]]
    killed: bool = False
    opened: dict[str, int] = field(default_factory=dict)


def as_ours(database: Database, options: str = SEEN_BY_US) -> Database:
    """The same database, as our processes connect to it with DATABASE_SCHEMA."""
    url = urlsplit(database.url)._replace(query=f"options={quote(options)}").geturl()
    return Database(database.name, url)


@contextmanager
def on(database: Database, blocker: DjangoDbBlocker) -> Iterator[Database]:
    with blocker.unblock(), connected_to(database):
        yield database


@pytest.fixture(scope="session")
def adopted(databases: Databases, django_db_blocker: DjangoDbBlocker) -> Iterator[Adopted]:
    """The application claims leads all the time; the first try is killed with SIGKILL."""
    database = databases.create(empty=True)
    planted = foreign.build(database.url)
    before = foreign.schema(database.url), foreign.rows(database.url)
    application = Application(database.url, planted.users)
    with application.running():
        with on(database, django_db_blocker):
            document = checked(100, None).document
        killed = kill_a_try(database.url)
        with on(database, django_db_blocker):
            applying.apply(lambda said: None)
    yield Adopted(database, planted, application, document, *before, killed=killed)
    databases.drop(database)


@pytest.fixture
def shop_floor(
    adopted: Adopted, databases: Databases, django_db_blocker: DjangoDbBlocker, settings: Any
) -> Iterator[Database]:
    """A copy of it for one test, to which Django is connected as our processes are."""
    settings.STRIPE_CALLS_IN_TRANSACTION = False
    database = as_ours(databases.create(template=adopted.database))
    with on(database, django_db_blocker):
        yield database
    databases.drop(database)


def kill_a_try(url: str) -> bool:
    """Runs `adopt --apply` until it changes the tables, and kills it; whether it was so."""
    child = subprocess.Popen(
        [sys.executable, "manage.py", "adopt", "--apply"],
        cwd=BASE_DIR,
        env=child_environment(DATABASE_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with psycopg.connect(url, autocommit=True) as db:
            while child.poll() is None:
                if steps_of(db, ": index ") >= 2:
                    child.kill()
                    child.wait()
                    return True
                time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    return False


def steps_of(db: psycopg.Connection, sort: str) -> int:
    """How many steps of a sort the journal has."""
    row = db.execute("SELECT to_regclass('backoffice.adoption_steps')").fetchone()
    if not row or not row[0]:
        return 0
    found = db.execute(
        "SELECT count(*) FROM backoffice.adoption_steps WHERE strpos(step, %s) > 0", [sort]
    ).fetchone()
    return int(found[0]) if found else 0
