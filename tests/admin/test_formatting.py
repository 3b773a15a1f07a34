"""Money, times and JSON in words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.admin.cells import dashboard_url, shorten
from billing.formatting import (
    THREE_DECIMAL,
    ZERO_DECIMAL,
    exponent,
    format_age,
    format_money,
    format_time,
    iso_time,
    pretty_json,
)

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        (0, "usd", "0.00 USD"),
        (5, "usd", "0.05 USD"),
        (-5, "EUR", "-0.05 EUR"),
        (123456, "eur", "1,234.56 EUR"),
        (-123456, "eur", "-1,234.56 EUR"),
        (1500, "jpy", "1,500 JPY"),
        (-1500, "krw", "-1,500 KRW"),
        (1500, "kwd", "1.500 KWD"),
        (-1, "bhd", "-0.001 BHD"),
        (10**18, "usd", "10,000,000,000,000,000.00 USD"),
        (1500, "", "1,500 minor units"),
    ],
)
def test_money_is_formatted_by_its_currencys_exponent(
    amount: int, currency: str, said: str
) -> None:
    assert format_money(amount, currency) == said


def test_the_currencies_without_and_with_three_decimals_are_stripes() -> None:
    assert " ".join(sorted(ZERO_DECIMAL)) == (
        "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
    )
    assert " ".join(sorted(THREE_DECIMAL)) == "bhd jod kwd omr tnd"


@given(st.integers(-(10**20), 10**20), st.sampled_from(["usd", "jpy", "kwd"]))
def test_no_minor_unit_is_lost(amount: int, currency: str) -> None:
    digits = format_money(amount, currency).split(" ")[0].replace(",", "").replace(".", "")
    assert int(digits) == amount
    assert exponent(currency) == exponent(currency.upper())


def test_times_are_shown_in_utc() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=9)))
    assert format_time(there) == "2026-03-01 12:00:05 UTC"
    assert iso_time(there) == "2026-03-01T12:00:05Z"


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=3, minutes=59), "3 hours ago"),
        (timedelta(days=40), "1 month ago"),
        (timedelta(seconds=-5), "just now"),
    ],
)
def test_ages_are_told_in_their_largest_unit(ago: timedelta, said: str) -> None:
    assert format_age(NOON - ago, NOON) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"b": 1, "a": "ü"}, '{\n  "b": 1,\n  "a": "ü"\n}'),
        ('{"a": 1}', '{\n  "a": 1\n}'),
        ("no json {", "no json {"),
        ("", ""),
        (None, "null"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_json_is_indented_and_anything_else_left_as_it_is(value: object, said: str) -> None:
    assert pretty_json(value) == said


@pytest.mark.parametrize(
    ("value", "livemode", "address"),
    [
        ("cus_1", True, "/customers/cus_1"),
        ("sub_1", False, "/test/subscriptions/sub_1"),
        ("pi_1", True, "/payments/pi_1"),
        ("cs_test_1", False, "/test/search?query=cs_test_1"),
        ("evt_1/../x?y", True, "/events/evt_1%2F..%2Fx%3Fy"),
        ("<b>", False, "/test/search?query=%3Cb%3E"),
    ],
)
def test_stripes_dashboard_is_linked_by_kind_and_mode(
    value: str, livemode: bool, address: str
) -> None:
    assert dashboard_url(value, livemode=livemode) == f"https://dashboard.stripe.com{address}"


@given(st.text())
def test_ids_are_shortened_in_the_middle(value: str) -> None:
    short = shorten(value)
    assert len(short) <= 18
    assert value.startswith(short.split("…")[0]) or value == short
