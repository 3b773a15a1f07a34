"""`manage.py migrate`, which sets up dj-stripe's tables on an empty database in seconds."""

from argparse import SUPPRESS
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from billing.adoption import journal

APP = "djstripe"


class Command(DjangoMigrate):
    """Django's own command, with one shortcut.

    dj-stripe's migrations make about a hundred tables, and then alter and drop most of their
    columns one by one, which takes a minute. Where none of them was applied, the tables are
    created as the last migration leaves them, and all of dj-stripe's migrations are recorded
    as applied. A test compares the two schemas (tests/setup/test_migrate.py).
    """

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--no-shortcut",
            action="store_true",
            help="Run dj-stripe's original migrations on an empty database too.",
        )
        parser.add_argument("--adopting", action="store_true", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        only_looks = options["plan"] or options["check_unapplied"]
        if journal.exists() and not (options["adopting"] or only_looks):
            raise CommandError(
                "This database was adopted: our tables are beside an application's own. Run"
                " manage.py adopt --apply, which migrates it, too."
            )
        if self.may_shorten(connection, options):
            self.verbosity = options["verbosity"]
            progress = self.migration_progress_callback
            create_tables(MigrationExecutor(connection, progress))  # type: ignore[arg-type]
            if self.verbosity > 0:
                self.stdout.write(
                    "Created dj-stripe's tables as its last migration leaves them, and recorded"
                    " its migrations as applied (--no-shortcut runs them)."
                )
        super().handle(*args, **options)

    def may_shorten(self, connection: BaseDatabaseWrapper, options: dict[str, Any]) -> bool:
        """Whether this call would run all of dj-stripe's migrations, with none of its tables."""
        untypical = ("no_shortcut", "migration_name", "fake", "fake_initial", "plan", "prune")
        if any(options[name] for name in (*untypical, "check_unapplied")):
            return False
        executor = MigrationExecutor(connection)
        loader = executor.loader
        leaves = loader.graph.leaf_nodes(options["app_label"])
        planned = {
            (migration.app_label, migration.name)
            for migration, _ in executor.migration_plan(leaves)
        }
        needed = {key for key in loader.graph.nodes if key[0] == APP}
        tables = connection.introspection.table_names()
        return needed <= planned and not any(table.startswith(f"{APP}_") for table in tables)


def create_tables(executor: MigrationExecutor) -> None:
    """Create dj-stripe's tables in one transaction, after the migrations that they build on."""
    loader = executor.loader
    keys = [key for key in loader.graph.nodes if key[0] == APP]
    leaves = loader.graph.leaf_nodes(APP)
    before = {parent for key in keys for parent in loader.graph.forwards_plan(key)} - set(keys)
    executor.migrate(sorted(before - set(loader.applied_migrations)))

    apps = loader.project_state(leaves).apps
    with transaction.atomic(using=executor.connection.alias):
        with executor.connection.schema_editor() as editor:
            for model in apps.get_app_config(APP).get_models():
                if model._meta.can_migrate(executor.connection):
                    editor.create_model(model)
        for key in keys:
            executor.recorder.record_applied(*key)
