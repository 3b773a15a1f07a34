"""Credit usage per user, and whose differs from their own history (R3)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import LeadClaim, acting_as
from billing.revenue import usage as module
from billing.revenue.usage import usage

pytestmark = pytest.mark.django_db

UNTIL = datetime(2026, 11, 2, tzinfo=UTC)
WEEK = timedelta(days=7)


def claims(user: str, *weekly: int, status: str = "succeeded", spent: int = 1) -> None:
    """Claims of a user: how many in the week up to UNTIL, in the one before, and so on back."""
    with acting_as("test"):
        LeadClaim.objects.bulk_create(
            LeadClaim(
                user_id=user,
                status=status,
                credits_spent=spent,
                claimed_at=UNTIL - WEEK * back - timedelta(hours=number % 160 + 1),
            )
            for back, count in enumerate(weekly)
            for number in range(count)
        )


def this_week(**window: Any) -> Any:
    return usage(**{"since": UNTIL - WEEK, "until": UNTIL, "timezone": "UTC"} | window)


def test_a_user_is_compared_with_their_own_history() -> None:
    steady = (20,) * 8
    claims("busy", 60, *steady)
    claims("usual", 24, *steady)
    claims("moody", 60, 5, 60, 20, 45, 10, 50, 30, 40)
    claims("gone", 0, *(40,) * 8)
    claims("small", 9, *(1,) * 8)
    claims("new", 80, 2)
    claims("fresh", 70)
    claims("old", 30, *(0,) * 20, 1)  # who has not claimed for 20 weeks
    claims("failing", 50, *steady, status="failed")
    claims("dear", 12, *(12,) * 8, spent=5)
    with CaptureQueriesContext(connection) as statements:
        said = this_week()
    assert len(statements.captured_queries) == 2
    assert [(user["user_id"], user["direction"]) for user in said["outliers"]] == [
        ("busy", "more"), ("gone", "less"), ("old", "more"),
    ]  # fmt: skip
    assert said["outliers"][0] == {
        "user_id": "busy", "claims": 60, "credits": 60, "mean": 20.0, "spread": 0.0, "periods": 8,
        "direction": "more",
    }  # fmt: skip
    assert [(user["user_id"], user["credits"]) for user in said["top"]] == [
        ("new", 80), ("fresh", 70), ("busy", 60), ("moody", 60), ("dear", 60), ("old", 30),
        ("usual", 24), ("small", 9),
    ]  # fmt: skip
    periods = {user["user_id"]: user["periods"] for user in said["top"]}
    assert (periods["new"], periods["fresh"], periods["old"]) == (1, 0, 8)
    assert said["totals"] == {"users": 8, "claims": 345, "credits": 393, "failed": 50}
    assert said["before"]["failed"] == 20
    assert said["outliers_found"] == 3


def test_weeks_are_those_of_the_zone() -> None:
    """Half an hour before midnight in Berlin, while its clocks are an hour further ahead."""
    since, until = (datetime(2026, 10, 18, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC))
    with acting_as("test"):
        for back in range(9):
            at = datetime(2026, 10, 25, 21, 30, tzinfo=UTC) - WEEK * back
            LeadClaim.objects.create(user_id="u", credits_spent=3, claimed_at=at)
        LeadClaim.objects.create(
            user_id="u", credits_spent=9, claimed_at=until - timedelta(minutes=30)
        )
    said = this_week(since=since, until=until, timezone="Europe/Berlin")
    assert (said["totals"]["credits"], said["before"]["credits"]) == (12, 3)
    assert (said["top"][0]["mean"], said["top"][0]["periods"]) == (3.0, 8)


def test_what_is_listed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._RULES, "most", 2)
    monkeypatch.setitem(module._RULES, "top", 1)
    monkeypatch.setattr(module, "TOP", 1)
    for number in range(4):
        claims(f"u{number}", 60 + number, *(10,) * 4)
    said = this_week()
    assert [user["user_id"] for user in said["top"]] == ["u3"]
    assert [user["user_id"] for user in said["outliers"]] == ["u3", "u2"]
    assert said["outliers_found"] == 4


def test_a_week_without_claims_says_so() -> None:
    said = this_week()
    assert (said["top"], said["outliers"], said["outliers_found"]) == ([], [], 0)
    assert said["totals"] == {"users": 0, "claims": 0, "credits": 0, "failed": 0}
