"""Charts: numbers over time, as a drawing in SVG and as a table of the same numbers.

The server draws them (billing.admin.drawing), so that they need no script, print as they are,
and say the same to those who see them and to those who hear them. `admin/billing/chart.html`
shows one, `admin/billing/charts.html` several side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify

from billing.admin import cells, drawing
from billing.formatting import exponent, format_amount, format_money

MINUTE, HOUR = 60, 3_600  # seconds
_NUMBER = '<td class="px-3 py-1 text-right whitespace-nowrap">'

Number = float | None  # None where there is nothing to show
Kind = Literal["bars", "stack", "lines"]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a chart's numbers are, and how they are written."""

    words: str  # over the axis
    full: Callable[[float], str]  # a number with its unit, in the table and on the drawing
    tick: Callable[[float], str]  # on the axis
    smallest: float = 0  # step of the axis


def counted(words: str) -> Unit:
    """Whole things, such as `events`."""
    return Unit(words, lambda n: f"{n:,.0f} {words}", lambda n: f"{n:,.0f}", smallest=1)


def money(currency: str) -> Unit:
    """Minor units of one currency."""
    whole = 10 ** exponent(currency)

    def tick(amount: float) -> str:
        minor = int(amount)
        return f"{minor // whole:,}" if minor % whole == 0 else format_amount(minor, currency)

    return Unit(
        currency.upper() or "minor units",
        lambda amount: format_money(int(amount), currency),
        tick if currency else lambda amount: f"{amount:,.0f}",
        smallest=1,
    )


def duration(longest: float) -> tuple[Unit, float]:
    """The unit in which up to `longest` seconds are read, and how many seconds it has."""
    words, seconds = next(
        (
            (words, seconds)
            for words, seconds in (("hours", HOUR), ("minutes", MINUTE))
            if longest >= 2 * seconds
        ),
        ("seconds", 1),
    )
    return Unit(words, lambda n: f"{n:,.1f} {words}", lambda n: f"{n:,g}"), seconds


PERCENT = Unit("%", lambda n: f"{n:.4g} %", lambda n: f"{n:g}")


@dataclass(frozen=True, slots=True)
class Series:
    """One number for each of the chart's labels."""

    name: str
    values: Sequence[Number]


@dataclass(frozen=True, slots=True)
class Chart:
    """Some series over the same labels, in one unit.

    `about` says what is counted and in which time zone; `url` is the list of the rows behind it,
    `links` (one for each label, or none) those behind each label. `ticks` are the labels in
    short; where they are names and not times (`has_names`) each of them is written. `empty` stands
    instead of the drawing where there is nothing to draw.
    """

    title: str
    about: str
    unit: Unit
    labels: Sequence[str]
    series: Sequence[Series]
    empty: str
    heading: str = "Time"  # of the labels, in the table
    url: str = ""
    links: Sequence[str] = ()
    ticks: Sequence[str] = ()
    kind: Kind = "bars"
    has_names: bool = False

    @property
    def name(self) -> str:
        """Its own on a page, for the ids of its parts."""
        return f"chart-{slugify(self.title)}"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to see: no number, or bars that are all of no height."""
        values = [value for series in self.series for value in series.values if value is not None]
        return not values or (self.kind != "lines" and not any(values))

    @property
    def drawing(self) -> drawing.Drawing:
        return drawing.draw(self)

    @property
    def rows(self) -> list[tuple[str, str, list[str]]]:
        """The table's: the address of the rows behind it, the label, each series' number."""
        return [
            (
                self.links[i] if self.links else "",
                label,
                [self.written(series.values[i]) for series in self.series],
            )
            for i, label in enumerate(self.labels)
        ]

    @property
    def table(self) -> SafeString:
        """The table's rows as HTML: a page may have hundreds, which a template takes long for."""
        return mark_safe("".join(_row(*row) for row in self.rows))  # noqa: S308  (escaped)

    def written(self, value: Number) -> str:
        return cells.EMPTY if value is None else self.unit.full(value)


def _row(url: str, label: str, numbers: Sequence[str]) -> str:
    return (
        '<tr><th scope="row" class="font-normal pr-3 py-1 whitespace-nowrap">'
        f"{cells.quick_link(url, label)}</th>"
        f"{''.join(f'{_NUMBER}{escape(number)}</td>' for number in numbers)}</tr>"
    )
