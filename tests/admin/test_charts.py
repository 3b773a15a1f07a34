"""Charts: what they draw, what they say in words, and that they mix nothing up."""

import re
from html.parser import HTMLParser

import pytest
from django.template.loader import render_to_string

from billing.admin.charts import PERCENT, Chart, Series, counted, duration, money
from billing.admin.drawing import HEIGHT, WIDTH, axis
from tests.admin.rows import HOSTILE


def chart(*series: Series, **more: object) -> Chart:
    said = {
        "title": "Events",
        "about": "Events received per hour, UTC.",
        "unit": counted("events"),
        "labels": [f"hour {i}" for i in range(len(series[0].values))] if series else [],
        "series": series or [Series("received", [])],
        "empty": "Nothing came.",
        **more,
    }
    return Chart(**said)  # type: ignore[arg-type]  # as the test says


def shown(one: Chart) -> str:
    return render_to_string("admin/billing/chart.html", {"chart": one})


@pytest.mark.parametrize(
    ("span", "smallest", "marks"),
    [
        ((0, 0), 1, [0, 1]),
        ((0, 3), 1, [0, 1, 2, 3]),
        ((0, 40), 1, [0, 10, 20, 30, 40]),
        ((0, 41), 1, [0, 20, 40, 60]),
        ((-30, 50), 1, [-40, -20, 0, 20, 40, 60]),
        ((0, 0.02), 0, [0, 0.005, 0.01, 0.015, 0.02]),
        ((0, 1_234_567), 1, [0, 500_000, 1_000_000, 1_500_000]),
    ],
)
def test_an_axis_is_round_and_has_a_zero(
    span: tuple[float, float], smallest: float, marks: list[float]
) -> None:
    assert axis(span, smallest) == marks


def test_each_number_is_drawn_and_written() -> None:
    one = chart(Series("received", [4, 0, 2]), Series("failed", [1, None, 2]))
    page = shown(one)
    received, failed = one.drawing.shapes
    assert received.marks.count("M") == 2  # nothing is drawn of the zero
    assert failed.marks.count("M") == 2
    for words in ("4 events", "0 events", "hour 1: received 0 events, failed –", "The numbers"):
        assert words in page
    assert [tick.words for tick in one.drawing.rows] == ["0", "1", "2", "3", "4"]
    assert [tick.is_zero for tick in one.drawing.rows] == [True, False, False, False, False]


@pytest.mark.parametrize("kind", ["bars", "stack", "lines"])
def test_nothing_is_drawn_outside(kind: str) -> None:
    one = chart(
        Series("a", [900_000_000, -4, None, 7] * 15),
        Series("b", [1, -400_000_000, 3, None] * 15),
        kind=kind,
    )
    drawing = one.drawing
    heights = [tick.at for tick in drawing.rows]
    assert min(heights) == drawing.top
    assert max(heights) == drawing.top + drawing.plot < HEIGHT
    for shape in drawing.shapes:
        for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", shape.line or shape.marks):
            assert drawing.left <= float(x) <= drawing.right < WIDTH
            assert drawing.top <= float(y) <= drawing.top + drawing.plot
    assert 2 <= len(drawing.labels) <= 8


def test_a_stack_is_as_high_as_its_sum() -> None:
    assert [tick.words for tick in chart(Series("a", [30]), Series("b", [30])).drawing.rows][
        -1
    ] == "30"
    stacked = chart(Series("a", [30]), Series("b", [30]), kind="stack")
    assert stacked.drawing.rows[-1].words == "60"


@pytest.mark.parametrize("kind", ["bars", "stack", "lines"])
def test_six_series_differ_by_more_than_their_colours(kind: str) -> None:
    one = chart(*(Series(f"no. {n}", [n]) for n in range(6)), kind=kind)
    shapes = one.drawing.shapes
    assert [shape.style for shape in shapes] == [1, 2, 3, 4, 5, 6]
    assert len({shape.key for shape in shapes}) == 6
    page = shown(one)
    for style in (4, 5, 6):
        is_hatched = f"fill: url(#{one.name}-{style})" in page
        assert is_hatched == (kind != "lines") == (f'id="{one.name}-{style}"' in page)


def test_names_are_all_written_aslant_where_there_is_no_room() -> None:
    names = ["a_reason_longer_than_there_is_room_for", "insufficient_funds", "b", "c", "d", "e"]
    one = chart(Series("a", range(6)), labels=names, has_names=True)
    drawing = one.drawing
    said = [label.words for label in drawing.labels]
    assert said[1:] == names[1:]
    assert said[0].endswith("…")
    assert drawing.height > HEIGHT
    assert "rotate(-60" in shown(one)
    few = chart(Series("a", [1, 2]), labels=["card", "bank"], has_names=True).drawing
    assert (few.height, few.is_aslant) == (HEIGHT, False)


def test_a_line_breaks_where_there_is_nothing() -> None:
    (line,) = chart(Series("a", [1, 2, None, 3]), kind="lines").drawing.shapes
    assert re.findall("[ML]", line.line) == ["M", "L", "M"]


def test_money_is_in_its_own_currency() -> None:
    def said(currency: str, *amounts: int) -> tuple[list[str], str]:
        one = chart(Series("paid", amounts), unit=money(currency))
        return [tick.words for tick in one.drawing.rows], shown(one)

    ticks, page = said("usd", 290_000, 123_450)
    assert ticks == ["0", "1,000", "2,000", "3,000"]
    assert "1,234.50 USD" in page
    ticks, page = said("jpy", 290_000)
    assert ticks[-1] == "300,000"
    assert "290,000 JPY" in page
    ticks, page = said("kwd", 2)
    assert ticks == ["0", "0.001", "0.002"]
    assert "minor units" in said("", 5)[1]


def test_durations_are_read_in_their_largest_unit() -> None:
    assert [(unit.words, seconds) for unit, seconds in map(duration, (5, 600, 7_200))] == [
        ("seconds", 1),
        ("minutes", 60),
        ("hours", 3_600),
    ]


def test_what_is_empty_says_so() -> None:
    for nothing in (chart(), chart(Series("received", [0, None, 0]))):
        page = shown(nothing)
        assert "Nothing came." in page
        assert "<svg" not in page
    # That nothing was missing is worth a line.
    assert "<svg" in shown(chart(Series("missing", [0, 0]), kind="lines", unit=PERCENT))


def test_it_leads_to_the_rows_behind_it() -> None:
    page = shown(chart(Series("received", [4, 5]), url="/list", links=["/one?a=1&b=2", "/two"]))
    assert page.count('href="/one?a=1&amp;b=2"') == 2  # on the drawing and in the table
    assert '<a href="/list"' in page
    assert '<a href="/two" tabindex="-1" aria-label="hour 1: received 5 events">' in page


def test_it_is_named_described_and_escaped() -> None:
    class Ids(HTMLParser):
        ids: list[str] = []
        named: set[str] = set()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            of = dict(attrs)
            assert tag not in ("script", "img")
            self.ids += filter(None, [of.get("id")])
            self.named |= {of[k] or "" for k in ("aria-labelledby", "aria-describedby") if k in of}

    page = shown(
        chart(
            Series(HOSTILE, [1]),
            title=HOSTILE,
            about=HOSTILE,
            labels=[HOSTILE],
            heading=HOSTILE,
            url=HOSTILE,
            links=[HOSTILE],
            unit=counted(HOSTILE),
        )
    )
    reader = Ids()
    reader.feed(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.named == set(reader.ids)
