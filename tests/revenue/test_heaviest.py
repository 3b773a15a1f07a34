"""Who spent most is read from sums by month, and is what the uses add up to."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing.models import CreditSpender, CreditUse
from billing.revenue.credits import checking, lots
from billing.revenue.credits.heaviest import MOST, heaviest
from billing.revenue.periods import Periods
from tests.support.plans import plan

pytestmark = pytest.mark.django_db

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland")
FIRST = date(2025, 1, 1)
BEFORE = datetime(2024, 12, 1, tzinfo=UTC)
BIG = 2**62


def use(*uses: tuple[str, datetime, int], purpose: str = "claim", currency: str = "usd") -> None:
    """What one statement adds."""
    number = CreditUse.objects.count()
    CreditUse.objects.bulk_create(
        CreditUse(
            lot_id=number + i, entry_id=number + i, user_id=user, at=at, credits=count,
            purpose=purpose, currency=currency, value=10 * count if count < BIG else 0,
        )
        for i, (user, at, count) in enumerate(uses)
    )  # fmt: skip


def told(first: date, last: date, zone: str = "UTC") -> list[dict[str, Any]]:
    return list(heaviest(Periods(first, last, zone, "month")))


def months(user: str) -> tuple[str, list[float]]:
    """When a user spent first, and their sums by the end of each month from then on."""
    row = CreditSpender.objects.get(user_id=user)
    assert len(row.spent) == row.last_month - row.first_month + 1
    year, month = divmod(row.first_month - 1, 12)
    return f"{year}-{month + 1:02}", row.spent


def test_sums_by_month_follow_every_statement() -> None:
    use(("ada", datetime(2025, 11, 30, 23, 59, tzinfo=UTC), 3))
    assert months("ada") == ("2025-11", [3])
    use(("ada", datetime(2026, 2, 1, tzinfo=UTC), 4), ("bob", datetime(2026, 1, 9, tzinfo=UTC), 5))
    assert months("ada") == ("2025-11", [3, 3, 3, 7])
    assert months("bob") == ("2026-01", [5])
    use(("ada", datetime(2025, 10, 1, tzinfo=UTC), 1), purpose="sql")
    use(("ada", datetime(2025, 10, 1, tzinfo=UTC), 50), purpose="refund")
    use(("zoe", datetime(2025, 10, 1, tzinfo=UTC), 50), purpose="correction")
    assert months("ada") == ("2025-10", [1, 4, 4, 4, 8])
    assert list(CreditSpender.objects.order_by("user_id").values_list("user_id", flat=True)) == [
        "ada", "bob",
    ]  # fmt: skip


def test_what_is_derived_anew_forgets_them() -> None:
    use(("ada", datetime(2025, 11, 30, tzinfo=UTC), 3))
    lots.rebuild()
    assert not CreditSpender.objects.exists()
    assert checking.check() == []


def test_months_beside_and_days_are_told_with_what_was_paid() -> None:
    use(
        ("ada", datetime(2026, 1, 31, 12, tzinfo=UTC), 1),
        ("ada", datetime(2026, 3, 2, tzinfo=UTC), 2),
    )
    use(("ada", datetime(2026, 5, 10, tzinfo=UTC), 4), currency="eur")
    use(("bob", datetime(2026, 2, 1, tzinfo=UTC), 6), ("bob", datetime(2026, 6, 1, tzinfo=UTC), 9))
    assert told(date(2026, 1, 31), date(2026, 5, 10)) == [
        {"user_id": "ada", "spent": 7, "currency": "eur", "credits": 4, "value": 40},
        {"user_id": "ada", "spent": 7, "currency": "usd", "credits": 3, "value": 30},
        {"user_id": "bob", "spent": 6, "currency": "usd", "credits": 6, "value": 60},
    ]
    assert told(date(2026, 2, 1), date(2026, 2, 1)) == [
        {"user_id": "bob", "spent": 6, "currency": "usd", "credits": 6, "value": 60}
    ]
    assert told(date(2026, 7, 1), date(2026, 12, 31)) == []


def test_no_sum_is_too_large() -> None:
    """Of more credits than a bigint holds: the sums order users, and the figures are exact."""
    use(*(("ada", datetime(2026, month, 1, tzinfo=UTC), BIG) for month in (1, 2, 3, 4)))
    use(("bob", datetime(2026, 2, 1, tzinfo=UTC), 1))
    assert [row["spent"] for row in told(date(2026, 1, 1), date(2026, 12, 31))] == [4 * BIG, 1]


def test_only_the_most_are_told_and_equals_in_the_order_of_their_ids() -> None:
    use(*((f"u_{i:02}", datetime(2026, 1, 1, tzinfo=UTC), 5 + (i == 29)) for i in range(30)))
    found = [row["user_id"] for row in told(date(2026, 1, 1), date(2026, 4, 30))]
    assert found == ["u_29", *(f"u_{i:02}" for i in range(MOST - 1))]


def test_a_year_reads_no_use_of_its_whole_months_but_of_those_who_are_told() -> None:
    use(("ada", datetime(2026, 3, 5, tzinfo=UTC), 3))
    with CaptureQueriesContext(connection) as asked:
        told(date(2026, 1, 1), date(2026, 12, 31))
    [sql] = [query["sql"] for query in asked if "billing_credit_spenders" in query["sql"]]
    lines = "\n".join(plan(sql, "seqscan"))
    assert "billing_credit_spenders_last" in lines
    assert "Seq Scan" not in lines


USES = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob", "cid", "dan"]),
        st.integers(0, 577 * 24 * 4).map(lambda n: BEFORE + n * timedelta(minutes=15)),
        st.sampled_from([1, 2, 3, 1000]),
    ),
    max_size=12,
)


class AnyUses(TestCase):
    @given(
        statements=st.lists(USES, max_size=3),
        first=st.integers(0, 400),
        days=st.integers(0, 500),
        zone=st.sampled_from(ZONES),
    )
    def test_they_are_told_as_their_uses_add_up(
        self, statements: list[list[tuple[str, datetime, int]]], first: int, days: int, zone: str
    ) -> None:
        for uses in statements:
            use(*uses)
        periods = Periods(
            FIRST + timedelta(days=first), FIRST + timedelta(days=first + days), zone, "month"
        )
        spent: Counter[str] = Counter()
        for user, at, count in (each for uses in statements for each in uses):
            if periods.since <= at < periods.until:
                spent[user] += count
        expected = sorted(spent.items(), key=lambda each: (-each[1], each[0]))
        assert [(row["user_id"], row["spent"]) for row in heaviest(periods)] == expected
