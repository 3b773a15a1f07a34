"""`manage.py export_books`."""

import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import format_time, iso_time
from billing.management.command import Answer, OperatorCommand
from billing.operations.base import InvalidInputError, OperationError
from billing.recovery.export import reading, writing
from billing.recovery.export.state import status
from billing.recovery.export.store import ExportNotConfiguredError, StoreError
from billing.recovery.export.writing import AlreadyExportingError, Tally

EVERY = 10.0  # seconds, between two passes that follow


class Command(OperatorCommand):
    help = (
        "Write what only we know (the audit log, the ledger, claims, notes, operations and whatever"
        " people decided) to EXPORT_URL, outside the database, in segments that are never"
        " overwritten. The worker does so every ten seconds. Together with a backup it brings back"
        " all of it: see recover_restore."
    )
    example = "export_books --verify"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--follow", action="store_true", help="Go on, every ten seconds, until interrupted."
        )
        what.add_argument("--status", action="store_true", help="Say how far it is; write nothing.")
        what.add_argument(
            "--verify",
            action="store_true",
            help="Read all segments, and say whether one is missing or was changed.",
        )
        what.add_argument(
            "--stop", action="store_true", help="End it for good: what changes is kept no more."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        try:
            if options["status"]:
                return self.state()
            if options["verify"]:
                return self.verified()
            if options["stop"]:
                writing.stop()
                return Answer({"stopped": True}, ["The export has ended. What is there stays."])
            return self.followed() if options["follow"] else self.exported()
        except ExportNotConfiguredError as error:
            raise InvalidInputError(str(error)) from error
        except (StoreError, AlreadyExportingError) as error:
            raise OperationError(str(error)) from error

    def exported(self) -> Answer:
        with self.progress() as bars:
            bar = bars.add_task("Exporting", total=None)
            tally = writing.export_books(
                on_progress=lambda said: bars.update(bar, description=said)
            )
        return Answer(as_document(tally), as_lines(tally))

    def followed(self) -> Answer:
        """Says on stderr what it wrote; what fails is tried again. Ctrl-C ends it."""
        while True:
            try:
                tally = writing.export_books()
                if any(tally.rows.values()):
                    self.stderr.write(" ".join(as_lines(tally)))
            except StoreError as error:
                self.stderr.write(str(error))
            except AlreadyExportingError:
                pass
            time.sleep(EVERY)

    def state(self) -> Answer:
        found = status()
        if found.begun_at is None:
            raise InvalidInputError("Nothing has been exported yet: set EXPORT_URL, and run it.")
        lines = [f"To {found.place}", *([f"Error: {found.error}"] if found.error else [])]
        lines.append(f"All up to {format_time(found.until)}" if found.until else "Not yet whole")
        lines += [
            f"  {each.name}: {each.segments:,} segments, up to {each.last_id:,}"
            for each in found.streams
        ]
        late = found.is_late(timezone.now())
        wrong = found.error or ("It is more than ten minutes behind." if late else "")
        return Answer(asdict(found), lines, wrong)

    def verified(self) -> Answer:
        with self.progress() as bars:
            bar = bars.add_task("Reading", total=None)
            found = reading.verify(tell=lambda said: bars.update(bar, description=said))
        lines = [
            f"{each.stream}: {each.wrong or 'as it was written'} ({each.segments:,} segments,"
            f" {each.rows:,} rows)"
            for each in found
        ]
        wrong = " ".join(f"{each.stream}: {each.wrong}" for each in found if each.wrong)
        return Answer({"streams": [asdict(each) for each in found]}, lines, wrong)


def as_document(tally: Tally) -> dict[str, Any]:
    until = iso_time(tally.until) if tally.until else None
    return {"rows": tally.rows, "segments": tally.segments, "until": until}


def as_lines(tally: Tally) -> list[str]:
    wrote = ", ".join(f"{count:,} rows of {name}" for name, count in tally.rows.items() if count)
    until = f" All up to {format_time(tally.until)} is there." if tally.until else ""
    return [f"Exported {wrote or 'nothing: there was nothing new'}.{until}"]
