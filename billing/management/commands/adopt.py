"""`manage.py adopt`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.db import connection, transaction

from billing.adoption import applying, journal, looking, undoing
from billing.adoption.altering import BusyTableError
from billing.adoption.looking import Seen
from billing.adoption.obstacles import Obstacle
from billing.formatting import format_size
from billing.management.command import Answer, OperatorCommand
from billing.operations.base import InvalidInputError, OperationError

EXAMPLES = 10


class Command(OperatorCommand):
    help = (
        "Move in beside an application that has the tables already. --check (default) writes"
        " nothing and says, table by table, what would be added and what is in the way; --apply"
        " adds it while the application runs, and goes on where it was killed; --undo takes it"
        " back. In an adopted database, --apply takes the place of migrate. Ends with 1 where"
        " something is in the way."
    )
    example = "adopt --check --rows 20"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="Say what would be done (default).")
        what.add_argument("--apply", action="store_true", help="Do it.")
        what.add_argument("--undo", action="store_true", help="Take it back.")
        parser.add_argument(
            "--rows", type=int, default=EXAMPLES, metavar="N",
            help=f"Show so many of the rows that are in the way (default: {EXAMPLES}).",
        )  # fmt: skip
        parser.add_argument(
            "--rows-to", metavar="FILE",
            help="With --check: write all of the rows concerned there, one JSON document a line.",
        )  # fmt: skip
        parser.add_argument("--yes", action="store_true", help="Do not ask for a confirmation.")
        parser.add_argument(
            "--discard-history", action="store_true",
            help="With --undo: let go of what the back office has written.",
        )  # fmt: skip

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["rows"] < 0:
            raise InvalidInputError("--rows is a number from 0 up.")
        name = connection.settings_dict["NAME"]
        if options["undo"]:
            if not options["yes"]:
                self.confirm(name, ["All that adopt has added is taken away again."])
            with self.telling("Taking back") as tell:
                return undone(tell, discard=options["discard_history"])
        if options["apply"]:
            with self.telling("Adopting") as tell:
                return applied(tell)
        return checked(options["rows"], options["rows_to"])

    @contextmanager
    def telling(self, title: str) -> Iterator[Callable[[str], None]]:
        with self.progress() as bars:
            bar = bars.add_task(title, total=None)
            yield lambda said: bars.update(bar, description=said)


def checked(examples: int, rows_to: str | None) -> Answer:
    """What there is to adopt. The transaction is read only: it could not write if it would."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        seen, whole = looking.look(), looking.of_all()
        tables = [each.as_dict(examples) for each in seen]
        if rows_to:
            write_rows(Path(rows_to), seen)
    document = {"tables": tables, "in_the_way": [each.said for each in whole]}
    lines = [line for each in tables for line in described(each)]
    lines += [f"In the way: {each.said} {each.answer}" for each in whole]
    if not seen:
        lines.append("The application has none of the tables: run migrate, there is nothing here.")
    refusing = [each for one in (whole, *(s.obstacles for s in seen)) for each in one
                if each.refuses]  # fmt: skip
    return Answer(document, lines, attention(seen, refusing))


def attention(seen: list[Seen], refusing: list[Obstacle]) -> str:
    if refusing:
        return f"Not yet: {len(refusing):,} things above have to be mended before --apply."
    rows = sum(each.count for one in seen for each in one.obstacles)
    if rows:
        return f"{rows:,} rows are in the way; --apply leaves each as it is. Nothing was done."
    return ""


def write_rows(path: Path, seen: list[Seen]) -> None:
    """All rows concerned, a line each, as they are read."""
    with path.open("w", encoding="utf-8") as file:
        for one in seen:
            for each in one.obstacles:
                for row in each.concerned():
                    file.write(json.dumps({"table": one.name, "kind": each.kind, **row}) + "\n")


def described(table: dict[str, Any]) -> Iterator[str]:
    size = format_size(table["bytes"])
    yield f"{table['table']}: about {table['rows_about']:,} rows, {size}"
    for sort, added in table["adds"].items():
        if added:
            yield f"  adds {sort}: {', '.join(added)}"
    for each in table["in_the_way"]:
        yield f"  {'REFUSED' if each['refuses'] else 'in the way'}: {each['said']}"
        yield f"    {each['answer']}"
        shown = ", ".join(
            row["row"] if row["value"] in (None, row["row"]) else f"{row['row']} ({row['value']})"
            for row in each["rows"]
        )
        if shown:
            more = each["count"] - len(each["rows"])
            yield f"    rows: {shown}" + (f", and {more:,} more" if more > 0 else "")


def applied(tell: Callable[[str], None]) -> Answer:
    try:
        done = applying.apply(tell)
    except applying.RefusedError as error:
        raise InvalidInputError(str(error)) from error
    except BusyTableError as error:
        raise OperationError(str(error)) from error
    counts = (
        f"{done.opened:,} opening entries were written, {done.set_apart:,} rows set apart,"
        f" {done.linked:,} older audit events linked."
    )
    lines = [
        f"Adopted: {', '.join(done.tables)}.",
        counts,
        f"Our processes need DATABASE_SCHEMA={journal.schema()}: all of ours is in that schema.",
        "Next: manage.py database_roles --apply, sync_from_stripe --all, reconcile full.",
    ]
    document = {
        "tables": done.tables,
        "opening_entries": done.opened,
        "set_apart": done.set_apart,
        "linked": done.linked,
        "schema": journal.schema(),
    }
    return Answer(document, lines)


def undone(tell: Callable[[str], None], *, discard: bool) -> Answer:
    try:
        steps = undoing.undo(tell, discard=discard)
    except undoing.CannotUndoError as error:
        raise InvalidInputError(str(error)) from error
    except BusyTableError as error:
        raise OperationError(str(error)) from error
    said = f"{steps:,} steps were taken back. The tables are the application's alone again."
    return Answer({"steps": steps}, [said])
