"""A month is traded at Stripe, compared, bridged, closed by two people, and refunded later."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import BalanceReading, MonthClose
from billing.operations.base import Actor
from billing.operations.closing import ReviewMonth, SignMonth
from billing.projection.balance_sync import sync
from billing.reconciliation import examining, runs
from billing.revenue import closing, entries, month_rows
from billing.revenue.checklist import checklist
from billing.revenue.journal import journal
from billing.revenue.months import Month
from tests.operations.shop import Shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def by_the_sandboxs_clock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The back office lives at the sandbox's time, which the story sets ahead."""
    monkeypatch.setattr("django.utils.timezone.now", lambda: clock(shop))
    monkeypatch.setattr(examining, "GRACE", timedelta(seconds=-2))


def clock(shop: Shop) -> datetime:
    return datetime.fromtimestamp(shop.sandbox.control("clock", http="GET")["now"], UTC)


def go_to(shop: Shop, moment: datetime) -> None:
    shop.sandbox.advance(seconds=(moment - clock(shop)).total_seconds())


def read(shop: Shop) -> None:
    """What the worker does: events, the balance, and what follows from both."""
    shop.deliver()
    sync(actor="worker")
    entries.rebuild()
    # Entries are derived up to the database's own time, which nobody sets ahead.
    BalanceReading.objects.filter(what="revenue_entries").update(read_up_to=clock(shop))


@pytest.mark.usefixtures("by_the_sandboxs_clock")
def test_from_the_first_sale_to_a_refund_after_the_close(shop: Shop) -> None:
    month = Month.of(clock(shop), "UTC")
    refunded_later = shop.buy()["charge"]
    shop.sandbox.story("refund", charge=shop.buy(user_id="u_eva")["charge"], amount=500)
    subscription = shop.subscribe(user_id="u_sub", email="sub@example.com")["subscription"]
    go_to(shop, month.until + timedelta(days=1, hours=12))
    shop.sandbox.story("renew", subscription=subscription)
    read(shop)

    runs.reconcile("daily", actor="worker", since=month.since)
    assert {point.name: point.said for point in checklist(month) if not point.done} == {}
    own = closing.figures(month)["revenue"][0]
    assert (own["gross"], own["refunds"]) == (4500 + 4500 + 2900, 500)

    asked = {"month": str(month), "reason": "Agrees with the bank"}
    SignMonth(actor=Actor.cli("sue"), **asked).apply()
    ReviewMonth(actor=Actor.cli("rob"), **asked).apply()
    close = MonthClose.objects.get()
    assert close.state == "closed"
    assert close.figures["revenue"] == [own]

    shop.sandbox.story("refund", charge=refunded_later)
    read(shop)
    month_rows.see_what_came_since()
    close.refresh_from_db()
    assert close.later["changed"] == []
    [marked] = closing.marked(close)
    assert marked["mark"] == f"booked in {month.next}, concerns {month}"
    assert marked["amount"] == -4500
    assert closing.figures(month)["revenue"] == [own]
    assert closing.is_intact(close)
    lines = list(journal(month.since, month.next.until, "UTC", by="transaction"))
    assert sum(line.debit - line.credit for line in lines) == 0
