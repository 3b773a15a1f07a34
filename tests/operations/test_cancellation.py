"""Cancelling at the end of the period, and taking that back: there and here."""

from typing import Any

import pytest

from billing.models import BillingSubscription, OperationRecord
from billing.operations.base import (
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    new_key,
)
from billing.operations.cancellation import CancelAtPeriodEnd
from billing.operations.registry import rebuild, undo
from billing.operations.subscriptions import ReactivateSubscription
from tests.operations.shop import BOB, Shop, audits, record_of, status_here

pytestmark = pytest.mark.django_db
AUDIT = "manual.subscription_cancellation"


def cancel(subscription: str, **more: Any) -> CancelAtPeriodEnd:
    return CancelAtPeriodEnd(subscription_id=subscription, **{**BOB, **more})


def subscribed(shop: Shop) -> str:
    subscription = str(shop.subscribe()["subscription"])
    shop.deliver()
    return subscription


def posts(shop: Shop, subscription: str) -> int:
    made = shop.sandbox.control("requests", "GET")["requests"]
    path = f"/v1/subscriptions/{subscription}"
    return sum((one["method"], one["path"]) == ("POST", path) for one in made)


def is_set_to_end(shop: Shop, subscription: str) -> tuple[bool, bool]:
    """At Stripe, and here."""
    ours = BillingSubscription.objects.get(stripe_subscription_id=subscription)
    there = shop.at_stripe(subscription)
    return (
        bool(there["cancel_at"] or there["cancel_at_period_end"]),
        bool(ours.cancel_at or ours.cancel_at_period_end),
    )


def test_it_ends_with_its_period(shop: Shop) -> None:
    subscription = subscribed(shop)
    operation = cancel(subscription, ticket="T-1")
    plan = operation.plan()
    assert plan.calls == [f"Let {subscription} end with its current period."]
    [change] = plan.changes
    assert (change.label, change.before) == ("Ends", "does not end")
    assert change.after.startswith("at the end of the period, 2")
    assert plan.digest == cancel(subscription).plan().digest
    assert is_set_to_end(shop, subscription) == (False, False)
    assert not OperationRecord.objects.exists()

    result = operation.apply()
    assert result.summary == f"{subscription} ends {change.after}."
    assert is_set_to_end(shop, subscription) == (True, True)
    assert status_here(subscription) == "active"
    [payload] = audits(AUDIT)
    assert (payload["subscription"], payload["user_id"]) == (subscription, "u_ada")
    assert (payload["customer"], payload["ticket"], payload["admin"]) == (
        shop.at_stripe(subscription)["customer"],
        "T-1",
        "cli:bob",
    )


@pytest.mark.parametrize("how", [{"at_period_end": True}, {"cancel_at": 1_900_000_000}])
def test_one_that_is_set_to_end_is_left_alone(shop: Shop, how: dict[str, Any]) -> None:
    subscription = subscribed(shop)
    shop.sandbox.story("cancel", subscription=subscription, **how)
    before = shop.at_stripe(subscription)
    with pytest.raises(BlockedError, match=r"It is set to end .* already\. Reactivate it"):
        cancel(subscription).apply()
    assert shop.at_stripe(subscription) == before


def test_what_has_ended_or_not_begun_is_refused(shop: Shop) -> None:
    subscription = subscribed(shop)
    shop.sandbox.story("cancel", subscription=subscription)
    assert cancel(subscription).plan().blocked == "It was canceled, and that is final."
    waiting = shop.sandbox.post(
        "/v1/subscriptions",
        {
            "customer": shop.at_stripe(subscription)["customer"],
            "items[0][price]": shop.plan,
            "payment_behavior": "default_incomplete",
        },
    ).json()["id"]
    assert "it ends by itself after 23 hours" in cancel(waiting).plan().blocked


@pytest.mark.parametrize("subscription", ["", "in_1", "sub_1/../x", "sub_" + "x" * 300])
def test_a_wrong_id_is_refused(subscription: str) -> None:
    with pytest.raises(InvalidInputError):
        cancel(subscription)


def test_an_unknown_id_is_said(shop: Shop) -> None:
    with pytest.raises(OperationError, match="does not know"):
        cancel("sub_nothing").apply()


