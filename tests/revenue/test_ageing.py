"""Open invoices by days since they were due, today and on days that are past."""

from datetime import date
from typing import Any

import pytest

from billing.revenue.ageing import Ageing
from billing.revenue.asked import InvalidReportError
from tests.revenue.failing import YEAR, asked, at, behind, charge, invoice, table

pytestmark = pytest.mark.django_db
REPORT = Ageing()


def on(day: date, **more: Any) -> dict[str, tuple[int, int]]:
    """Invoices and amount of each part that has any, on a day, in dollars."""
    return {
        row["key"]: (row["invoices"], row["amount"])
        for row in table(REPORT, asked(day, day, **more))
        if row["currency"] == "usd" and row["invoices"]
    }


def test_an_invoice_ages_from_its_due_date_else_from_when_it_was_finalised() -> None:
    invoice("sent", at(1, 1), due_date=at(1, 31))
    assert on(date(2025, 12, 31)) == {}
    assert on(date(2026, 1, 30)) == {"not_due": (1, 1000)}
    assert on(date(2026, 1, 31)) == {"0_30": (1, 1000)}
    assert on(date(2026, 3, 2)) == {"0_30": (1, 1000)}
    assert on(date(2026, 3, 3)) == {"31_60": (1, 1000)}
    assert on(date(2026, 4, 2)) == {"61_90": (1, 1000)}
    assert on(date(2026, 5, 1)) == {"61_90": (1, 1000)}
    assert on(date(2026, 5, 2)) == {"over_90": (1, 1000)}
    invoice("charged", at(5, 1))
    assert on(date(2026, 5, 2)) == {"over_90": (1, 1000), "0_30": (1, 1000)}


def test_a_day_that_is_past_has_what_was_open_then() -> None:
    invoice("paid", at(1, 10), amount=10, paid_at=at(2, 10))
    invoice("void", at(1, 10), amount=20, voided_at=at(2, 11), status="void")
    invoice("off", at(1, 10), amount=40, uncollectible_at=at(2, 12), paid_at=at(3, 1))
    invoice("open", at(1, 10), amount=80)
    invoice("at_once", at(1, 10), amount=160, paid_at=at(1, 10))
    invoice("draft", None, amount=320, status="draft", created_at=at(1, 10))
    amounts = [on(date(2026, 2, day)) for day in (8, 10, 11, 12)]
    assert amounts == [
        {"0_30": (4, 150)},
        {"31_60": (3, 140)},
        {"31_60": (2, 120)},
        {"31_60": (1, 80)},
    ]
    [row] = [row for row in table(REPORT, asked(date(2026, 2, 11), date(2026, 2, 11)))
             if row["key"] == "31_60"]  # fmt: skip
    assert row["share"] == 1.0
    assert behind(REPORT, YEAR, row, "amount") == ["in_off", "in_open"]


def test_what_was_paid_in_part_remains_in_part() -> None:
    invoice("still", at(1, 1), amount=1000, amount_paid=400, amount_remaining=600)
    charge("still", at(1, 20), status="succeeded", amount=400)
    invoice("over", at(1, 1), amount=1000, paid_at=at(2, 20))
    charge("over", at(1, 20), status="succeeded", amount=300)
    charge("over", at(2, 20), status="succeeded", amount=700)
    invoice("debit", at(1, 1), amount=1000, paid_at=at(1, 29))
    charge("debit", at(1, 25), status="succeeded", amount=1000)  # that arrived on the 29th
    assert on(date(2026, 1, 10)) == {"0_30": (3, 3000)}
    assert on(date(2026, 1, 25)) == {"0_30": (3, 2300)}
    assert on(date(2026, 1, 31)) == {"0_30": (2, 1300)}
    assert on(date(2026, 12, 31)) == {"over_90": (1, 600)}


def test_a_day_ends_when_it_does_in_its_zone() -> None:
    invoice("late", at(1, 10, hour=23), amount=10, paid_at=at(1, 12, hour=23))
    assert on(date(2026, 1, 10), zone="Europe/Berlin") == {}
    assert on(date(2026, 1, 10)) == {"0_30": (1, 10)}
    assert on(date(2026, 1, 12), zone="Europe/Berlin") == {"0_30": (1, 10)}
    assert on(date(2026, 1, 12)) == {}


def test_currencies_are_apart() -> None:
    invoice("dollars", at(1, 1), amount=10)
    invoice("yen", at(1, 1), amount=7, currency="jpy")
    day = date(2026, 1, 2)
    rows = [row for row in table(REPORT, asked(day, day)) if row["invoices"]]
    assert [(row["currency"], row["amount"], row["share"]) for row in rows] == [
        ("jpy", 7, 1.0),
        ("usd", 10, 1.0),
    ]
    assert {row["currency"] for row in table(REPORT, asked(day, day, currency="jpy"))} == {"jpy"}
    with pytest.raises(InvalidReportError):
        REPORT.behind(YEAR, {"bucket": "never"})
