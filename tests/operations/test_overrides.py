"""A status set by hand: only while Stripe cannot be asked, agreed by two, and never for long."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from billing.models import BillingSubscription, OperationRecord, StatusOverride
from billing.operations import approvals, registry
from billing.operations.base import (
    Actor,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    new_key,
)
from billing.operations.overrides import EndOverride, OverrideStatus, end_due
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB, Shop, at_once, audits, record_of, status_here
from tests.support.databases import Database
from tests.support.events import events_of

CAROL = Actor.cli("carol")
DOWN = "/v1/subscriptions/*"


def override(sub: str, status: str = "active", hours: int | str = 24, **more: Any) -> Any:
    return OverrideStatus(subscription_id=sub, status=status, hours=hours, **{**BOB, **more})


def end(sub: str, **more: Any) -> EndOverride:
    return EndOverride(subscription_id=sub, **{**BOB, **more})


def canceled_here(shop: Shop) -> str:
    """A subscription that is active at Stripe and, by some mistake, canceled here."""
    sub = str(shop.subscribe()["subscription"])
    shop.deliver()
    BillingSubscription.objects.update(status="canceled")
    return sub


def silence(shop: Shop) -> None:
    shop.sandbox.control("faults", path=DOWN, status=503)


def break_silence(shop: Shop) -> None:
    shop.sandbox.control("faults", "DELETE")


def approved(sub: str, **more: Any) -> OverrideStatus:
    """An override that bob asked for and carol agreed to."""
    operation: OverrideStatus = override(sub, **more)
    assert operation.apply().requested
    approvals.approve(record_of(operation.key), actor=CAROL, words="I checked the bank")
    return operation


def in_force() -> list[str]:
    return list(
        StatusOverride.objects.filter(ended_at=None).values_list(
            "stripe_subscription_id", flat=True
        )
    )


def let_the_time_pass() -> None:
    StatusOverride.objects.update(expires_at=Now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_where_stripe_can_be_asked_its_word_counts(shop: Shop) -> None:
    sub = canceled_here(shop)
    operation = override(sub)
    blocked = operation.plan().blocked
    assert "Stripe can be asked, and says active: sync the subscription" in blocked
    with pytest.raises(OperationError, match="never set against Stripe's"):
        operation.apply()
    assert status_here(sub) == "canceled"
    assert not StatusOverride.objects.exists()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED


@pytest.mark.django_db
def test_while_stripe_is_down_two_people_set_it(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    operation = override(sub, reason_code="our_mistake", ticket="T-1")
    plan = operation.plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        ("Status here", "canceled", "active")
    ]
    assert "a second person has to agree" in plan.approval
    assert "Stripe could not be reached" in plan.warnings[0]
    assert "It is canceled here, which is final at Stripe." in plan.warnings
    assert operation.plan().digest == plan.digest
    assert not StatusOverride.objects.exists()

    assert operation.apply().requested
    assert status_here(sub) == "canceled"
    record = record_of(operation.key)
    with pytest.raises(OperationError, match="another person"):
        approvals.approve(record, actor=BOB["actor"], words="Me again")
    result = approvals.approve(record, actor=CAROL, words="I checked the bank")
    assert "is active here until" in result.summary
    assert status_here(sub) == "active"
    made = StatusOverride.objects.get()
    assert (made.status_before, made.status, made.actor) == ("canceled", "active", "cli:bob")
    assert made.expires_at - made.created_at > timedelta(hours=23)
    [payload] = audits("manual.status_override")
    assert payload["subscription"] == sub
    assert payload["user_id"] == "u_ada"
    assert (payload["admin"], payload["approved_by"]) == ("cli:bob", "cli:carol")
    assert (payload["reason_code"], payload["ticket"]) == ("our_mistake", "T-1")
    assert operation.apply().already_done
    assert len(audits("manual.status_override")) == 1
    assert not [e for e in audits("sql.update") if e]


@pytest.mark.django_db
def test_stripe_is_back_before_anybody_agreed(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    operation = override(sub)
    operation.apply()
    break_silence(shop)
    with pytest.raises(OperationError, match="Stripe can be asked"):
        approvals.approve(record_of(operation.key), actor=CAROL, words="Yes")
    assert status_here(sub) == "canceled"


@pytest.mark.django_db
def test_a_subscription_that_stripe_does_not_know_can_have_one(shop: Shop) -> None:
    BillingSubscription.objects.create(stripe_subscription_id="sub_ours", status="canceled")
    assert "Stripe does not know it" in override("sub_ours").plan().warnings[0]
    operation = approved("sub_ours")
    assert status_here("sub_ours") == "active"
    let_the_time_pass()
    assert end_due() == 1
    assert status_here("sub_ours") == "canceled"
    [ended] = audits("system.override_ended")
    assert (ended["ended_by"], ended["operation"]) == ("expiry", operation.key)


@pytest.mark.django_db
def test_where_it_makes_no_sense_a_sentence_says_so(shop: Shop) -> None:
    assert "is not here" in override("sub_nowhere").plan().blocked
    sub = canceled_here(shop)
    silence(shop)
    assert "It is canceled here already." in override(sub, "canceled").plan().blocked
    approved(sub)
    assert "set by hand already" in override(sub, "past_due").plan().blocked
    assert "there is nothing to end" in end("sub_nowhere").plan().blocked


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sub", "status", "hours", "said"),
    [
        ("in_1", "active", 1, "begin with sub_"),
        ("", "active", 1, "begin with sub_"),
        ("sub_1", "splendid", 1, "no status of Stripe's"),
        ("sub_1", "", 1, "no status of Stripe's"),
        ("sub_1", "active", 0, "from 1 to 72"),
        ("sub_1", "active", 73, "from 1 to 72"),
        ("sub_1", "active", "-1", "from 1 to 72"),
        ("sub_1", "active", "a day", "whole number"),
    ],
)
def test_wrong_requests_are_refused(sub: str, status: str, hours: int | str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        override(sub, status, hours)


@pytest.mark.django_db
def test_without_a_key_the_request_fails_and_nothing_is_set(shop: Shop, settings: Any) -> None:
    sub = canceled_here(shop)
    settings.STRIPE_SECRET_KEY = ""
    with pytest.raises(OperationError, match="STRIPE_SECRET_KEY is not set"):
        override(sub).apply()
    assert not StatusOverride.objects.exists()


@pytest.mark.django_db
def test_it_ends_with_the_next_word_of_stripes(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    SyncFromStripe(kind="subscription", id=sub, **BOB).apply()
    assert status_here(sub) == "active"
    made = StatusOverride.objects.get()
    assert made.ended_by == "stripe"
    assert made.ended_at is not None
    [ended] = audits("system.override_ended")
    assert (ended["status_by_hand"], ended["status"]) == ("past_due", "active")
    assert (ended["subscription"], ended["user_id"]) == (sub, "u_ada")


@pytest.mark.django_db
def test_an_event_ends_it_and_a_preview_does_not(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    assert SyncFromStripe(kind="subscription", id=sub, **BOB).plan().changes
    assert in_force() == [sub]
    seen = len(events_of(shop.sandbox))
    shop.sandbox.story("cancel", subscription=sub)
    assert len(events_of(shop.sandbox)) > seen
    shop.deliver()
    assert status_here(sub) == "canceled"
    assert in_force() == []
    assert len(audits("system.override_ended")) == 1


@pytest.mark.django_db
def test_another_subscriptions_word_ends_nothing(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    shop.subscribe(email="bob@example.com", user_id="u_bob")
    shop.deliver()
    assert in_force() == [sub]
    assert status_here(sub) == "past_due"


@pytest.mark.django_db
def test_when_its_time_is_over_stripe_is_asked(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    assert end_due() == 0
    assert in_force() == [sub]
    let_the_time_pass()
    assert end_due() == 1
    assert (status_here(sub), in_force()) == ("active", [])
    assert StatusOverride.objects.get().ended_by == "stripe"
    assert end_due() == 0
    assert len(audits("system.override_ended")) == 1


@pytest.mark.django_db
def test_when_its_time_is_over_and_stripe_is_silent_the_old_status_comes_back(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    let_the_time_pass()
    assert end_due() == 1
    assert (status_here(sub), in_force()) == ("canceled", [])
    [ended] = audits("system.override_ended")
    assert (ended["ended_by"], ended["status"]) == ("expiry", "canceled")


@pytest.mark.django_db
def test_a_status_that_somebody_typed_over_it_stays(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    BillingSubscription.objects.filter(stripe_subscription_id=sub).update(status="unpaid")
    let_the_time_pass()
    end_due()
    assert (status_here(sub), in_force()) == ("unpaid", [])


@pytest.mark.django_db
def test_it_is_taken_back_with_the_status_from_before(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    operation = approved(sub, status="past_due")
    undo = registry.undo(record_of(operation.key), actor=CAROL, reason="Wrong customer")
    assert isinstance(undo, EndOverride)
    plan = undo.plan()
    assert ("Status here", "past_due", "canceled") in [
        (c.label, c.before, c.after) for c in plan.changes
    ]
    assert "could not be reached" in plan.warnings[0]
    assert in_force() == [sub]
    undo.apply()
    assert (status_here(sub), in_force()) == ("canceled", [])
    assert StatusOverride.objects.get().ended_by == "cli:carol"
    [payload] = audits("manual.status_override_ended")
    assert (payload["undoes"], payload["subscription"]) == (operation.key, sub)
    assert undo.apply().already_done
    with pytest.raises(CannotUndoError, match="taken it back already"):
        registry.undo(record_of(operation.key), actor=CAROL, reason="Again")


@pytest.mark.django_db
def test_it_is_taken_back_with_stripes_word_where_that_is_to_be_had(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    operation = end(sub)
    assert any(c.after == "active" for c in operation.plan().changes)
    operation.apply()
    assert (status_here(sub), in_force()) == ("active", [])
    assert StatusOverride.objects.get().ended_by == "stripe"
    assert len(audits("manual.status_override_ended")) == 1


@pytest.mark.django_db
def test_one_that_has_ended_cannot_be_taken_back(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    operation = approved(sub, status="past_due")
    break_silence(shop)
    SyncFromStripe(kind="subscription", id=sub, **BOB).apply()
    with pytest.raises(CannotUndoError, match="has ended already"):
        registry.undo(record_of(operation.key), actor=CAROL, reason="Late")


@pytest.mark.django_db
def test_a_request_that_is_built_again_is_the_same(shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    operation = override(sub, hours="5")
    operation.apply()
    rebuilt = registry.rebuild(record_of(operation.key))
    assert rebuilt.parameters() == operation.parameters()
    assert rebuilt.plan().digest == operation.plan().digest


def test_of_two_who_agree_at_once_one_sets_it(real_database: Database, shop: Shop) -> None:
    sub = canceled_here(shop)
    silence(shop)
    key = new_key()
    override(sub, key=key).apply()

    def agree() -> Any:
        operation = override(sub, key=key)
        operation.approved_by = "cli:carol"
        return operation.apply()

    outcomes = at_once(agree, agree)
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert StatusOverride.objects.filter(operation_key=key, expires_at__gt=F("created_at")).count()
    assert len(audits("manual.status_override")) == 1


def test_stripes_word_and_the_end_of_its_time_end_it_once(
    real_database: Database, shop: Shop
) -> None:
    sub = canceled_here(shop)
    silence(shop)
    approved(sub, status="past_due")
    break_silence(shop)
    let_the_time_pass()
    outcomes = at_once(end_due, SyncFromStripe(kind="subscription", id=sub, **BOB).apply, end_due)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert (status_here(sub), in_force()) == ("active", [])
    assert len(audits("system.override_ended")) == 1
