"""Replaying events: done when it returns, and never twice."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.gateway.shapes import event_customer_id
from billing.ingress import inbox
from billing.ingress.handled import HANDLED
from billing.models import BillingSubscription, CreditEntry, InboxEvent, OperationRecord
from billing.operations import registry
from billing.operations.base import InvalidInputError, OperationError, new_key
from billing.operations.replay import LISTED, PREVIEWED, ReplayEvents
from billing.operations.selection import Found, Selection
from tests.operations.shop import BOB, Shop, at_once, audits, balance, record_of
from tests.support.databases import Database
from tests.support.events import deliver, events_of

AUDIT = "manual.event_replay"
COMPLETED = "checkout.session.completed"


def replay(*event_ids: str, **more: Any) -> ReplayEvents:
    return ReplayEvents(event_ids=event_ids, **{**BOB, **more})


def select(
    source: str, *, on_progress: Any = None, found: Found | None = None, **narrowing: Any
) -> ReplayEvents:
    selection = {"source": source, **narrowing}
    return ReplayEvents(selection=selection, found=found, on_progress=on_progress, **BOB)


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
    result = select("missing", on_progress=told.append).apply()
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
    found = Selection.of(source="missing").find()
    assert found.ids == [e["id"] for e in all_events if e != all_events[1]]
    body = json.loads(InboxEvent.objects.first().body)  # type: ignore[union-attr]
    assert inbox.from_event(body).stripe_event_id in {e["id"] for e in all_events}


def happened(event: dict[str, Any]) -> str:
    return datetime.fromtimestamp(event["created"], UTC).isoformat()


def ids_of(source: str, **narrowing: Any) -> list[str]:
    return Selection.of(source=source, **narrowing).find().ids


@pytest.mark.django_db
def test_a_selection_is_narrowed_by_time_type_and_customer(shop: Shop) -> None:
    ada = shop.subscribe()["customer"]
    shop.sandbox.advance(hours=2)
    shop.subscribe(user_id="u_bob", email="bob@example.com")
    events = events_of(shop.sandbox)
    of_ada = [e["id"] for e in events if event_customer_id(e["data"]["object"]) == ada]
    later = [e for e in events if e["created"] > events[0]["created"] + 3600]
    assert 0 < len(of_ada) < len(events)
    assert 0 < len(later) < len(events)
    invoices = [e["id"] for e in events if e["type"].startswith("invoice.")]
    paid = [e["id"] for e in events if e["type"] == "invoice.paid"]

    assert ids_of("missing") == [e["id"] for e in events]
    assert ids_of("missing", customer=ada) == of_ada
    assert ids_of("missing", since=happened(later[0])) == [e["id"] for e in later]
    assert ids_of("missing", until=happened(events[0])) == [
        e["id"] for e in events if e["created"] == events[0]["created"]
    ]
    assert ids_of("missing", types=["invoice.*"]) == invoices
    assert ids_of("missing", types=["invoice.paid", "customer.created"]) == [
        e["id"] for e in events if e["type"] in ("invoice.paid", "customer.created")
    ]
    assert ids_of("missing", types=["invoice.paid"], customer=ada) == [
        i for i in paid if i in of_ada
    ]

    deliver(events)
    InboxEvent.objects.filter(type="invoice.paid").update(status="dead")
    assert ids_of("inbox", statuses=["dead"]) == paid
    assert set(ids_of("inbox")) == {e["id"] for e in events}
    assert set(ids_of("inbox", types=["invoice.*"], customer=ada)) == set(invoices) & set(of_ada)
    assert set(ids_of("inbox", since=happened(later[0]))) == {e["id"] for e in later}
    oldest = Selection.of(source="missing", most=3).find()
    assert (oldest.ids, oldest.left_out) == ([e["id"] for e in events[:3]], len(events) - 3)


@pytest.mark.django_db
def test_a_selection_is_looked_up_anew_and_asked_for_once(known_shop: Shop) -> None:
    shop = known_shop
    operation = select("missing", types=["checkout.session.completed"])
    assert "Nothing is missing" in operation.plan().blocked
    with pytest.raises(OperationError, match="Nothing is missing"):
        operation.apply()
    shop.buy()
    plan = operation.plan()
    assert [c.after for c in plan.changes if "checkout" in c.label] == ["processed"]
    assert ("Credits of user u_ada: balance", "0", "50") in [
        (c.label, c.before, c.after) for c in plan.changes
    ]
    assert not InboxEvent.objects.filter(type="checkout.session.completed").exists()
    result = operation.apply(seen=plan.digest)
    assert "was replayed" in result.summary
    assert balance("u_ada") == (50, 0)
    [payload] = audits(AUDIT)
    assert payload["events"][0]["type"] == "checkout.session.completed"
    assert operation.apply().already_done
    rebuilt = registry.rebuild(record_of(operation.key))
    assert rebuilt.parameters() == operation.parameters()


@pytest.mark.django_db
def test_many_are_counted_by_type_and_twenty_shown_in_full(shop: Shop) -> None:
    for number in range(20):
        shop.subscribe(user_id=f"u_{number}", email=f"u{number}@example.com")
    events = events_of(shop.sandbox)
    assert len(events) > LISTED
    plan = select("missing", most=LISTED + 1).plan()
    assert f"{LISTED + 1} of them: " in plan.summary
    counts = [c for c in plan.changes if " × " in c.label]
    assert sum(int(c.label.split()[0]) for c in counts) == LISTED + 1
    assert {c.before for c in counts} == {"not in the inbox"}
    assert f"What would change is shown of the first {PREVIEWED} only." in plan.warnings
    left = len(events) - LISTED - 1
    assert f"{left} more are left for the next time: the oldest go first." in plan.warnings
    assert any(c.label.startswith("Customer cus_") for c in plan.changes)
    assert not InboxEvent.objects.exists()

    few = select("missing", most=PREVIEWED + 1).plan()
    assert sum(c.before == "not in the inbox" for c in few.changes) == PREVIEWED + 1


@pytest.mark.django_db
def test_what_was_found_just_now_is_not_asked_for_again(shop: Shop) -> None:
    shop.buy()
    found = Selection.of(source="missing").find()
    shop.sandbox.control("counters/reset")
    operation = select("missing", found=found)
    operation._find()
    assert shop.sandbox.control("counters", "GET")["total"] == 0
    operation._find()
    assert shop.sandbox.control("counters", "GET")["total"] > 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("narrowing", "said"),
    [
        ({"source": "elsewhere"}, "looked for in"),
        ({"source": "missing", "since": "soon"}, "no date or time"),
        ({"source": "missing", "since": ""}, "no date or time"),
        ({"source": "missing", "until": "9999-99-99"}, "no date or time"),
        ({"source": "missing", "since": "2026-02-02", "until": "2026-02-01"}, "ends before"),
        ({"source": "missing", "types": ["*"]}, "no type of event"),
        ({"source": "missing", "types": [""]}, "no type of event"),
        ({"source": "missing", "types": ["invoice.paid; x"]}, "no type of event"),
        ({"source": "missing", "customer": "sub_1"}, "begin with cus_"),
        ({"source": "missing", "statuses": ["dead"]}, "Only events of the inbox"),
        ({"source": "inbox", "statuses": ["set_aside"]}, "no status to replay"),
        ({"source": "missing", "most": 0}, "from 1 to"),
    ],
)
def test_wrong_selections_are_refused(narrowing: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Selection.of(**narrowing)


@pytest.mark.django_db
def test_times_are_utc_unless_they_say_otherwise() -> None:
    plain = Selection.of(source="missing", since="2026-03-01T09:30")
    assert plain == Selection.of(source="missing", since="2026-03-01T11:30+02:00")
    assert Selection.of(**plain.as_json()) == plain
    assert "since 2026-03-01 09:30" in str(plain)


@pytest.mark.django_db
def test_either_names_or_a_selection() -> None:
    with pytest.raises(InvalidInputError, match="Name at least one event"):
        ReplayEvents(event_ids=["evt_1"], selection={"source": "missing"}, **BOB)
