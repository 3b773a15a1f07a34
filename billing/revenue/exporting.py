"""A report's table as a file: CSV line by line, or a workbook, in constant memory.

Amounts are in whole units of their currency (minor units stand in JSON), times are ISO 8601 in
UTC. Nothing in a file is a formula: a text that a spreadsheet would run gets an apostrophe.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import xlsxwriter

from billing.database import closing
from billing.formatting import exponent, in_reading_order, iso_time
from billing.revenue.report import Column, Row, Table

# What a spreadsheet takes for a formula; the wide forms, too, where those are what people type.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
SHEET_ROWS = 1_000_000  # of one sheet, below a spreadsheet's limit of 1,048,576
WIDTH = {"money": 16, "id": 30, "time": 22, "date": 12}  # of a column, in letters

Value = str | int | float | Decimal | None


@dataclass(frozen=True, slots=True)
class About:
    """What stands above a table, or on a workbook's first sheet: pairs of a name and its text."""

    title: str
    facts: Sequence[tuple[str, str]]

    def lines(self, tables: Iterable[Table]) -> Iterator[tuple[str, str]]:
        """The facts, and the definition of every column of these tables."""
        yield from self.facts
        for table in tables:
            if table.about:
                yield table.title, table.about
            for column in table.columns:
                if column.definition:
                    yield f"{table.title}: {column.title}", column.definition


class Echo:
    """csv writes into it, and gets back what it wrote."""

    def write(self, text: str) -> str:
        return text


def csv_lines(table: Table, about: About | None = None) -> Iterator[str]:
    """The lines of a CSV file; what it is `about` stands above, in lines that begin with `#`."""
    writer = csv.writer(Echo(), lineterminator="\n")
    if about:
        yield str(writer.writerow([f"# {about.title}"]))
        for name, text in about.lines([table]):
            yield str(writer.writerow([f"# {name}: {text}".replace("\n", " ")]))
    yield str(writer.writerow([column.name for column in table.columns]))
    with closing(table.rows) as found:
        for row in found:
            yield str(writer.writerow([value(row, column) for column in table.columns]))


def write_workbook(path: Path, tables: Sequence[Table], about: About) -> None:
    """A workbook (XLSX) with a sheet for each table, and one before them that explains them.

    A table of more than a million rows goes on in a further sheet. Raises OSError where the disk
    is full.
    """
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(str(path), options)
    try:
        first = book.add_worksheet("About")
        first.set_column(0, 0, 34)
        first.set_column(1, 1, 110)
        lines = [(about.title, ""), *about.lines(tables)]
        for number, (name, text) in enumerate(lines):
            first.write_string(number, 0, safe(name))
            first.write_string(number, 1, safe(text))
        for table in tables:
            _Sheets(book, table).write()
    finally:
        book.close()


class _Sheets:
    """The sheets of one table."""

    def __init__(self, book: Any, table: Table) -> None:
        self.book, self.table = book, table
        self.bold = book.add_format({"bold": True})
        self.formats: dict[str, Any] = {}
        self.count = 0

    def write(self) -> None:
        sheet, place = self._begin(), 1
        for row in self.table.rows:
            if place > SHEET_ROWS:
                sheet, place = self._begin(), 1
            for number, column in enumerate(self.table.columns):
                self._put(sheet, place, number, row, column)
            place += 1

    def _begin(self) -> Any:
        self.count += 1
        more = "" if self.count == 1 else f" {self.count}"
        sheet = self.book.add_worksheet(sheet_name(self.table.title, more))
        sheet.freeze_panes(1, 0)
        for number, column in enumerate(self.table.columns):
            sheet.set_column(number, number, WIDTH.get(column.kind, 14))
            sheet.write_string(0, number, safe(column.title), self.bold)
        return sheet

    def _put(self, sheet: Any, place: int, number: int, row: Row, column: Column) -> None:
        shown = value(row, column)
        if shown is None or shown == "":
            return
        if isinstance(shown, str):
            sheet.write_string(place, number, shown)
        else:
            sheet.write_number(place, number, float(shown), self._format(row, column))

    def _format(self, row: Row, column: Column) -> Any:
        """How a number is shown: an amount in its currency's decimals."""
        match column.kind:
            case "money":
                decimals = exponent(str(row.get(column.currency) or ""))
                pattern = "#,##0" + (f".{'0' * decimals}" if decimals else "")
            case "percent":
                pattern = "0.0 %"
            case _:
                pattern = "General"
        if pattern not in self.formats:
            self.formats[pattern] = self.book.add_format({"num_format": pattern})
        return self.formats[pattern]


def value(row: Row, column: Column) -> Value:
    """A cell as a file has it."""
    found = row.get(column.name)
    if found is None:
        return None
    match column.kind:
        case "money":
            return in_units(int(found), str(row.get(column.currency) or ""))
        case "number" | "percent":
            return found if isinstance(found, int | float) else float(found)
    if isinstance(found, datetime):
        return iso_time(found.astimezone(UTC))
    if isinstance(found, date):
        return found.isoformat()
    return safe(str(found))


def in_units(amount: int, currency: str) -> Decimal:
    """Minor units as a number of whole ones, exactly: `Decimal("-1234.50")`."""
    return Decimal(amount).scaleb(-exponent(currency)) if currency else Decimal(amount)


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula, read in the order in which it stands."""
    return in_reading_order(f"'{text}" if text.startswith(FORMULA) else text)


def sheet_name(title: str, more: str = "") -> str:
    """A sheet's name: of at most 31 characters, and without those that are not allowed."""
    plain = "".join(letter for letter in title if letter not in "[]:*?/\\'")
    return plain[: 31 - len(more)] + more
