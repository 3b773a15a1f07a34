"""Days and hours of revenue are always what their entries add up to, whoever writes them."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing.models import RevenueDay, RevenueEntry, RevenueHour
from billing.models.balance import RevenueSums
from billing.revenue import figures, revenue_days
from billing.revenue.asked import Asked
from billing.revenue.journal import JournalBy, journal
from billing.revenue.mrr.derived import Kept

pytestmark = pytest.mark.django_db

OCTOBER = datetime(2025, 10, 10, 12, tzinfo=UTC)
NEW_YORK = "America/New_York"
KOLKATA = "Asia/Kolkata"
KATHMANDU = "Asia/Kathmandu"


def entry(source: str, amount: int = 1000, **more: Any) -> RevenueEntry:
    fields: dict[str, Any] = {
        "source": source, "line": 0, "at": OCTOBER, "item": "gross", "currency": "usd",
        "amount": amount, "fee": 30, "settled_currency": "usd", "settled_amount": amount,
        "settled_fee": 30, "tax": 0, "kind": "pack",
    }  # fmt: skip
    return RevenueEntry.objects.create(**fields | more)


Sums = list[tuple[str, str, int, int, int, int]]


def kept() -> tuple[Sums, Sums]:
    """Those of days, and those of hours."""
    days = [(row.day, row) for row in RevenueDay.objects.exclude(count=0)]
    hours = [(row.hour, row) for row in RevenueHour.objects.exclude(count=0)]
    return summed(days), summed(hours)


def summed(found: Sequence[tuple[datetime, RevenueSums]]) -> Sums:
    return [
        (f"{at:%m-%d %H:%M}", row.item, row.count, row.amount, row.settled_fee,
         int(row.settled_tax))
        for at, row in found
    ]  # fmt: skip


def test_days_and_hours_follow_every_statement() -> None:
    entry("txn_1", tax=100, currency="eur", settled_amount=1175)
    entry("txn_2", 500, at=OCTOBER.replace(hour=23, minute=59))
    entry("txn_3", -500, item="refunds", fee=0, settled_fee=0, at=OCTOBER + timedelta(hours=12))
    entry("txn_4", 250, at=OCTOBER.replace(hour=23))
    assert kept() == (
        [
            ("10-10 00:00", "gross", 1, 1000, 30, 118),
            ("10-10 00:00", "gross", 2, 750, 60, 0),
            ("10-11 00:00", "refunds", 1, -500, 0, 0),
        ],
        [
            ("10-10 12:00", "gross", 1, 1000, 30, 118),
            ("10-10 23:00", "gross", 2, 750, 60, 0),
            ("10-11 00:00", "refunds", 1, -500, 0, 0),
        ],
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_revenue_entries SET user_id = 'ada'")
        cursor.execute(
            "UPDATE billing_revenue_entries SET at = at - interval '1 day', kind = 'other',"
            " amount = 400, settled_amount = 400 WHERE source = 'txn_2'"
        )
        cursor.execute("DELETE FROM billing_revenue_entries WHERE source IN ('txn_3', 'txn_4')")
    assert kept() == (
        [("10-09 00:00", "gross", 1, 400, 30, 0), ("10-10 00:00", "gross", 1, 1000, 30, 118)],
        [("10-09 23:00", "gross", 1, 400, 30, 0), ("10-10 12:00", "gross", 1, 1000, 30, 118)],
    )
    assert revenue_days.DAYS.check() == revenue_days.HOURS.check() == []


@pytest.mark.parametrize(
    ("model", "unit", "sums"),
    [(RevenueDay, "day", revenue_days.DAYS), (RevenueHour, "hour", revenue_days.HOURS)],
)
def test_a_sum_that_is_wrong_is_found_and_put_right(
    model: type[RevenueDay | RevenueHour], unit: str, sums: Kept
) -> None:
    entry("txn_1")
    model.objects.update(amount=999)
    model.objects.create(
        **{unit: datetime(2025, 1, 1, tzinfo=UTC)}, item="gross", kind="pack", currency="usd",
        settled_currency="usd", count=1, amount=7, fee=0, tax=0, settled_amount=7, settled_fee=0,
        settled_tax=0,
    )  # fmt: skip
    family = f"revenue_{unit}s"
    with pytest.raises(CommandError):
        call_command("finance_facts", "check", "--family", family, stdout=(said := StringIO()))
    assert f"{family}: 2 differences." in said.getvalue()
    assert sums.rebuild() == 2
    assert sums.check() == []
    assert RevenueEntry.objects.count() == 1


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, KATHMANDU])
def test_what_has_no_entries_left_is_no_row_of_a_report(zone: str) -> None:
    entry("txn_1")
    RevenueEntry.objects.all().delete()
    assert RevenueDay.objects.count() == RevenueHour.objects.count() == 1
    asked = Asked(date(2025, 10, 1), date(2025, 10, 31), zone, "day")
    assert figures.charged(asked) == figures.settled(asked) == []
    assert list(journal(asked.since, asked.until, zone)) == []


@pytest.mark.parametrize(
    ("zone", "midnight"), [("UTC", "00:00"), (KOLKATA, "18:30"), (KATHMANDU, "18:15")]
)
def test_each_entry_counts_once_on_its_day_however_near_its_end(zone: str, midnight: str) -> None:
    """What counted twice or never would be a digit that is not 1."""
    end = datetime.fromisoformat(f"2025-10-11T{midnight}Z")
    hour = end.replace(minute=0)
    before = [end - timedelta(days=1), hour - timedelta(minutes=1), end - timedelta(seconds=1)]
    after = [end, hour + timedelta(minutes=59), hour + timedelta(hours=1), end + timedelta(hours=7)]
    for number, at in enumerate(before + after):
        entry(f"txn_{number}", 10**number, at=at, fee=0, settled_fee=0)
    asked = Asked((end + timedelta(hours=6) - timedelta(days=1)).date(),
                  (end + timedelta(hours=6)).date(), zone, "day")  # fmt: skip
    assert [row["gross"] for row in figures.charged(asked)] == [111, 1111000]
    lines = [line for line in journal(asked.since, asked.until, zone) if line.debit]
    assert [line.debit for line in lines] == [111, 1111000]


def test_only_hours_that_a_period_cuts_are_read_from_entries() -> None:
    """An hour's sum is not what its entries say here, so that it shows which was read."""
    for number, hours in enumerate([0, 6]):
        entry(f"txn_{number}", 1, at=OCTOBER + timedelta(hours=hours))
    RevenueDay.objects.update(amount=100)
    RevenueHour.objects.update(amount=10)
    found = {}
    for zone in ("UTC", NEW_YORK, KOLKATA, KATHMANDU):
        asked = Asked(date(2025, 10, 10), date(2025, 10, 11), zone, "day")
        found[zone] = [row["gross"] for row in figures.charged(asked)]
    assert found == {"UTC": [100], NEW_YORK: [20], KOLKATA: [11], KATHMANDU: [11]}


