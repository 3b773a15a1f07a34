"""Replaying events: done when it returns, and never twice."""

import json
from typing import Any

import pytest

from billing.ingress import inbox
from billing.ingress.handled import HANDLED
from billing.models import BillingSubscription, CreditEntry, InboxEvent, OperationRecord
from billing.operations.base import InvalidInputError, OperationError, new_key
from billing.operations.replay import ReplayEvents, missed
from tests.operations.shop import BOB, Shop, at_once, audits, balance, record_of
from tests.support.databases import Database
from tests.support.events import deliver, events_of

AUDIT = "manual.event_replay"
COMPLETED = "checkout.session.completed"


def replay(*event_ids: str, **more: Any) -> ReplayEvents:
    return ReplayEvents(event_ids=event_ids, **{**BOB, **more})


def make_dead(event_id: str, reason: str = "It failed before") -> None:
    InboxEvent.objects.filter(stripe_event_id=event_id).update(status="dead", reason=reason)


@pytest.mark.django_db
def test_a_dead_event_is_processed_and_granted_once(known_shop: Shop) -> None:
    shop = known_shop
    bought = shop.buy()
    event = shop.event_of(COMPLETED)
    deliver([e for e in events_of(shop.sandbox) if e["id"] == event])
    make_dead(event)
    operation = replay(event)
    plan = operation.plan()
    assert (plan.changes[0].before, plan.changes[0].after) == (
        "dead: It failed before",
        "processed",
    )
    [credits_] = [c for c in plan.changes if c.label.startswith("Credits of user u_ada")]
    assert (credits_.before, credits_.after) == ("0", "50")
    assert balance("u_ada") == (0, 0)

    result = operation.apply()
    assert "+50 credits for user u_ada" in result.summary
    assert result.warnings == []
    assert balance("u_ada") == (50, 0)
    row = InboxEvent.objects.get(stripe_event_id=event)
    assert row.status == InboxEvent.Status.PROCESSED
    [payload] = audits(AUDIT)
    assert payload["events"][0]["event_id"] == event
    assert payload["admin"] == "cli:bob"

    again = replay(event)
    assert "Nothing is granted twice" in again.plan().warnings[0]
    again.apply()
    assert balance("u_ada") == (50, 0)
    assert CreditEntry.objects.filter(source__contains=bought["checkout_session"]).count() == 1
    assert len(audits(AUDIT)) == 2


@pytest.mark.django_db
def test_an_event_that_the_inbox_lacks_is_fetched(known_shop: Shop) -> None:
    shop = known_shop
    shop.buy()
    event = shop.event_of(COMPLETED)
    operation = replay(event)
    assert operation.plan().changes[0].before == "not in the inbox"
    assert not InboxEvent.objects.filter(stripe_event_id=event).exists()
    operation.apply()
    row = InboxEvent.objects.get(stripe_event_id=event)
    assert (row.status, row.source) == ("processed", "api")
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_several_are_replayed_with_a_result_each(shop: Shop) -> None:
    shop.buy()
    shop.subscribe(user_id="u_bob", email="bob@example.com")
    expected = {
        event["id"]: "processed" if event["type"] in HANDLED else "ignored"
        for event in events_of(shop.sandbox)
    }
    ids = list(expected)
    told: list[int] = []
    result = replay(*ids, "evt_nothing", ids[0], on_progress=told.append).apply()
    assert sum(told) == len(ids)
    events = result.details["events"]
    assert {e["event_id"]: e["status"] for e in events} == expected | {"evt_nothing": "refused"}
    assert f"{len(ids)} of {len(ids) + 1}" in result.summary
    assert ["evt_nothing" in warning for warning in result.warnings] == [True]
    assert (balance("u_ada"), balance("u_bob")) == ((50, 0), (20, 0))
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_more_than_a_hundred_are_replayed_in_parts(shop: Shop) -> None:
    for number in range(25):
        shop.buy(user_id=f"u_{number}")
    ids = [event["id"] for event in events_of(shop.sandbox)]
    assert len(ids) > 100
    told: list[int] = []
    found = missed(undelivered=False, since=None)
    result = replay(*ids, known=found, on_progress=told.append).apply()
    assert (told[0], sum(told)) == (100, len(ids))
    assert len(result.details["events"]) == len(ids)
    assert balance("u_14") == (50, 0)


