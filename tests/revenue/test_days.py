"""The days of a report, whatever its zone does to its clocks."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.revenue.days import Days, last_days
from billing.revenue.usage import earlier

ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia",
         "Africa/Casablanca", "America/Havana", "Asia/Beirut", "America/St_Johns"]  # fmt: skip
moments = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001
    datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(moments, st.timedeltas(timedelta(0), timedelta(days=20)), st.sampled_from(ZONES), st.data())
def test_every_moment_of_a_window_is_on_one_day(
    since: datetime, length: timedelta, zone: str, data: st.DataObject
) -> None:
    days = Days(since, since + length, zone)
    assert sum((end - start for start, end in days.spans), timedelta()) == length
    assert days.dates == sorted(set(days.dates))
    assert days.starts == sorted(set(days.starts))
    assert days.of(since - timedelta(microseconds=1)) is None
    assert days.of(since + length) is None
    if not length:
        return
    offset = data.draw(st.timedeltas(timedelta(0), length - timedelta(microseconds=1)))
    moment = since + offset
    day = days.of(moment)
    [span] = [span for span in days.spans if span[0] <= moment < span[1]]
    assert days.dates[days.spans.index(span)] == day
    if zone != "America/St_Johns":  # where the clocks once went back over midnight, at 0:01
        assert day == moment.astimezone(ZoneInfo(zone)).date()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 10, 26), 24),
        ("UTC", date(2026, 3, 29), 24),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # it began at 1:00
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_give_it(zone: str, day: date, hours: float) -> None:
    after = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZoneInfo(zone))
    days = Days(*last_days(3, after + timedelta(hours=5), zone), zone)
    assert days.dates == [day - timedelta(days=2), day - timedelta(days=1), day]
    start, end = days.spans[-1]
    assert (end - start) == timedelta(hours=hours)


def test_a_day_that_a_zone_left_out_is_no_day() -> None:
    days = Days(
        datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC), "Pacific/Apia"
    )
    assert days.dates == [date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1)]


def test_weeks_before_a_change_of_the_clocks_begin_at_the_same_hour() -> None:
    since, until = last_days(7, datetime(2026, 10, 28, 12, tzinfo=UTC), "Europe/Berlin")
    assert until - since == timedelta(days=7, hours=1)
    starts = [moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in
              earlier(since, until, "Europe/Berlin")]  # fmt: skip
    assert {(start.hour, start.weekday()) for start in starts} == {(0, 2)}
    assert len(starts) == 9
    assert starts[-1] == since
