"""A report's tables and charts as the templates show them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import starmap
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.utils.safestring import SafeString, mark_safe

from billing.admin import cells
from billing.admin.charts import PERCENT, Chart, Series, Unit, counted, money
from billing.database import some
from billing.revenue.report import ChartOf, Column, Drill, Row, Table
from billing.revenue.wording import NUMERIC, written

_CELL = "border-t border-base-200 px-3 py-2 whitespace-nowrap dark:border-base-800"
_TEXT = f'<td class="{_CELL}">'
_NUMBER = f'<td class="{_CELL} tabular-nums text-right">'
_ACT = f"{cells.LINK} mr-3"
MOST_SHOWN = 1_000  # rows of a table on a page; its files have all of them

Address = Callable[[Drill], str]  # of the rows behind a figure
Acts = Callable[[Row], "list[Cell]"]  # the operations on a row


class Cell(NamedTuple):
    """A page has some thousand: a dataclass takes three times as long to make."""

    words: str
    url: str = ""
    is_number: bool = False

    @property
    def html(self) -> str:
        """The cell of a table, all of it escaped."""
        words = cells.quick_link(self.url, self.words)
        return f"{_NUMBER if self.is_number else _TEXT}{words}</td>"


@dataclass(frozen=True, slots=True)
class Shown:
    """A table for the template: each row's cells as they are written, `has_acts` with the
    operations on it.

    `next` is the address of further rows, '' for none; `most` how many of them are shown where
    there are more, else 0. `apart` is where the rows are, if not here.
    """

    table: Table
    rows: Sequence[str]  # HTML, all of it escaped
    charts: Sequence[Chart]
    next: str = ""
    most: int = 0
    apart: str = ""
    has_acts: bool = False

    @property
    def body(self) -> SafeString:
        return mark_safe("".join(f"<tr>{row}</tr>" for row in self.rows))  # noqa: S308  (escaped)

    @property
    def definitions(self) -> list[Column]:
        return [column for column in self.table.columns if column.definition]

    @property
    def headers(self) -> list[tuple[Column, bool]]:
        return [(column, column.kind in NUMERIC) for column in self.table.columns]


def shown(table: Table, address: Address, acts: Acts | None = None) -> Shown:
    """A table with its charts: the first rows of it, where there are very many."""
    if table.apart:
        return Shown(table, [], [], apart=address(table.apart))
    rows = list(table.rows) if table.charts else some(table.rows, 0, MOST_SHOWN + 1)
    charts = [chart for spec in table.charts for chart in drawn(spec, table, rows, address)]
    most = MOST_SHOWN if len(rows) > MOST_SHOWN else 0
    written = [_row(table, row, address, acts) for row in rows[:MOST_SHOWN]]
    return Shown(table, written, charts, most=most, has_acts=acts is not None)


def page(
    table: Table,
    start: int,
    size: int,
    more: Callable[[int], str],
    acts: Acts | None = None,
    address: Address | None = None,
) -> Shown:
    """Some rows of a table that may be long, from the row `start` on."""
    found = some(table.rows, start, size + 1)
    rows = [_row(table, row, address, acts) for row in found[:size]]
    further = more(start + size) if len(found) > size else ""
    return Shown(table, rows, [], further, has_acts=acts is not None)


def _row(table: Table, row: Row, address: Address | None, acts: Acts | None) -> str:
    """Its cells are written here: a template would take twice as long for some hundred rows."""
    figures = "".join(_cell(table, row, column, address).html for column in table.columns)
    return f"{figures}{_operations(acts(row))}" if acts else figures


def _operations(acts: list[Cell]) -> str:
    links = "".join(cells.quick_link(act.url, act.words, _ACT) for act in acts)
    return f'<td class="{_CELL} not-printed">{links}</td>'


def _cell(table: Table, row: Row, column: Column, address: Address | None) -> Cell:
    value, words = row.get(column.name), written(row, column)
    if not words:
        return Cell(cells.EMPTY, is_number=column.kind in NUMERIC)
    if column.kind == "id":
        return Cell(words, cells.open_url(id=str(value)))
    if column.kind == "user":
        return Cell(words, cells.open_url(user=str(value)))
    drill = table.drill(row, column.name) if table.drill and address and value != 0 else None
    return Cell(words, address(drill) if address and drill else "", column.kind in NUMERIC)


def drawn(spec: ChartOf, table: Table, rows: Sequence[Row], address: Address) -> Iterable[Chart]:
    """One chart for each value of what it is split by."""
    parts = sorted({str(row.get(spec.split) or "") for row in rows}) if spec.split else [""]
    labels = spec.labels or tuple(dict.fromkeys(str(row[spec.label]) for row in rows))
    for part in parts:
        own = [row for row in rows if not spec.split or str(row.get(spec.split) or "") == part]
        yield _chart(spec, table, part, labels, {str(row[spec.label]): row for row in own}, address)


def _chart(
    spec: ChartOf,
    table: Table,
    part: str,
    labels: Sequence[str],
    own: dict[str, Row],
    address: Address,
) -> Chart:
    columns = [table.column(name) for name in spec.series]
    is_dated = table.column(spec.label).kind == "date"
    return Chart(
        title=f"{spec.title}, {part.upper()}" if part else spec.title,
        about=spec.about,
        unit=_unit(columns[0], part, spec.unit),
        labels=labels,
        ticks=_ticks(labels) if is_dated else labels,
        has_names=not is_dated,
        heading=table.column(spec.label).title,
        series=[
            Series(c.title, [_number(own.get(label, {}).get(c.name), c) for label in labels])
            for c in columns
        ],
        links=[_behind(table, own.get(label, {}), columns, address) for label in labels],
        empty="There is nothing to draw in these days.",
        kind=spec.kind,
    )


def _behind(table: Table, row: Row, columns: Sequence[Column], address: Address) -> str:
    """The address of the rows behind the first of a label's figures that has any."""
    for column in columns:
        drill = table.drill(row, column.name) if table.drill and row.get(column.name) else None
        if drill:
            return address(drill)
    return ""


def _ticks(days: Sequence[str]) -> list[str]:
    """Days in short: months where each begins one, else without the year."""
    is_monthly = len(days) > 1 and all(day.endswith("-01") for day in days[1:])
    return [day[:7] if is_monthly else day[5:] for day in days]


def _unit(column: Column, part: str, counts: str) -> Unit:
    match column.kind:
        case "money":
            return money(part)
        case "percent":
            return PERCENT
    return counted(counts or column.title.lower())


def _number(value: Any, column: Column) -> float | None:
    if value is None:
        return None
    return float(value) * 100 if column.kind == "percent" else float(value)


def with_query(path: str, query: dict[str, str]) -> str:
    return f"{path}?{'&'.join(starmap(_pair, query.items()))}" if query else path


@lru_cache(maxsize=4096)
def _pair(name: str, value: str) -> str:
    """A page has some thousand addresses, whose parts are nearly all the same."""
    return urlencode({name: value})
