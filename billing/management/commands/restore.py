"""`manage.py restore`."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import format_age, format_size, format_time
from billing.management.command import Answer, OperatorCommand
from billing.recovery.backups import folder, migrations, restoring, servers
from billing.recovery.backups.folder import Manifest, Restored
from billing.recovery.backups.migrations import Between
from billing.recovery.backups.restoring import MAINTENANCE, Standing
from billing.recovery.backups.servers import Address
from billing.recovery.backups.verifying import check


class Command(OperatorCommand):
    help = (
        "Put a backup in the place of the database. It is restored into a new database, and only"
        " when that is whole, connections are ended and it takes the name; the one before is kept"
        " under another name. It works where the database is damaged, closed or gone, writes"
        " nothing into the restored one, and can be run again after it was killed. Then run"
        " recover_restore, which brings back what happened since the backup."
    )
    example = "restore latest --dry-run"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "backup", metavar="BACKUP", help="A name that backup --list says, or latest."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Check the backup, say what would happen."
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask for a confirmation.")
        parser.add_argument(
            "--migrate",
            action="store_true",
            help="Apply newer migrations of this code before it is switched to.",
        )
        parser.add_argument(
            "--maintenance-database",
            metavar="NAME",
            default=MAINTENANCE,
            help=f"Connect to this one of the same server meanwhile (default: {MAINTENANCE}).",
        )
        parser.add_argument(
            "--actor", default="", help="Who restores (default: the user of this system)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        address, where = servers.of_django(), folder.folder()
        manifest = folder.named(options["backup"], address.database, where)
        found = restoring.standing(address, options["maintenance_database"])
        steps = explained(address, manifest, found, migrate=options["migrate"])
        document: dict[str, Any] = {
            "backup": manifest.as_json(),
            "database": address.database,
            "steps": steps,
        }
        if options["dry_run"]:
            check(manifest, where, lambda said: None)
            lines = [*steps, "The file is as it was written. Nothing was done."]
            return Answer({**document, "dry_run": True}, lines)
        if not options["yes"]:
            self.confirm(address.database, steps)
        outcome = self.restored(address, manifest, options)
        left = migrations.between(manifest).missing if not outcome.note.migrated else []
        lines = said(outcome, left)
        document |= {
            "restored": outcome.note.as_json(),
            "earlier": outcome.earlier,
            "next": next_commands(left),
        }
        return Answer(document, lines)

    def restored(
        self, address: Address, manifest: Manifest, options: dict[str, Any]
    ) -> restoring.Outcome:
        with self.progress() as bars:
            bar = bars.add_task("Restoring", total=None)
            return restoring.restore(
                address,
                manifest,
                folder.folder(),
                actor=self.actor(options).name,
                maintenance=options["maintenance_database"],
                migrate=migrations.migrate if options["migrate"] else None,
                tell=lambda said: bars.update(bar, description=said.capitalize()),
            )


def explained(address: Address, manifest: Manifest, found: Standing, *, migrate: bool) -> list[str]:
    """What a restore would do, and what to mind, line by line."""
    name, between = address.database, migrations.between(manifest)
    age = format_age(manifest.taken_at, timezone.now())
    size = format_size(manifest.size)
    first = (
        f"Restore {manifest.name} in the place of the database {name}: its state of"
        f" {format_time(manifest.taken_at)} ({age}), {size}."
    )
    kept = (
        f"Then the {found.connections:,} connections to {name} are ended, and it is kept as"
        f" {name}_{restoring.DAMAGED}_…"
        if found.exists
        else f"There is no database {name} now, so none is kept."
    )
    return [
        first,
        "  It goes into a new database, which must be the same as what was dumped.",
        f"  {kept}",
        *(f"  warning: {warning}" for warning in warnings(name, manifest, found)),
        *(f"  warning: {warning}" for warning in migration_warnings(between, migrate=migrate)),
    ]


def warnings(name: str, manifest: Manifest, found: Standing) -> list[str]:
    said = []
    if found.connections:
        said.append("Stop the worker and the web server first: they would go on with the new one.")
    if manifest.database != name:
        said.append(f"It is a backup of another database: {manifest.database}.")
    if not manifest.verified_at:
        said.append(f"It is not verified. {manifest.error}".rstrip())
    if found.restored:
        at = format_time(found.restored.restored_at)
        said.append(f"{name} is itself restored: from {found.restored.backup}, {at}.")
    return said


def migration_warnings(between: Between, *, migrate: bool) -> list[str]:
    said = []
    if between.unknown:
        said.append(
            f"It has {len(between.unknown)} migrations that this code does not know, such as"
            f" {between.unknown[0]}: use the code of that time."
        )
    if between.missing:
        when = (
            "they are applied before it is switched to"
            if migrate
            else "run manage.py migrate before anything else starts, or add --migrate"
        )
        said.append(f"This code has {len(between.missing)} newer migrations: {when}.")
    return said


def said(outcome: restoring.Outcome, left: list[str]) -> list[str]:
    """What was done, and which commands come next."""
    note = outcome.note
    first = f"{note.database} is now {note.backup}: its state of {format_time(note.taken_at)}."
    return [
        *(
            ["An earlier call had done it, and was killed before it could say so."]
            * outcome.earlier
        ),
        first,
        *kept(note),
        *([f"{len(note.migrated)} migrations were applied."] if note.migrated else []),
        "Now run, before the worker and the web server start:",
        *(f"  manage.py {command}" for command in next_commands(left)),
    ]


def kept(note: Restored) -> list[str]:
    drop = f'DROP DATABASE "{note.damaged}";'
    return [f"The one before is kept. When nobody needs it any more: {drop}"] * bool(note.damaged)


def next_commands(left: list[str]) -> list[str]:
    """What to run after a restore, in this order."""
    return [*(["migrate"] if left else []), "recover_restore", "smoke"]
