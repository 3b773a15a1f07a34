"""The commands of finance: any report on the command line, as text, CSV or JSON."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import iso_time
from billing.management.command import Answer, OperatorCommand, system_user
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.projection.balance_sync import read_up_to
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.exporting import csv_lines
from billing.revenue.notices import notices
from billing.revenue.report import Report, Table
from billing.revenue.wording import NUMERIC, written


class ReportCommand(OperatorCommand):
    """Shows one report. JSON has the first table as `rows`, and the others by their names.

    Amounts are minor units in JSON, whole units in CSV and text. CSV is an export, and audited.
    """

    report: ClassVar[Report]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("--from", metavar="DATE", help="The first day (default: the first of the month).")
        add("--to", metavar="DATE", help="The last day (default: today).")
        add("--by", help=f"day, week or month (default: {self.report.by}).")
        add(
            "--timezone", metavar="ZONE", help=f"Whose days (default: {settings.REPORT_TIME_ZONE})."
        )
        add("--currency", metavar="CODE", help="Only this one, such as EUR (default: all, apart).")
        if self.report.compares:
            add("--against", help="previous or year: what each period is compared with.")
        if self.report.converts:
            add("--reporting", metavar="CODE", help="Show sums in this currency as well.")
        for each in self.report.filters:
            add(f"--{each.name}", help=f"{each.title}: only these, or how to split.")
        add("--csv", action="store_true", dest="as_csv", help="Answer with CSV, a line a row.")
        add("--table", metavar="NAME", default="", help="Only this table of the report.")

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["as_csv"] and options["as_json"]:
            raise InvalidReportError("Ask for --json or for --csv.")
        asked = self.asked(options)
        view = self.report.view(asked)
        tables = [table for table in view.tables if options["table"] in ("", table.name)]
        if not tables:
            names = ", ".join(table.name for table in view.tables)
            raise InvalidReportError(f"There are these tables: {names}.")
        if options["as_csv"]:
            what = f"{self.report.name}: {tables[0].title}"
            record_export(Actor.cli(system_user()), what, urlencode(asked.params()), "csv")
            return Answer({}, [line.rstrip("\n") for line in csv_lines(tables[0])])
        if options["as_json"]:
            return Answer(document(asked, tables))
        said = [notice.words for notice in notices(self.report, asked, timezone.now())]
        lines = [asked.words, *said, *view.notes]
        for table in tables:
            lines += ["", table.title, *text_lines(table)]
        return Answer({}, lines)

    def asked(self, options: dict[str, Any]) -> Asked:
        """What the options ask for. Raises InvalidReportError."""
        given = {name: value for name, value in options.items() if isinstance(value, str) and value}
        names = [each.name for each in self.report.filters]
        return Asked.of(
            {"by": self.report.by, **given},
            names=names,
            zone=settings.REPORT_TIME_ZONE,
            now=timezone.now(),
        )


def document(asked: Asked, tables: list[Table]) -> dict[str, Any]:
    """A report for programs: amounts in minor units, times as ISO 8601 in UTC."""
    said: dict[str, Any] = {
        "timezone": asked.timezone,
        "from": asked.first.isoformat(),
        "to": asked.last.isoformat(),
        "by": asked.by,
        "balance_read_up_to": _plain(read_up_to()),
    }
    for number, table in enumerate(tables):
        said[table.name if number else "rows"] = [
            {column.name: _plain(row.get(column.name)) for column in table.columns}
            for row in table.rows
        ]
    return said


def _plain(value: Any) -> Any:
    return iso_time(value) if isinstance(value, datetime) else value


def text_lines(table: Table) -> Iterator[str]:
    """A table for people, in columns; what it says where it is empty."""
    rows = [[written(row, column) or "-" for column in table.columns] for row in table.rows]
    if not rows:
        yield f"  {table.empty}"
        return
    heads = [column.title for column in table.columns]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for cells in [heads, *rows]:
        shown = [
            cell.rjust(width) if column.kind in NUMERIC else cell.ljust(width)
            for cell, width, column in zip(cells, widths, table.columns, strict=True)
        ]
        yield f"  {'  '.join(shown)}".rstrip()
