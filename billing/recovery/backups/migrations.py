"""How a backup's tables stand to this code: which migrations lie between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.core.management import call_command
from django.db import DatabaseError, connections
from django.db.migrations.loader import MigrationLoader

from billing.recovery.backups.folder import BackupError, Manifest


@dataclass(frozen=True, slots=True)
class Between:
    """Migrations that the code has and the backup has not, and the other way round."""

    missing: list[str]
    unknown: list[str]


def between(manifest: Manifest) -> Between:
    """Compares the backup's migrations with the code's. Asks no database."""
    loader = MigrationLoader(None)
    applied = set(manifest.contents.migrations)
    replaced = {
        f"{app}.{name}": [f"{each_app}.{each}" for each_app, each in migration.replaces]
        for (app, name), migration in loader.disk_migrations.items()
    }
    missing = [
        name
        for app, migration in loader.graph.nodes
        if (name := f"{app}.{migration}") not in applied
        and not (replaced[name] and applied.issuperset(replaced[name]))
    ]
    known = set(replaced).union(*replaced.values())
    return Between(sorted(missing), sorted(applied - known))


def migrate(database: str) -> None:
    """Applies the code's migrations to another database of Django's server. Raises BackupError."""
    with _django_at(database):
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except DatabaseError as error:
            first = str(error).strip().partition("\n")[0]
            raise BackupError(f"Migrating {database} failed: {first}.") from error


@contextmanager
def _django_at(database: str) -> Iterator[None]:
    """Lets Django's connection lead to another database of the same server."""
    connection = connections["default"]
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
