"""Where a chart's axes, bars and lines lie: lengths in the units of its `viewBox`.

A drawing is made for the width of a phone and scales up with its place. Series differ by shape
(full, hollow and hatched bars; solid lines with dots, dashed ones with squares) as well as by
colour, up to six of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString, mark_safe

if TYPE_CHECKING:
    from billing.admin.charts import Chart

WIDTH, HEIGHT = 340.0, 165.0
TOP, RIGHT, BOTTOM, LEFT = 20.0, 8.0, 22.0, 8.0  # around the plot
LETTER = 6.2  # the width of a letter on the axes, at 11 px
STEPS = 4  # of the vertical axis, about
FILLED = 0.8  # of a label's room is taken by its bars
WIDEST = 30.0  # of all bars of a label
MARK = 2.6  # from the middle of a line's mark to its edge
SLOPE = 60  # degrees, of names under which there is no room
MOST_LETTERS = 24  # of a name

# What fills the bars of the fourth series and of those after it, in a square of 6 by 6.
HATCHES = {4: "M-1 1l2-2M0 6l6-6M5 7l2-2", 5: "M3 0v6", 6: "M0 3h6"}


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    words: str
    is_zero: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A series: the paths of its bars or marks, and of the line through them."""

    name: str
    style: int  # from 1
    marks: str
    line: str = ""

    @property
    def key(self) -> str:
        """One of its marks, for the legend: 26 wide, 12 high."""
        return mark(self.style, 13, 6)

    @property
    def hatch(self) -> str:
        """The path that fills its bars; '' for a plain colour."""
        return "" if self.line else HATCHES.get(self.style, "")


@dataclass(frozen=True, slots=True)
class Column:
    """All the height over one label: what it says, and the address it leads to."""

    x: float
    width: float
    words: str
    url: str

    def over(self, top: float, height: float) -> str:
        """It as a part of the drawing. A page may have hundreds: a template takes long for them."""
        words = escape(self.words)
        rectangle = (
            f'<rect class="column" x="{self.x}" y="{top}" width="{self.width}" height="{height}">'
            f"<title>{words}</title></rect>"
        )
        if not self.url:
            return rectangle
        return f'<a href="{escape(self.url)}" tabindex="-1" aria-label="{words}">{rectangle}</a>'


@dataclass(frozen=True, slots=True)
class Drawing:
    left: float
    rows: Sequence[Tick]  # the vertical axis
    labels: Sequence[Tick]  # the horizontal one
    shapes: Sequence[Shape]
    columns: Sequence[Column]
    width: float = WIDTH
    height: float = HEIGHT
    is_aslant: bool = False  # whether the labels are
    right: float = WIDTH - RIGHT
    top: float = TOP
    plot: float = HEIGHT - BOTTOM - TOP  # the height between the axes

    @property
    def over_labels(self) -> SafeString:
        parts = [column.over(self.top, self.plot) for column in self.columns]
        return mark_safe("".join(parts))  # noqa: S308  (escaped)

    @property
    def words_end(self) -> float:
        return self.left - 4

    @property
    def labels_at(self) -> float:
        return self.top + self.plot + (8 if self.is_aslant else 15)


@dataclass(frozen=True, slots=True)
class Plane:
    """The plot, between the axes: where a value and a label stand."""

    left: float
    lowest: float
    highest: float
    count: int  # of labels

    @property
    def room(self) -> float:
        """Of each label."""
        return (WIDTH - RIGHT - self.left) / self.count

    def x(self, place: float) -> float:
        return round(self.left + place * self.room, 2)

    def y(self, value: float) -> float:
        share = (value - self.lowest) / (self.highest - self.lowest)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 2)


def draw(chart: Chart) -> Drawing:
    """The drawing of a chart that is not empty."""
    marks = axis(extremes(chart), chart.unit.smallest)
    written = [chart.unit.tick(mark) for mark in marks]
    left = LEFT + LETTER * max(len(words) for words in written)
    plane = Plane(left, marks[0], marks[-1], len(chart.labels))
    under = chart.ticks or chart.labels
    is_aslant = chart.has_names and LETTER * (max(map(len, under)) + 1) > plane.room
    named = names(under, plane, is_aslant=is_aslant) if chart.has_names else labels(under, plane)
    return Drawing(
        left=left,
        rows=[
            Tick(plane.y(mark), words, is_zero=mark == 0)
            for mark, words in zip(marks, written, strict=True)
        ],
        labels=named,
        shapes=lines(chart, plane) if chart.kind == "lines" else bars(chart, plane),
        columns=columns(chart, plane),
        height=HEIGHT + (depth(named) if is_aslant else 0),
        is_aslant=is_aslant,
    )


def columns(chart: Chart, plane: Plane) -> list[Column]:
    found = []
    for i, (url, label, numbers) in enumerate(chart.rows):
        said = [f"{s.name} {number}" for s, number in zip(chart.series, numbers, strict=True)]
        words = f"{label}: {', '.join(said)}"
        found.append(Column(plane.x(i), round(plane.room, 2), words, url))
    return found


