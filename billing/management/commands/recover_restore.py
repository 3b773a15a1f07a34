"""`manage.py recover_restore`."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection

from billing.formatting import format_time, iso_time
from billing.management.command import USAGE, Answer, OperatorCommand
from billing.operations import inputs
from billing.operations.base import InvalidInputError, OperationError
from billing.recovery import outage, reporting, words
from billing.recovery.export.store import StoreError
from billing.recovery.export.writing import AlreadyExportingError
from billing.recovery.restored import recovering
from billing.recovery.restored.recovering import Begin, PutBack, Recovered


class Command(OperatorCommand):
    help = (
        "After a restore: put back from the export what only we knew (audit log, ledger, claims,"
        " notes, operations), replay from Stripe what happened since the backup, compare all of"
        " it, and list what nobody can know. Run it before the worker and the web server start."
        " It can be killed at any moment and started again. Ends with 0 if all is back, 1 if"
        " something needs a person, 2 if it could not finish."
    )
    example = "recover_restore --dry-run"
    unfinished = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="The backup's own moment (UTC), where it was not restored by manage.py restore.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be put back; change nothing."
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask for a confirmation.")
        parser.add_argument(
            "--actor", default="", help="Who recovers (default: the user of this system)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        actor = self.actor(options).name
        since = inputs.moment(options["since"]) if options["since"] else None
        database = str(connection.settings_dict["NAME"])
        started = recovering.begin(since, database)
        warnings = recovering.warnings()
        try:
            if options["dry_run"]:
                return looked(started, recovering.look(started, actor), warnings)
            if not options["yes"]:
                self.confirm(database, [opening(started), *warned(warnings)])
            with recovering.alone(), self.progress() as bars:
                bar = bars.add_task("Recovering", total=None)
                found = recovering.recover(
                    started, actor=actor, tell=lambda said: bars.update(bar, description=said)
                )
        except (StoreError, AlreadyExportingError) as error:
            raise OperationError(str(error)) from error
        except outage.AlreadyRunningError as error:
            raise InvalidInputError(str(error)) from error
        return recovered(found, warnings)


def opening(started: Begin) -> str:
    backup = f" {started.backup}" if started.backup else ""
    return (
        f"Recover what happened since the backup{backup} of {format_time(started.taken_at)}:"
        f" Stripe is asked from {format_time(started.since)} on."
    )


def warned(warnings: list[str]) -> list[str]:
    return [f"  warning: {each}" for each in warnings]


def looked(started: Begin, found: PutBack, warnings: list[str]) -> Answer:
    document = {"dry_run": True, **window(started), "put_back": found.as_dict()}
    lines = [opening(started), *warned(warnings), "Nothing is changed. Put back would be:"]
    return Answer({**document, "warnings": warnings}, [*lines, *of_put_back(found)])


def recovered(found: Recovered, warnings: list[str]) -> Answer:
    """What came back, what Stripe brought, and what a person has to do."""
    left = reporting.waiting_for_people(found.recovery) + found.put_back.no_place_count
    document = {
        **window(found.begin),
        "put_back": found.put_back.as_dict(),
        "audit": {"is_whole": not found.broken, "broken": found.broken},
        "recovery": reporting.document(found.recovery),
        "warnings": warnings,
        "next": ["assess", "smoke --watch 300"],
    }
    lines = [
        opening(found.begin),
        *warned(warnings),
        "Put back from the export:",
        *of_put_back(found.put_back),
        *words.of_recovery(found.recovery),
        f"The audit log is broken. {found.broken}" if found.broken else "The audit log is whole.",
        "Now run, once the worker and the web server are up again: manage.py smoke --watch 300",
    ]
    attention = [f"{left:,} of it needs a person: see above."] if left else []
    attention += [f"The audit log is broken. {found.broken}"] if found.broken else []
    return Answer(document, lines, " ".join(attention))


def window(started: Begin) -> dict[str, Any]:
    return {
        "backup": started.backup,
        "taken_at": iso_time(started.taken_at),
        "restored_at": iso_time(started.restored_at),
    }


def of_put_back(found: PutBack) -> Iterator[str]:
    """What only we knew, line by line, and what nobody knows."""
    if found.has_export:
        yield (
            f"  {found.audit:,} audit events, {found.ledger:,} ledger entries of"
            f" {found.balances:,} balances"
        )
        for table, count in sorted(found.records.items()):
            yield f"  {count:,} rows of {table}"
        for name, count in sorted(found.operations.items()):
            yield f"  {count:,} × operation {name}"
        yield from of_chain(found)
    for row in found.no_place:
        yield f"  no place: {row['table']} {row['id']}, whose number another row has by now"
    if found.unknown:
        since, until = map(format_time, found.unknown)
        what = "claims, grants, corrections, notes and other work of people may be missing"
        why = "" if found.has_export else " There is no export: EXPORT_URL is not set."
        yield f"  not to be known: from {since} to {until} {what}.{why}"


def of_chain(found: PutBack) -> Iterator[str]:
    if found.is_whole:
        yield "  The audit log goes on link by link where it was lost."
    elif found.is_forked or found.renumbered:
        yield (
            "  Something was written since the restore: the audit log has all events, in another"
            " chain than the lost one. Give EXPORT_URL a new folder before the worker starts."
        )
