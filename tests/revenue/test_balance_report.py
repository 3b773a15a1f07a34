"""Stripe's balance by category, what its payouts contain, and the third bridge."""

from datetime import date, timedelta
from typing import Any

import pytest

from billing.models import BalanceTransaction, BridgeDay, Payout
from billing.revenue import bridge_days
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.balance_report import BalanceReport
from billing.revenue.report import Table
from tests.revenue.conftest import ZONE, Market
from tests.revenue.moving import NOVEMBER, OCTOBER, moved, paid_out
from tests.revenue.test_bridge import bridged

pytestmark = pytest.mark.django_db


def asked(first: date = date(2025, 10, 1), last: date = date(2025, 10, 31), **more: Any) -> Asked:
    return Asked(first, last, more.pop("timezone", "UTC"), by="month", **more)


def tables(asked_for: Asked) -> dict[str, Table]:
    return {table.name: table for table in BalanceReport().view(asked_for).tables}


def live() -> None:
    """A balance of October: brought over, charged, refunded, paid out, returned, held back."""
    moved("txn_before", 5000, created_at=OCTOBER - timedelta(days=30))
    moved("txn_a", 10_000, fee=320, payout_id="po_1")
    moved("txn_b", -2000, category="refund", payout_id="po_1")
    paid_out("po_1", 7680)
    paid_out("po_back", 1000, automatic=False, status="failed")
    moved("txn_back", 1000, category="payout_reversal", source_id="po_back")
    moved("txn_hold", -100, category="payout_minimum_balance_hold")
    moved("txn_yen", 700, currency="jpy")
    moved("txn_later", 999, created_at=NOVEMBER)


def test_the_balance_goes_from_its_opening_to_its_closing_without_a_remainder() -> None:
    live()
    dollars, yen = sorted(tables(asked())["balance"].rows, key=lambda row: -row["closing"])
    assert dollars == {
        "currency": "usd", "opening": 5000, "net": 7680, "paid_out": -8680, "returned": 1000,
        "payout_fees": 0, "moved": -100, "closing": 4900, "remainder": 0,
    }  # fmt: skip
    assert (yen["currency"], yen["closing"], yen["remainder"]) == ("jpy", 700, 0)
    november = list(
        tables(asked(date(2025, 11, 1), date(2025, 11, 30), currency="usd"))["balance"].rows
    )
    assert [(row["opening"], row["closing"]) for row in november] == [(4900, 5899)]


def test_a_payout_that_is_not_here_or_of_another_amount_remains() -> None:
    live()
    Payout.objects.filter(stripe_id="po_1").update(amount=7000)
    [row] = tables(asked(currency="usd"))["balance"].rows
    assert row["remainder"] == -680
    first = next(row for row in tables(asked())["payouts"].rows if row["payout"] == "po_1")
    assert (first["contents"], first["remainder"]) == (7680, -680)


def test_payouts_say_what_they_contain_and_what_stripe_never_tells() -> None:
    live()
    table = tables(asked())["payouts"]
    by_id = {row["payout"]: row for row in table.rows}
    assert (by_id["po_1"]["movements"], by_id["po_1"]["remainder"]) == (2, 0)
    assert by_id["po_back"]["remainder"] is None
    assert table.drill
    drill = table.drill(by_id["po_1"], "contents")
    assert drill
    inside = BalanceReport().behind(asked(), drill)
    assert [row["id"] for row in inside.rows] == ["txn_a", "txn_b"]


def test_every_category_opens_its_balance_transactions() -> None:
    live()
    table = tables(asked())["categories"]
    charges = next(r for r in table.rows if (r["category"], r["currency"]) == ("charge", "usd"))
    assert charges | {"date": "2025-10-01", "count": 1, "amount": 10_000, "net": 9680} == charges
    assert sum(row["net"] for row in table.rows if row["currency"] == "usd") == sum(
        BalanceTransaction.objects.filter(
            currency="usd", created_at__range=(OCTOBER, OCTOBER)
        ).values_list("net", flat=True)
    )
    assert table.drill
    drill = table.drill(charges, "net")
    assert drill
    assert [row["id"] for row in BalanceReport().behind(asked(), drill).rows] == ["txn_a"]
    for wrong in ({"of": "?"}, {**drill, "period": "9"}, {"of": "bridge", "part": "?", "in": ""}):
        with pytest.raises(InvalidReportError):
            BalanceReport().behind(asked(), wrong)


def test_the_bridges_are_kept_by_day_and_add_up_to_what_stripe_told(books: Market) -> None:
    said = bridged(books)
    bridge_days.keep(said)
    bridge_days.keep(said)  # again: in place of the first
    BridgeDay.objects.update(read_at=books.until)  # the sandbox's clock is ahead of ours
    first, last = books.day - timedelta(days=1), books.day + timedelta(days=2)
    week = asked(first, last, timezone=ZONE)
    for part in bridge_days.PARTS:
        kept = {row["currency"]: row for row in tables(week)[part].rows}
        for currency, total in said["totals"][part].items():
            assert {name: kept[currency][name] for name in total} == total
    assert not BalanceReport().view(week).notes
    longer = BalanceReport().view(asked(first - timedelta(days=2), last, timezone=ZONE))
    assert longer.notes[0].startswith("2 of 6 days are not read from Stripe yet")
    by_day = BalanceReport().behind(week, {"of": "bridge", "part": "settled", "in": "usd"})
    assert sum(row["net"] for row in by_day.rows) == said["totals"]["settled"]["usd"]["net"]
    quiet = BridgeDay.objects.filter(currency="")
    assert all(not row.items and not row.remainder for row in quiet)
