"""Test databases, each a copy of one template that the migrations made once.

The template is named by a hash of all that decides how the database looks, and kept for
the next run. The server is DATABASE_URL's if that is set, else an embedded one, which
several runs may use at a time and the last of them stops.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import psycopg
from django.apps import apps
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backoffice.postgres import BASE_DIR, LOCAL_DIR, EmbeddedServer
from backoffice.scratch import scratch_folder
from tests.support.environment import child_environment

TEMPLATE_PREFIX = "billing_template_"
COPY_PREFIX = "billing_test_"
APPLICATION_NAME = "billing tests"
KEPT_TEMPLATES = 5


@dataclass(frozen=True)
class Database:
    """One database of a server, under the address that DATABASE_URL takes."""

    name: str
    url: str

    @property
    def django_settings(self) -> dict[str, Any]:
        """What `DATABASES` has for it."""
        options = conninfo_to_dict(self.url)
        names = {"HOST": "host", "NAME": "dbname", "PASSWORD": "password", "PORT": "port"}
        names["USER"] = "user"
        values = {key: options.pop(name, "") for key, name in names.items()}
        return {**values, "OPTIONS": options}


class Databases:
    """Makes and drops the test databases of one pytest process.

    `address` is that of any database on the server; it is only connected to.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.admin = psycopg.connect(address, autocommit=True, application_name=APPLICATION_NAME)
        self.made = 0
        self.drop_abandoned()

    def close(self) -> None:
        self.admin.close()

    def create(self, *, empty: bool = False, template: Database | None = None) -> Database:
        """A new database with everything migrated and nothing else in it, or with no table.

        Or a copy of `template`, to which nobody may be connected meanwhile.
        """
        self.made += 1
        name = f"{COPY_PREFIX}{self.admin.info.backend_pid}_{self.made}"
        source = template.name if template else "template1" if empty else self.template
        self.execute("DROP DATABASE IF EXISTS {}", name)
        self.execute("CREATE DATABASE {} TEMPLATE {}", name, source)
        return self.database(name)

    def drop(self, database: Database) -> None:
        """Drop a database that `create` made, ending the connections to it."""
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name)

    @cached_property
    def template(self) -> str:
        """The name of the template database, which is made if it is missing."""
        name = TEMPLATE_PREFIX + schema_hash()
        self.admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [TEMPLATE_PREFIX])
        try:
            if name not in self.names(TEMPLATE_PREFIX):
                self.make_template(name)
        finally:
            self.admin.execute("SELECT pg_advisory_unlock(hashtext(%s))", [TEMPLATE_PREFIX])
        return name

    def make_template(self, name: str) -> None:
        """Migrate a new database and then give it its name, so that no half-made one has it."""
        unfinished = self.database("billing_unfinished_template")
        self.drop(unfinished)
        self.execute("CREATE DATABASE {}", unfinished.name)
        migrate(unfinished.url)
        self.execute("ALTER DATABASE {} RENAME TO {}", unfinished.name, name)
        for old in self.names(TEMPLATE_PREFIX)[KEPT_TEMPLATES:]:
            self.execute("DROP DATABASE IF EXISTS {}", old)

    def drop_abandoned(self) -> None:
        """Drop the databases of processes that were killed."""
        owners = self.admin.execute(
            "SELECT pid::text FROM pg_stat_activity WHERE application_name = %s", [APPLICATION_NAME]
        ).fetchall()
        for name in self.names(COPY_PREFIX):
            if (name.split("_")[2],) not in owners:
                self.drop(self.database(name))

    def names(self, prefix: str) -> list[str]:
        """The databases whose name begins so, the newest first."""
        rows = self.admin.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY oid DESC",
            [prefix],
        )
        return [name for (name,) in rows]

    def database(self, name: str) -> Database:
        return Database(name, urlsplit(self.address)._replace(path=f"/{name}").geturl())

    def execute(self, statement: str, *names: str) -> None:
        """Run a statement whose placeholders are names of databases."""
        self.admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def shared_server() -> Iterator[str]:
    """The embedded server of the tests, for as long as any process uses it: its address."""
    LOCAL_DIR.mkdir(exist_ok=True)
    project = EmbeddedServer(LOCAL_DIR / "tests").alias
    folder = scratch_folder() / f"{project}-{os.geteuid()}"
    server = EmbeddedServer(folder, durable=False)
    with (LOCAL_DIR / "tests.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        server.ensure_running()
        try:
            yield server.url()
        finally:
            if is_last(users):
                server.stop()


def is_last(users: IO[str]) -> bool:
    """Whether no other process holds the lock on `users`; the last one keeps new ones waiting."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def migrate(url: str, *options: str) -> None:
    """Run `manage.py migrate` on the database at `url`."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity=0", *options],
        cwd=BASE_DIR,
        env=child_environment(DATABASE_URL=url),
        check=True,
    )


def schema_hash() -> str:
    """A hash of all files that decide how a migrated database looks."""
    files = sorted(
        file
        for app in apps.get_app_configs()
        for file in (Path(app.path) / "migrations").rglob("*.*")
        if file.suffix != ".pyc"
    )
    files += sorted((BASE_DIR / "billing" / "models").rglob("*.py"))
    files += [BASE_DIR / "billing" / "management" / "commands" / "migrate.py"]
    files += [BASE_DIR / "billing" / "permissions.py"]  # what the migrations give to the roles
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
