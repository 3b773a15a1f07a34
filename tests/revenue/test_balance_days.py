"""The days of the balance are always what their transactions add up to, whoever writes them."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import BalanceDay, BalanceTransaction
from billing.revenue import balance_days
from billing.revenue.net_to_payouts import balance_bridge
from tests.revenue.moving import OCTOBER, moved, paid_out

pytestmark = pytest.mark.django_db


def kept() -> list[tuple[str, str, int, int, int]]:
    return [
        (f"{row.day:%m-%d %H:%M}", row.category, row.count, row.fee, row.net)
        for row in BalanceDay.objects.exclude(count=0)
    ]


def test_days_follow_every_statement() -> None:
    moved("txn_1", 1000, fee=59)
    moved("txn_2", 500, created_at=OCTOBER.replace(hour=23, minute=59))
    moved("txn_3", -500, category="refund", created_at=OCTOBER + timedelta(hours=12))
    assert kept() == [("10-10 00:00", "charge", 2, 59, 1441), ("10-11 00:00", "refund", 1, 0, -500)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_balance_transactions SET payout_id = 'po_1'")
        cursor.execute(
            "UPDATE billing_balance_transactions SET created_at = created_at - interval '1 day',"
            " fee = 9, net = 991 WHERE stripe_id = 'txn_1'"
        )
        cursor.execute("DELETE FROM billing_balance_transactions WHERE stripe_id = 'txn_3'")
    assert kept() == [("10-09 00:00", "charge", 1, 9, 991), ("10-10 00:00", "charge", 1, 0, 500)]
    assert list(balance_days.DAYS.check()) == []


def test_a_sum_that_is_wrong_is_found_and_put_right() -> None:
    moved("txn_1", 1000)
    BalanceDay.objects.update(net=999)
    BalanceDay.objects.create(
        day=datetime(2025, 1, 1, tzinfo=UTC), currency="usd", category="fee", count=1, fee=0, net=7
    )
    with pytest.raises(CommandError):
        call_command("finance_facts", "check", "--family", "balance", stdout=(said := StringIO()))
    assert "balance: 2 differences." in said.getvalue()
    assert balance_days.DAYS.rebuild() == 2
    assert list(balance_days.DAYS.check()) == []
    assert BalanceTransaction.objects.count() == 1


def test_what_was_there_before_is_told_to_the_second() -> None:
    """In the midst of a day of UTC, where a month of most zones begins."""
    moved("txn_1", 100, created_at=OCTOBER - timedelta(days=40))
    moved("txn_2", 20, created_at=OCTOBER - timedelta(seconds=1))
    moved("txn_3", 3, created_at=OCTOBER)
    paid_out("po_1", 50, at=OCTOBER + timedelta(hours=3))
    moved("txn_4", 7, created_at=OCTOBER + timedelta(hours=4))
    [row] = balance_bridge(OCTOBER, OCTOBER + timedelta(hours=4))
    assert row == {
        "currency": "usd", "opening": 120, "net": 3, "paid_out": -50, "returned": 0,
        "payout_fees": 0, "moved": 0, "closing": 73, "remainder": 0,
    }  # fmt: skip
