"""The days of revenue are always what their entries add up to, whoever writes them."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing.models import RevenueDay, RevenueEntry
from billing.revenue import figures, revenue_days
from billing.revenue.asked import Asked
from billing.revenue.journal import JournalBy, journal

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2025, 10, 10, 12, tzinfo=UTC)
NEW_YORK = "America/New_York"


def entry(source: str, amount: int = 1000, **more: Any) -> RevenueEntry:
    fields: dict[str, Any] = {
        "source": source, "line": 0, "at": OCTOBER, "item": "gross", "currency": "usd",
        "amount": amount, "fee": 30, "settled_currency": "usd", "settled_amount": amount,
        "settled_fee": 30, "tax": 0, "kind": "pack",
    }  # fmt: skip
    return RevenueEntry.objects.create(**fields | more)


def kept() -> list[tuple[str, str, int, int, int, int]]:
    return [
        (f"{row.day:%m-%d %H:%M}", row.item, row.count, row.amount, row.settled_fee,
         row.settled_tax)
        for row in RevenueDay.objects.exclude(count=0)
    ]  # fmt: skip


def test_days_follow_every_statement() -> None:
    entry("txn_1", tax=100, currency="eur", settled_amount=1175)
    entry("txn_2", 500, at=OCTOBER.replace(hour=23, minute=59))
    entry("txn_3", -500, item="refunds", fee=0, settled_fee=0, at=OCTOBER + timedelta(hours=12))
    assert kept() == [
        ("10-10 00:00", "gross", 1, 1000, 30, 118),
        ("10-10 00:00", "gross", 1, 500, 30, 0),
        ("10-11 00:00", "refunds", 1, -500, 0, 0),
    ]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_revenue_entries SET user_id = 'ada'")
        cursor.execute(
            "UPDATE billing_revenue_entries SET at = at - interval '1 day', kind = 'other',"
            " amount = 400, settled_amount = 400 WHERE source = 'txn_2'"
        )
        cursor.execute("DELETE FROM billing_revenue_entries WHERE source = 'txn_3'")
    assert kept() == [
        ("10-09 00:00", "gross", 1, 400, 30, 0),
        ("10-10 00:00", "gross", 1, 1000, 30, 118),
    ]
    assert list(revenue_days.DAYS.check()) == []


def test_a_sum_that_is_wrong_is_found_and_put_right() -> None:
    entry("txn_1")
    RevenueDay.objects.update(amount=999)
    RevenueDay.objects.create(
        day=datetime(2025, 1, 1, tzinfo=UTC), item="gross", kind="pack", currency="usd",
        settled_currency="usd", count=1, amount=7, fee=0, tax=0, settled_amount=7, settled_fee=0,
        settled_tax=0,
    )  # fmt: skip
    with pytest.raises(CommandError):
        call_command(
            "finance_facts", "check", "--family", "revenue_days", stdout=(said := StringIO())
        )
    assert "revenue_days: 2 differences." in said.getvalue()
    assert revenue_days.DAYS.rebuild() == 2
    assert list(revenue_days.DAYS.check()) == []
    assert RevenueEntry.objects.count() == 1


def test_a_day_whose_entries_are_gone_is_no_row_of_a_report() -> None:
    entry("txn_1")
    RevenueEntry.objects.all().delete()
    assert RevenueDay.objects.count() == 1
    asked = Asked(date(2025, 10, 1), date(2025, 10, 31), "UTC")
    assert figures.charged(asked) == figures.settled(asked) == []
    assert list(journal(asked.since, asked.until, "UTC")) == []


def booked(asked: Asked, by: JournalBy) -> dict[tuple[date, str, str], int]:
    """What the journal did to each account on each day, but for nothing."""
    sums: Counter[tuple[date, str, str]] = Counter()
    for line in journal(asked.since, asked.until, asked.timezone, by=by):
        sums[line.date, line.account, line.currency] += line.debit - line.credit
    return {key: amount for key, amount in sums.items() if amount}


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 6 * 24),
        st.sampled_from(RevenueEntry.Item.values),
        st.sampled_from(RevenueEntry.Kind.values),
        st.sampled_from(["usd", "eur"]),
        st.integers(-5000, 5000),
        st.integers(0, 900),
    ),
    max_size=12,
)


class AnyEntries(TestCase):
    @given(
        made=ENTRIES,
        zone=st.sampled_from(["UTC", NEW_YORK, "Asia/Kathmandu"]),
        by=st.sampled_from(["day", "week", "month"]),
        kind=st.sampled_from(["", "pack"]),
        currency=st.sampled_from(["", "usd"]),
    )
    def test_sums_of_days_are_those_of_entries(
        self, made: list[Any], zone: str, by: Any, kind: str, currency: str
    ) -> None:
        """Where the days of UTC are cut by a period or not: price '' is every entry's here."""
        for number, (hours, item, of, code, amount, tax) in enumerate(made):
            entry(
                f"txn_{number}", amount, item=item, kind=of, currency=code, tax=tax,
                settled_amount=amount * 11 // 10, at=OCTOBER + timedelta(hours=hours),
            )  # fmt: skip
        asked = Asked(
            date(2025, 10, 11), date(2025, 10, 15), zone, by, currency,
            more={"kind": kind} if kind else {},
        )  # fmt: skip
        by_entry = figures.charged(asked, "price")
        assert figures.charged(asked) == by_entry
        assert booked(asked, "day") == booked(asked, "transaction")