def test_the_same_key_acts_once(shop: Shop) -> None:
    subscription, key = subscribed(shop), new_key()
    cancel(subscription, key=key).apply()
    assert cancel(subscription, key=key).apply().already_done
    assert posts(shop, subscription) == 1
    assert len(audits(AUDIT)) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_request_that_fails_leaves_a_retry_that_does_it_once(shop: Shop, after: bool) -> None:
    subscription = subscribed(shop)
    shop.sandbox.control("faults", path="/v1/subscriptions/*", method="POST", status=500,
                         after=after)  # fmt: skip
    operation = cancel(subscription)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    shop.sandbox.control("faults", "DELETE")
    result = rebuild(record_of(operation.key)).apply()
    assert not result.already_done
    assert is_set_to_end(shop, subscription) == (True, True)
    assert len(audits(AUDIT)) == 1


def test_a_cancellation_is_taken_back(shop: Shop) -> None:
    subscription = subscribed(shop)
    done = cancel(subscription)
    done.apply()
    back = undo(record_of(done.key), **BOB)
    assert isinstance(back, ReactivateSubscription)
    assert back.plan().calls == [f"Clear the scheduled cancellation ({subscription})."]
    back.apply()
    assert is_set_to_end(shop, subscription) == (False, False)
    [payload] = audits("manual.subscription_reactivation")
    assert payload["undoes"] == done.key
    with pytest.raises(CannotUndoError, match="taken it back already"):
        undo(record_of(done.key), **BOB)


def test_one_that_is_past_due_by_now_is_not_paid_by_an_undo(shop: Shop) -> None:
    subscription = subscribed(shop)
    done = cancel(subscription)
    done.apply()
    BillingSubscription.objects.update(status="past_due")
    with pytest.raises(CannotUndoError, match="past_due by now"):
        undo(record_of(done.key), **BOB)
    BillingSubscription.objects.update(status="canceled")
    with pytest.raises(CannotUndoError, match="that is final"):
        undo(record_of(done.key), **BOB)


def ends_with_its_period(shop: Shop, subscription: str) -> int:
    item = shop.at_stripe(subscription)["items"]["data"][0]
    return int(item["current_period_end"])


@pytest.mark.parametrize("as_a_time", [False, True], ids=["at the period's end", "as a time"])
def test_a_reactivation_is_taken_back(shop: Shop, as_a_time: bool) -> None:
    """The portal schedules it as a time; that is the period's end all the same."""
    subscription = subscribed(shop)
    end = ends_with_its_period(shop, subscription)
    how: dict[str, Any] = {"cancel_at": end} if as_a_time else {"at_period_end": True}
    shop.sandbox.story("cancel", subscription=subscription, **how)
    shop.deliver()
    done = ReactivateSubscription(subscription_id=subscription, **BOB)
    done.apply()
    assert is_set_to_end(shop, subscription) == (False, False)
    back = undo(record_of(done.key), **BOB)
    assert isinstance(back, CancelAtPeriodEnd)
    back.apply()
    assert is_set_to_end(shop, subscription) == (True, True)
    assert shop.at_stripe(subscription)["cancel_at"] == end


def test_a_reactivation_that_did_more_is_not_taken_back(shop: Shop) -> None:
    subscription = subscribed(shop)

    def reactivated() -> OperationRecord:
        operation = ReactivateSubscription(subscription_id=subscription, **BOB)
        operation.apply()
        return record_of(operation.key)

    shop.sandbox.story("cancel", subscription=subscription, cancel_at=1_900_000_000)
    with pytest.raises(CannotUndoError, match="not the end of its period"):
        undo(reactivated(), **BOB)

    shop.sandbox.story("cancel", subscription=subscription, at_period_end=True)
    shop.sandbox.story("pause", subscription=subscription, collection=True)
    with pytest.raises(CannotUndoError, match="more than clear"):
        undo(reactivated(), **BOB)

    shop.sandbox.story("past_due", subscription=subscription)
    with pytest.raises(CannotUndoError, match="goes back by a refund"):
        undo(reactivated(), **BOB)