def extremes(chart: Chart) -> tuple[float, float]:
    """The lowest and the highest value, as they are drawn: zero is always among them."""
    columns = [
        [value or 0 for value in values]
        for values in zip(*(series.values for series in chart.series), strict=True)
    ]
    if chart.kind == "stack":
        columns = [[sum(values)] for values in columns]
    values = [value for column in columns for value in column]
    return min(0, *values), max(0, *values)


def axis(span: tuple[float, float], smallest: float) -> list[float]:
    """Round values from below the lowest to above the highest, with zero among them."""
    lowest, highest = span
    rough = (highest - lowest) / STEPS or 0.25
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999), smallest)
    first, last = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    if first == last:
        last += 1
    return [round(n * step, 10) for n in range(first, last + 1)]


def labels(words: Sequence[str], plane: Plane) -> list[Tick]:
    """As many of the labels as there is room for, the last among them."""
    needed = LETTER * (max(len(word) for word in words) + 1.5)
    every = max(1, math.ceil(needed / plane.room))
    last = len(words) - 1
    edge = needed / 2 - LETTER / 2  # from which a label in the middle would stick out
    end = min(plane.x(last + 0.5), WIDTH - edge)
    before = [
        Tick(plane.x(i + 0.5), word)
        for i, word in enumerate(words[:-1])
        if (last - i) % every == 0 and edge <= plane.x(i + 0.5) <= end - needed
    ]
    return [*before, Tick(end, words[-1])]


def names(words: Sequence[str], plane: Plane, *, is_aslant: bool) -> list[Tick]:
    """Every label; one that stands aslant is cut where it would reach out of the drawing."""
    reach = math.cos(math.radians(SLOPE)) * LETTER
    found = []
    for i, word in enumerate(words):
        x = plane.x(i + 0.5)
        most = min(MOST_LETTERS, int(x / reach)) if is_aslant else MOST_LETTERS
        found.append(Tick(x, word if len(word) <= most else f"{word[: most - 1]}…"))
    return found


def depth(named: Sequence[Tick]) -> float:
    """How much higher a drawing is whose labels stand aslant."""
    longest = max(len(tick.words) for tick in named)
    return round(max(0, longest * LETTER * math.sin(math.radians(SLOPE)) - BOTTOM + 12), 1)


def bars(chart: Chart, plane: Plane) -> list[Shape]:
    """Each label's bars side by side, or one upon the other."""
    stacked = chart.kind == "stack"
    together = min(plane.room * FILLED, WIDEST)
    width = together if stacked else together / len(chart.series)
    bases = [0.0] * plane.count
    shapes = []
    for n, series in enumerate(chart.series):
        paths = []
        for i, value in enumerate(series.values):
            if not value:
                continue
            start = plane.x(i + 0.5) - together / 2 + (0 if stacked else n * width)
            paths.append(bar(start, width, plane.y(bases[i]), plane.y(bases[i] + value)))
            bases[i] += value if stacked else 0
        shapes.append(Shape(series.name, n + 1, "".join(paths)))
    return shapes


def bar(x: float, width: float, base: float, top: float) -> str:
    return f"M{x:.2f} {base:.2f}V{top:.2f}h{width:.2f}V{base:.2f}z"


def lines(chart: Chart, plane: Plane) -> list[Shape]:
    """A line through the values of each series; it breaks where there is none."""
    shapes = []
    for style, series in enumerate(chart.series, start=1):
        points = [
            None if value is None else (plane.x(i + 0.5), plane.y(value))
            for i, value in enumerate(series.values)
        ]
        marks = "".join(mark(style, *point) for point in points if point)
        shapes.append(Shape(series.name, style, marks, "".join(segments(points))))
    return shapes


def segments(points: Sequence[tuple[float, float] | None]) -> Iterator[str]:
    for before, after in pairwise([None, *points]):
        if after:
            yield f"{'L' if before else 'M'}{after[0]} {after[1]}"


def mark(style: int, x: float, y: float) -> str:
    """A dot, a square, a triangle, a diamond, a triangle upside down, a bar upright."""
    left, side = round(x - MARK, 2), 2 * MARK
    if style == 1:
        return f"M{left} {y}a{MARK} {MARK} 0 1 0 {side} 0a{MARK} {MARK} 0 1 0 {-side} 0"
    if style == 2:
        return f"M{left} {y - MARK:.2f}h{side}v{side}h{-side}z"
    if style == 4:
        return f"M{left} {y}L{x} {y - MARK - 1:.2f}L{x + MARK:.2f} {y}L{x} {y + MARK + 1:.2f}z"
    if style == 5:
        return f"M{left} {y - MARK:.2f}h{side}L{x} {y + MARK:.2f}z"
    if style == 6:
        return f"M{x - 1:.2f} {y - MARK:.2f}h2v{side}h-2z"
    return f"M{left} {y + MARK:.2f}h{side}L{x} {y - MARK:.2f}z"