@pytest.mark.django_db
def test_one_that_fails_does_not_hold_up_the_others(known_shop: Shop) -> None:
    shop = known_shop
    shop.buy()
    good = shop.event_of(COMPLETED)
    broken = {**events_of(shop.sandbox)[-1], "id": "evt_broken", "type": "customer.created"}
    broken["data"] = {
        "object": {"object": "customer", "id": "cus_1", "created": 1, "livemode": True}
    }
    deliver([broken])
    for order in ((good, "evt_broken"), ("evt_broken", good)):
        operation = replay(*order)
        assert any("cannot be shown" in warning for warning in operation.plan().warnings)
        result = operation.apply()
        assert len(result.warnings) == 1
        assert "evt_broken" in result.warnings[0]
    assert balance("u_ada") == (50, 0)
    assert len(audits(AUDIT)) == 2
    operation = replay("evt_broken")
    with pytest.raises(OperationError, match="evt_broken"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    assert len(audits(AUDIT)) == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("more", "said"),
    [({"livemode": True}, "live mode"), ({"account": "acct_other"}, "connected account")],
)
def test_a_set_aside_event_is_refused(shop: Shop, more: dict[str, Any], said: str) -> None:
    shop.buy()
    [event] = [e for e in events_of(shop.sandbox) if e["type"] == COMPLETED]
    deliver([{**event, **more, "id": "evt_aside"}])
    assert said in replay("evt_aside").plan().blocked
    with pytest.raises(OperationError, match=said):
        replay("evt_aside").apply()
    assert balance("u_ada") == (0, 0)
    assert InboxEvent.objects.get().status == InboxEvent.Status.SET_ASIDE
    assert audits(AUDIT) == []


@pytest.mark.django_db
def test_an_old_event_does_not_take_a_newer_state_back(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    created = shop.event_of("customer.subscription.created")
    shop.sandbox.story("cancel", subscription=sub)
    shop.deliver()
    replay(created).apply()
    assert BillingSubscription.objects.get().status == "canceled"


@pytest.mark.django_db
@pytest.mark.parametrize("event_ids", [[], ["in_1"], ["evt_1", "x"], ["evt_" + "x" * 300]])
def test_wrong_ids_are_refused(event_ids: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        replay(*event_ids)


@pytest.mark.django_db
def test_what_stripe_does_not_have_is_said(shop: Shop) -> None:
    operation = replay("evt_nothing")
    assert "Stripe does not have it" in operation.plan().blocked
    with pytest.raises(OperationError, match="Sync the object"):
        operation.apply()


@pytest.mark.django_db
def test_without_stripe_the_inbox_still_serves(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    event = shop.event_of("customer.subscription.created")
    shop.sandbox.stop()
    replay(event).apply()
    assert BillingSubscription.objects.get().stripe_subscription_id == sub
    with pytest.raises(OperationError, match="could not be reached"):
        replay("evt_elsewhere").apply()


@pytest.mark.django_db
def test_the_same_key_replays_once(shop: Shop) -> None:
    shop.buy()
    key, event = new_key(), shop.event_of(COMPLETED)
    replay(event, key=key).apply()
    assert replay(event, key=key).apply().already_done
    assert len(audits(AUDIT)) == 1


def test_of_two_at_once_with_one_key_one_is_recorded(real_database: Database, shop: Shop) -> None:
    shop.buy()
    shop.deliver()
    key, event = new_key(), shop.event_of(COMPLETED)
    outcomes = at_once(replay(event, key=key).apply, replay(event, key=key).apply)
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert len(audits(AUDIT)) == 1
    assert balance("u_ada") == (50, 0)
    assert InboxEvent.objects.get(stripe_event_id=event).status == InboxEvent.Status.PROCESSED


@pytest.mark.django_db
def test_missed_events_are_those_not_processed_here(shop: Shop) -> None:
    shop.buy()
    all_events = events_of(shop.sandbox)
    deliver(all_events[:3])
    make_dead(all_events[0]["id"])
    InboxEvent.objects.filter(stripe_event_id=all_events[1]["id"]).update(status="processed")
    found = missed(undelivered=False, since=None)
    assert [e["id"] for e in found] == [e["id"] for e in all_events if e != all_events[1]]
    body = json.loads(InboxEvent.objects.first().body)  # type: ignore[union-attr]
    assert inbox.from_event(body).stripe_event_id in {e["id"] for e in all_events}
