"""Days, weeks and months of a report, in its own time zone."""

from datetime import UTC, date, datetime

import pytest

from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.periods import Periods

NOW = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)


def asked(**given: str) -> Asked:
    return Asked.of(given, names=("kind",), zone="Europe/Berlin", now=NOW)


def test_a_month_has_its_hours_across_a_change_of_the_clocks() -> None:
    march = Periods(date(2026, 3, 1), date(2026, 3, 31), "Europe/Berlin", "month")
    assert march.starts == [datetime(2026, 2, 28, 23, tzinfo=UTC)]
    assert march.until == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_weeks_begin_on_monday_and_the_first_and_the_last_are_cut() -> None:
    weeks = Periods(date(2026, 11, 5), date(2026, 11, 17), "UTC", "week")
    assert weeks.dates == [date(2026, 11, 5), date(2026, 11, 9), date(2026, 11, 16)]
    assert weeks.span(0) == (date(2026, 11, 5), date(2026, 11, 8))
    assert weeks.span(2) == (date(2026, 11, 16), date(2026, 11, 17))


@pytest.mark.parametrize(
    ("first", "last", "previous", "year_ago"),
    [
        ("2026-03-01", "2026-03-31", ("2026-02-01", "2026-02-28"), ("2025-03-01", "2025-03-31")),
        ("2026-01-01", "2026-02-28", ("2025-11-01", "2025-12-31"), ("2025-01-01", "2025-02-28")),
        ("2026-03-10", "2026-03-12", ("2026-03-07", "2026-03-09"), ("2025-03-10", "2025-03-12")),
        ("2024-02-29", "2024-02-29", ("2024-02-28", "2024-02-28"), ("2023-02-28", "2023-02-28")),
    ],
)
def test_what_a_period_is_compared_with(
    first: str, last: str, previous: tuple[str, str], year_ago: tuple[str, str]
) -> None:
    periods = Periods(date.fromisoformat(first), date.fromisoformat(last), "UTC", "day")
    found = [(str(p.first), str(p.last)) for p in (periods.previous(), periods.year_ago())]
    assert found == [previous, year_ago]


def test_without_days_it_is_the_month_so_far_where_the_zone_is_already_tomorrow() -> None:
    assert (str(asked().first), str(asked().last)) == ("2026-11-01", "2026-11-27")


def test_an_address_says_what_was_asked() -> None:
    given = {"from": "2026-01-01", "to": "2026-12-31", "by": "month", "currency": "EUR",
             "kind": "pack", "against": "year"}  # fmt: skip
    again = asked(**asked(**given).params())
    assert again == asked(**given)
    assert again.currency == "eur"
    assert again.compared() is not None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"from": "yesterday"}, "no date"),
        ({"from": "2026-12-01", "to": "2026-11-01"}, "after the last"),
        ({"from": "1026-12-01"}, "from 2000"),
        ({"timezone": "Mars/Base"}, "no time zone"),
        ({"by": "minute"}, "day, week, month"),
        ({"currency": "EURO"}, "no currency"),
        ({"from": "2020-01-01"}, "more than 400 days"),
        ({"from": "2000-01-01", "by": "month"}, "at most 20 years"),
        ({"kind": "x" * 201}, "at most 200 characters"),
    ],
)
def test_what_cannot_be_asked_says_what_to_write(given: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidReportError, match=says):
        asked(**given)
