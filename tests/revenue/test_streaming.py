"""Rows that stream: one after the other from the server, and closed by whoever stops reading."""

from collections.abc import Iterator

import pytest

from billing.database import rows, some, stream
from billing.revenue import exporting
from billing.revenue.report import Column, Row, Table

pytestmark = pytest.mark.django_db
MANY = "SELECT i FROM generate_series(1, 10000) i"


def open_cursors() -> int:
    return int(rows("SELECT count(*) AS n FROM pg_cursors")[0]["n"])


def test_a_page_of_a_stream_closes_its_cursor() -> None:
    found = stream(MANY)
    assert [row["i"] for row in some(found, 3, 2)] == [4, 5]
    assert open_cursors() == 0


def test_a_file_that_nobody_reads_to_its_end_closes_its_cursor() -> None:
    found = stream(MANY)
    lines = exporting.csv_lines(Table("many", "Many", [Column("i", "I", "number")], found))
    assert [next(lines), next(lines)] == ["i\n", "1\n"]
    assert open_cursors() == 1
    lines.close()  # type: ignore[attr-defined]
    assert open_cursors() == 0


def test_a_file_takes_each_row_when_it_is_read() -> None:
    taken = 0

    def endless() -> Iterator[Row]:
        nonlocal taken
        while True:
            taken += 1
            yield {"i": taken}

    lines = exporting.csv_lines(Table("many", "Many", [Column("i", "I", "number")], endless()))
    for _ in range(101):
        next(lines)
    assert taken == 100
