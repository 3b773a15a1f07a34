"""What was before the first event that we have, from the subscription and its invoices."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from backoffice.sandbox import shapes
from backoffice.sandbox.shapes.invoicing import line_pricing
from billing.gateway.observation import Observation
from billing.mirror import store
from billing.models import BillingSubscription, MrrChange, StripeVersion, SubscriptionState
from billing.projection import accounts
from billing.revenue.mrr import facts
from tests.revenue.mrr.events import DAY, START, Told, changes, days_after, items, price, states

pytestmark = pytest.mark.django_db

Object = dict[str, Any]


def at(days: float) -> int:
    return int((START + DAY * days).timestamp())


def hold(*objects: Object) -> None:
    """Writes Stripe's objects as a sync does, without any event."""
    customer = shapes.customer("cus_1", at(0))
    product = shapes.product("prod_1", at(0))
    seen = [Observation(each, START, START + DAY * 400)
            for each in (product, customer, *objects)]  # fmt: skip
    with transaction.atomic():
        store.write(seen, account_id=None, livemode=False)
        accounts.project(seen)


def a_price(amount: int, interval: str = "month") -> Object:
    recurring = {"interval": interval, "interval_count": 1, "usage_type": "licensed",
                 "meter": None, "trial_period_days": None}  # fmt: skip
    return shapes.price(f"price_{amount}", at(0), product="prod_1", unit_amount=amount,
                        recurring=recurring)  # fmt: skip


def subscription(amount: int = 1000, **given: Any) -> Object:
    made = shapes.subscription("sub_1", at(0), customer="cus_1", status="active")
    item = shapes.subscription_item("si_1", at(0), a_price(amount), subscription="sub_1")
    return made | {"items": made["items"] | {"data": [item]}} | given


def invoice(number: int, days: float, amount: int, *, proration: bool = False) -> Object:
    """An invoice of the subscription for a month that begins then."""
    line = shapes.invoice_line(
        f"il_{number}",
        amount=amount,
        period={"start": at(days), "end": at(days + 30)},
        pricing=line_pricing(f"price_{amount}", "prod_1", amount),
        parent={"type": "subscription_item_details",
                "subscription_item_details": {"proration": proration}},
        subscription="sub_1",
    )  # fmt: skip
    made = shapes.invoice(f"in_{number}", at(days), customer="cus_1", status="paid")
    parent = {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}
    return made | {"parent": parent, "lines": made["lines"] | {"data": [line]}}


def last_change() -> float | None:
    """When our row of the subscription changed last, in days after START."""
    return days_after(BillingSubscription.objects.get().updated_at)


def test_one_that_was_only_ever_synced_has_its_start_and_its_end() -> None:
    hold(subscription(status="canceled", ended_at=at(50), canceled_at=at(40)))
    assert states() == [(0, "active", 1000), (50, "canceled", 0)]
    assert changes() == [(0, "new", 0, 1000), (50, "churned", 1000, 0)]


def test_the_trial_of_one_that_was_only_ever_synced() -> None:
    trial = {"trial_start": at(0), "trial_end": at(14)}
    hold(subscription(**trial))
    assert states() == [(0, "trialing", 0), (14, "active", 1000)]
    hold(subscription(**trial, status="canceled", ended_at=at(14) + 60))
    assert states() == [(0, "trialing", 0), (round(14 + 60 / 86400, 3), "canceled", 0)]
    assert list(SubscriptionState.objects.values_list("trial", flat=True)) == ["started", "lost"]
    hold(subscription(**trial, status="canceled", ended_at=at(60)), a_price(1000),
         invoice(1, 14, 1000))  # fmt: skip
    assert states() == [(0, "trialing", 0), (14, "active", 1000), (60, "canceled", 0)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("incomplete_expired", [(0, "incomplete", 0), (1, "incomplete_expired", 0)]),
        ("incomplete", [(0, "incomplete", 0)]),
        ("active", [(0, "active", 1000)]),
    ],
)
def test_what_never_became_active_never_was(status: str, expected: list[Any]) -> None:
    ended = at(1) if status == "incomplete_expired" else None
    hold(subscription(status=status, ended_at=ended))
    assert states() == expected


def test_earlier_amounts_are_those_that_were_billed() -> None:
    """Prorations apart; a year's price is a month's share; today's price from when it was seen."""
    hold(subscription(3000), a_price(1000), a_price(12000, "year"), a_price(77))
    hold(invoice(1, 0, 1000), invoice(2, 31, 1000), invoice(3, 40, 77, proration=True),
         invoice(4, 59, 12000), invoice(5, 424, 12000))  # fmt: skip
    assert states() == [
        (0, "active", 1000), (59, "active", 1000), (last_change(), "active", 3000),
    ]  # fmt: skip
    state = SubscriptionState.objects.order_by("-at")
    assert [(each.price_id, each.mrr) for each in state] == [
        ("price_3000", 3000), ("price_12000", 1000), ("price_1000", 1000),
    ]  # fmt: skip


def test_events_that_begin_in_the_middle_are_completed() -> None:
    """The oldest that we have tells of the start; the invoices of what was paid until then."""
    hold(subscription(3000), a_price(1000), invoice(1, 0, 1000), invoice(2, 31, 1000))
    told = Told(object=subscription(1500))
    told.tell(45)
    told.tell(50, items=subscription(3000)["items"])
    assert states() == [(0, "active", 1000), (45, "active", 1500), (50, "active", 3000)]
    late = Told(object=subscription(1000, status="incomplete"))
    late.numbers = 7
    late.tell(0, "created")  # found at last: it says all that was before
    assert states() == [(0, "incomplete", 0), (45, "active", 1500), (50, "active", 3000)]


def test_an_event_that_never_came_is_made_up_for_by_the_object() -> None:
    told = Told()
    told.tell(0, "created", customer="cus_1")
    told.tell(10, items=items((price(2000), 1)))
    assert states() == [(0, "active", 1000), (10, "active", 2000)]
    hold(subscription(2000, status="canceled", ended_at=at(30),
                      cancellation_details={"reason": "payment_failed"}))  # fmt: skip
    assert states()[2:] == [(30, "canceled", 0)]
    assert MrrChange.objects.get(kind="churned").voluntary is False
    facts.refresh()
    assert list(facts.check()) == []


def test_an_object_that_is_older_than_the_last_event_says_nothing() -> None:
    hold(subscription(2000))
    told = Told(object=subscription(2000))
    told.tell(0, "created")
    late = timedelta(days=3) + (BillingSubscription.objects.get().updated_at - START)
    told.tell(late / DAY, status="past_due")
    store_version(before=late - DAY)
    assert [status for _, status, _ in states()] == ["active", "past_due"]


def store_version(before: timedelta) -> None:
    """Our copy is from a time before, by Stripe's clock."""
    seen = START + before
    StripeVersion.objects.create(
        object_id="sub_1", kind="subscription", not_before=seen, not_after=seen
    )