def booked(asked: Asked, by: JournalBy) -> dict[tuple[date, str, str], int]:
    """What the journal did to each account on each day, but for nothing."""
    sums: Counter[tuple[date, str, str]] = Counter()
    for line in journal(asked.since, asked.until, asked.timezone, by=by):
        sums[line.date, line.account, line.currency] += line.debit - line.credit
    return {key: amount for key, amount in sums.items() if amount}


ENTRIES = st.lists(
    st.tuples(
        st.integers(0, 6 * 24 * 4),
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
        zone=st.sampled_from(["UTC", NEW_YORK, KOLKATA, KATHMANDU]),
        by=st.sampled_from(["day", "week", "month"]),
        kind=st.sampled_from(["", "pack"]),
        currency=st.sampled_from(["", "usd"]),
    )
    def test_sums_kept_are_those_of_entries(
        self, made: list[Any], zone: str, by: Any, kind: str, currency: str
    ) -> None:
        """Where a period cuts days and hours of UTC, or not: price '' is every entry's here."""
        for number, (quarters, item, of, code, amount, tax) in enumerate(made):
            entry(
                f"txn_{number}", amount, item=item, kind=of, currency=code, tax=tax,
                settled_amount=amount * 11 // 10, at=OCTOBER + timedelta(minutes=15 * quarters),
            )  # fmt: skip
        asked = Asked(
            date(2025, 10, 11), date(2025, 10, 15), zone, by, currency,
            more={"kind": kind} if kind else {},
        )  # fmt: skip
        by_entry = figures.charged(asked, "price")
        assert figures.charged(asked) == by_entry
        assert booked(asked, "day") == booked(asked, "transaction")
        assert revenue_days.DAYS.check() == revenue_days.HOURS.check() == []
