"""What subscriptions were at every time, from the events that tell of them."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from billing.ingress import log
from billing.models import MrrChange, SubscriptionState
from billing.revenue.mrr import facts
from tests.revenue.mrr.events import DAY, START, Told, changes, items, price, states

pytestmark = pytest.mark.django_db


def test_a_life_from_the_first_payment_to_the_end() -> None:
    told = Told()
    told.tell(0, "created", status="incomplete")
    told.tell(0.1, status="active")
    told.tell(30, latest_invoice="in_2")  # a renewal
    told.tell(40, items=items((price(3000), 1)))
    told.tell(50, items=items((price(3000), 3)))
    told.tell(60, items=items((price(500), 1)))
    told.tell(70, status="past_due")
    told.tell(75, status="active")
    told.cancel(80)
    assert states() == [
        (0, "incomplete", 0), (0.1, "active", 1000), (40, "active", 3000), (50, "active", 9000),
        (60, "active", 500), (70, "past_due", 500), (75, "active", 500), (80, "canceled", 0),
    ]  # fmt: skip
    assert changes() == [
        (0.1, "new", 0, 1000), (40, "expansion", 1000, 3000), (50, "expansion", 3000, 9000),
        (60, "contraction", 9000, 500), (80, "churned", 500, 0),
    ]  # fmt: skip
    first, *_, last = SubscriptionState.objects.all()
    assert (first.until, last.until) == (START + DAY * 0.1, None)
    assert (first.user_id, first.product_id, first.quantity) == ("u_1", "prod_1", 1)
    assert (last.reason, MrrChange.objects.last().voluntary) == ("cancellation_requested", True)


def test_a_cancellation_at_the_end_of_the_period_counts_when_it_ends() -> None:
    told = Told()
    told.tell(0, "created")
    told.tell(3, cancel_at_period_end=True,
              cancellation_details={"reason": "cancellation_requested"})  # fmt: skip
    told.cancel(31)
    assert states() == [(0, "active", 1000), (31, "canceled", 0)]


@pytest.mark.parametrize(
    ("before", "reason", "voluntary"),
    [
        ("active", "cancellation_requested", True),
        ("past_due", "cancellation_requested", True),
        ("past_due", "payment_failed", False),
        ("active", "payment_disputed", False),
        ("past_due", None, False),  # before Stripe gave reasons
        ("active", None, True),
    ],
)
def test_who_is_said_to_have_left_of_their_own_will(
    before: str, reason: str | None, voluntary: bool
) -> None:
    told = Told()
    told.tell(0, "created")
    told.tell(10, status=before)
    told.cancel(20, reason)
    assert changes()[-1] == (20, "churned", 1000, 0)
    assert MrrChange.objects.get(kind="churned").voluntary is voluntary


def test_unpaid_is_churn_that_nobody_asked_for_and_what_comes_back_is_reactivated() -> None:
    told = Told()
    told.tell(0, "created")
    told.tell(10, status="past_due")
    told.tell(20, status="unpaid")
    told.tell(25, status="active")
    told.cancel(30)
    again = Told("sub_2")
    again.tell(40, "created", items=items((price(700), 1)))
    assert changes() == [
        (0, "new", 0, 1000), (20, "churned", 1000, 0), (25, "reactivated", 0, 1000),
        (30, "churned", 1000, 0), (40, "reactivated", 0, 700),
    ]  # fmt: skip
    voluntary = MrrChange.objects.values_list("voluntary", flat=True)
    assert list(voluntary) == [None, False, None, True, None]
    assert MrrChange.objects.last().first_at == START


def test_a_trial_has_no_revenue_until_it_is_converted() -> None:
    kept, lost = Told(), Told("sub_2", "cus_2")
    for told in (kept, lost):
        told.tell(0, "created", status="trialing")
    kept.tell(14, status="active")
    lost.cancel(14)
    assert states() == [(0, "trialing", 0), (14, "active", 1000)]
    assert changes() == [(14, "new", 0, 1000)]
    assert states("sub_2") == [(0, "trialing", 0), (14, "canceled", 0)]
    assert changes("cus_2") == []
    assert list(SubscriptionState.objects.filter(at=START).values_list("in_trial", flat=True)) == [
        True, True,
    ]  # fmt: skip


def test_subscriptions_of_one_customer_are_netted() -> None:
    """A second one is an expansion, its end a contraction; a swap in one second is neither."""
    first, second, third = Told("sub_1"), Told("sub_2"), Told("sub_3")
    first.tell(0, "created")
    second.tell(5, "created", items=items((price(400), 1)))
    second.cancel(10)
    first.cancel(20)
    third.tell(20, "created", items=items((price(1000), 1)))
    third.tell(25, items=items((price(1500), 1)))
    assert changes() == [
        (0, "new", 0, 1000), (5, "expansion", 1000, 1400), (10, "contraction", 1400, 1000),
        (25, "expansion", 1000, 1500),
    ]  # fmt: skip
    euro = Told("sub_4", currency="eur")
    euro.tell(30, "created")
    facts.refresh()
    assert list(MrrChange.objects.filter(currency="eur").values_list("kind", "after")) == [
        ("new", 1000)
    ]  # currencies are never added


PLAN: dict[str, Any] = {"id": "gold", "amount": 2400, "interval": "year", "interval_count": 2,
                        "currency": "usd", "usage_type": "licensed", "product": "p"}  # fmt: skip


@pytest.mark.parametrize(
    ("object_", "mrr"),
    [
        ({"items": items((price(12000, "year"), 1))}, 1000),
        ({"items": items((price(1000, "month", 3), 1))}, 333),
        ({"items": items((price(1000, "year", 2), 3))}, 125),
        ({"items": items((price(100, "week"), 1))}, 433),  # 52 weeks / 12
        ({"items": items((price(100, "week", 2), 1))}, 217),
        ({"items": items((price(100, "day"), 1))}, 3042),  # 365 days / 12
        ({"items": items((price(6, "year"), 1))}, 1),  # half up
        ({"items": items((price(2, "year"), 1), (price(4, "year"), 1))}, 1),  # 1/6 and 1/3
        ({"items": items((price(5, "year"), 1))}, 0),
        ({"items": items((price("0.5"), 3))}, 2),  # half a cent a unit
        ({"items": items((price(1000), 2), (price(1200, "year"), 1))}, 2100),
        ({"items": items((price(1000), 1), (price(7, recurring={"usage_type": "metered"}), 9))},
         1000),
        ({"items": items((price(500, currency="jpy"), 2)), "currency": "jpy"}, 1000),
        ({"items": {"data": [{"plan": PLAN, "quantity": 4}]}}, 400),  # before prices
        ({"items": None, "plan": PLAN, "quantity": 10}, 1000),
        ({"items": {"data": [{"plan": PLAN}]}}, 100),
        ({"items": items((price(0), 1))}, 0),
        ({"items": {"data": [{"price": {"unit_amount": "much", "recurring": "often"}}, 7]}}, 0),
        ({"items": 7, "customer": {"id": "cus_1"}, "metadata": []}, 0),
    ],
)  # fmt: skip
def test_what_a_subscription_comes_to_in_a_month(object_: dict[str, Any], mrr: int) -> None:
    Told().tell(0, "created", **object_)
    assert states() == [(0, "active", mrr)]
    state = SubscriptionState.objects.get()
    assert (state.customer_id, state.currency) == ("cus_1", object_.get("currency", "usd"))


def test_the_order_of_arrival_does_not_matter() -> None:
    """Nor do duplicates; of one second the end counts, and that it was made counts least."""
    told = Told()
    sent = [
        told.event(0, "created", status="incomplete"),
        told.event(0, status="active"),
        told.event(9, items=items((price(2000), 1))),
        told.event(9, "deleted", status="canceled"),
    ]
    for number, order in enumerate(permutations(sent)):
        id_ = f"sub_{number}"
        log.write([
            {**event, "id": f"{event['id']}_{id_}",
             "data": {"object": {**event["data"]["object"], "id": id_, "customer": id_}}}
            for event in (*order, order[0])
        ])  # fmt: skip
        assert states(id_) == [(0, "active", 1000), (9, "canceled", 0)]
        assert changes(id_) == [(0, "new", 0, 1000), (9, "churned", 1000, 0)]


def test_an_event_that_comes_late_changes_the_past() -> None:
    told = Told()
    told.tell(0, "created")
    late = told.event(5, items=items((price(2000), 1)))
    told.tell(9, items=items((price(3000), 1)))
    assert changes() == [(0, "new", 0, 1000), (9, "expansion", 1000, 3000)]
    log.write([late])
    assert changes()[1:] == [(5, "expansion", 1000, 2000), (9, "expansion", 2000, 3000)]


def test_refreshing_again_changes_nothing_and_rebuilding_is_the_same() -> None:
    told = Told()
    told.tell(0, "created")
    told.cancel(7)
    assert facts.refresh() == 2 + 2 + 4  # states, changes, and what they moved on their days
    assert facts.refresh() == facts.rebuild() == 0
    assert list(facts.check()) == []


def test_what_was_changed_by_hand_is_found_and_mended() -> None:
    told, gone = Told(), Told("sub_2", "cus_2")
    told.tell(0, "created")
    told.cancel(7)
    gone.tell(1, "created")
    facts.refresh()
    SubscriptionState.objects.filter(status="canceled").delete()
    SubscriptionState.objects.filter(subscription_id="sub_2").update(mrr=7)
    MrrChange.objects.filter(customer_id="cus_1").update(kind="expansion")
    MrrChange.objects.create(customer_id="cus_no", currency="usd", at=START, kind="new", before=0,
                             after=5, subscription_id="sub_no", first_at=START)  # fmt: skip
    SubscriptionState.objects.create(subscription_id="sub_no", customer_id="cus_no", at=START,
                                     status="active")  # fmt: skip
    found = [
        (row["fact"].split()[0].removeprefix("billing_"), *(
            row[side] and (row[side]["customer_id"], row[side].get("kind", row[side].get("mrr")))
            for side in ("here", "derived")
        ))
        for row in facts.check()
        if not row["fact"].startswith("billing_mrr_days")
    ]  # fmt: skip
    assert found == [
        ("subscription_states", None, ("cus_1", 0)),
        ("subscription_states", ("cus_2", 7), ("cus_2", 1000)),
        ("subscription_states", ("cus_no", 0), None),
        ("mrr_changes", ("cus_1", "expansion"), ("cus_1", "new")),
        ("mrr_changes", ("cus_1", "expansion"), None),
        ("mrr_changes", ("cus_2", "new"), ("cus_2", "new")),
        ("mrr_changes", ("cus_no", "new"), None),
    ]
    assert facts.rebuild() > 0
    assert list(facts.check()) == []
    assert changes() == [(0, "new", 0, 1000), (7, "churned", 1000, 0)]
    assert not MrrChange.objects.filter(customer_id="cus_no").exists()
    assert SubscriptionState.objects.last().at - START == timedelta(days=7)
