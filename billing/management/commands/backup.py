"""`manage.py backup`."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import format_age, format_size, format_time
from billing.management.command import Answer, OperationCommand
from billing.operations.backups import MakeBackup
from billing.operations.base import Operation
from billing.recovery.backups import folder, making
from billing.recovery.backups.folder import Manifest


class Command(OperationCommand):
    help = (
        "Make a backup of the database in BACKUP_FOLDER: pg_dump writes it, and it is good once it"
        " was restored into a scratch database, where counts of rows, highest ids, ledger sums and"
        " the audit chain were found the same. Backups older than BACKUP_KEEP_DAYS are deleted,"
        " but never the three newest verified ones. The worker makes one every night. Ends with 1"
        " where it could not be made or is not good."
    )
    example = "backup --reason 'Before the migration'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--list", action="store_true", help="Say which backups there are, and make none."
        )
        parser.add_argument(
            "--no-verify",
            action="store_true",
            help="Do not restore it to look at it: faster, and nobody knows whether it is good.",
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return MakeBackup(
            verifying=not options["no_verify"],
            by_worker=False,
            **common,
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["list"]:
            return listed()
        folder.folder()
        asked = super().answer(options)
        if options["dry_run"] or asked.document["result"]["already_done"]:
            return asked
        with self.progress() as bars:
            bar = bars.add_task("Making a backup", total=None)
            made = making.make(
                actor=self.actor(options).name,
                verifying=not options["no_verify"],
                tell=lambda said: bars.update(bar, description=said.capitalize()),
            )
        return answered(made, asked.document)


def answered(made: making.Made, document: dict[str, Any]) -> Answer:
    """The backup that was made, and whether it is good."""
    manifest = made.manifest
    lines = [
        in_words(manifest),
        f"  {folder.dump_file(manifest.name)}",
        *(f"Deleted, since it was too old: {name}" for name in made.deleted),
    ]
    said = {"backup": manifest.as_json(), "deleted": made.deleted, "warning": made.warning}
    return Answer({**document, **said}, lines, manifest.error or made.warning)


def listed() -> Answer:
    """What lies in the folder, the newest first."""
    found = folder.listing()
    lines = [in_words(each) for each in found.manifests] or [f"No backups in {folder.folder()}."]
    document = {
        "folder": str(folder.folder()),
        "backups": [each.as_json() for each in found.manifests],
        "problems": found.problems,
    }
    return Answer(document, lines, " ".join(found.problems))


def in_words(manifest: Manifest) -> str:
    """One backup in a line: name, age, size, how long it took, whether it is good."""
    state = "not verified"
    if manifest.verified_at:
        state = f"verified {format_time(manifest.verified_at)}"
    elif manifest.error:
        state = f"not good: {manifest.error}"
    age = format_age(manifest.taken_at, timezone.now())
    return (
        f"{manifest.name}  {format_time(manifest.taken_at)} ({age}), {format_size(manifest.size)},"
        f" {manifest.seconds:,.1f} s, by {manifest.actor}; {state}"
    )
