"""Recording a subscription whose webhook never came: by its id, as Stripe has it."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission

from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    OperationRecord,
    Purchase,
)
from billing.operations import registry
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    NotPermittedError,
    OperationError,
    new_key,
)
from billing.operations.recording import RecordSubscription
from tests.operations.shop import BOB, Shop, at_once, audits, balance, record_of, status_here
from tests.support.databases import Database

AUDIT = "manual.subscription_recorded"


def record(sub: str, user: str | None = None, **more: Any) -> RecordSubscription:
    return RecordSubscription(subscription_id=sub, user_id=user, **{**BOB, **more})


def nothing_is_here() -> bool:
    tables = (BillingCustomer, BillingSubscription, BillingInvoice, CreditEntry, Purchase)
    return not any(table.objects.exists() for table in tables)


@pytest.mark.django_db
def test_it_comes_with_its_customer_invoices_and_credits(known_shop: Shop) -> None:
    shop = known_shop
    bought = shop.subscribe()
    operation = record(bought["subscription"], reason_code="webhook_missed", ticket="T-7")
    plan = operation.plan()
    assert nothing_is_here()
    assert plan.blocked == ""
    assert plan.warnings == []
    assert "which is active at Stripe, with 1 customer, 1 invoice" in plan.summary
    shown = {change.label: (change.before, change.after) for change in plan.changes}
    assert shown[f"Subscription {bought['subscription']}"] == ("not here", "active")
    assert shown[f"Invoice {bought['invoice']}"] == ("not here", "paid")
    assert shown["Credits of user u_ada: balance"] == ("0", "20")
    assert operation.plan().digest == plan.digest

    result = operation.apply()
    assert result.changes == plan.changes
    assert status_here(bought["subscription"]) == "active"
    assert balance("u_ada") == (20, 0)
    [payload] = audits(AUDIT)
    assert payload["subscription"] == bought["subscription"]
    assert payload["customer"] == bought["customer"]
    assert payload["user_id"] == "u_ada"
    assert (payload["reason_code"], payload["ticket"]) == ("webhook_missed", "T-7")
    assert payload["admin"] == "cli:bob"

    shop.deliver()
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
def test_whose_it_is_can_be_said_where_nobody_knows(known_shop: Shop) -> None:
    shop = known_shop
    bought = shop.subscribe(attributed=False)
    sub = bought["subscription"]
    assert "name the user" in record(sub).plan().warnings[0]
    operation = record(sub, "u_eve")
    plan = operation.plan()
    assert plan.warnings == []
    assert ("Credits of user u_eve: balance", "0", "20") in [
        (c.label, c.before, c.after) for c in plan.changes
    ]
    assert nothing_is_here()
    operation.apply()
    assert balance("u_eve") == (20, 0)
    customer = BillingCustomer.objects.get()
    assert (customer.user_id, customer.attributed_by) == ("u_eve", "operator")
    assert BillingSubscription.objects.get().user_id == "u_eve"
    assert BillingInvoice.objects.get().user_id == "u_eve"
    assert Purchase.objects.get().status == Purchase.Status.GRANTED
    assert audits(AUDIT)[0]["user_id"] == "u_eve"


@pytest.mark.django_db
def test_one_that_is_here_of_nobody_can_still_be_given_its_user(known_shop: Shop) -> None:
    shop = known_shop
    sub = shop.subscribe(attributed=False)["subscription"]
    shop.deliver()
    assert balance("u_eve") == (0, 0)
    operation = record(sub, "u_eve")
    assert "It is here already" in operation.plan().warnings[0]
    operation.apply()
    assert balance("u_eve") == (20, 0)


@pytest.mark.django_db
def test_the_user_that_stripe_names_is_not_overruled(known_shop: Shop) -> None:
    shop = known_shop
    sub = shop.subscribe()["subscription"]
    operation = record(sub, "u_eve")
    assert "is user u_ada, not u_eve" in operation.plan().blocked
    with pytest.raises(BlockedError, match="leave the user out"):
        operation.apply()
    assert nothing_is_here()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    record(sub, "u_ada").apply()
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
def test_what_is_here_as_stripe_has_it_is_not_recorded_again(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    assert "there is nothing to record" in record(sub).plan().blocked
    BillingSubscription.objects.update(status="canceled")
    operation = record(sub)
    assert operation.plan().blocked == ""
    assert "It is here already: what differs is brought up to date." in operation.plan().warnings
    operation.apply()
    assert status_here(sub) == "active"


@pytest.mark.django_db
def test_a_canceled_one_is_recorded_with_a_warning(known_shop: Shop) -> None:
    sub = known_shop.subscribe()["subscription"]
    known_shop.sandbox.story("cancel", subscription=sub)
    operation = record(sub)
    assert "It was canceled, and that is final." in operation.plan().warnings
    operation.apply()
    assert status_here(sub) == "canceled"
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sub", "user", "said"),
    [
        ("in_1", None, "begin with sub_"),
        ("", None, "begin with sub_"),
        ("sub_1/../x", None, "not an id"),
        ("sub_1", "a\nb", "printable"),
        ("sub_1", "x" * 300, "printable"),
    ],
)
def test_wrong_ids_are_refused(sub: str, user: str | None, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        record(sub, user)


@pytest.mark.django_db
def test_what_stripe_does_not_know_is_said(shop: Shop) -> None:
    operation = record("sub_nowhere")
    assert "Is it of the other mode" in operation.plan().blocked
    with pytest.raises(OperationError, match="Stripe does not know it"):
        operation.apply()
    assert nothing_is_here()


@pytest.mark.django_db
def test_saying_whose_it_is_needs_that_permission_too(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("recorder", is_staff=True)
    grant_permission(user, "record_subscription")
    actor = Actor.of(django_user_model.objects.get(pk=user.pk))
    record("sub_1", actor=actor).check()
    with pytest.raises(NotPermittedError, match=r"billing\.attribute_payment"):
        record("sub_1", "u_eve", actor=actor).check()


def grant_permission(user: Any, codename: str) -> None:
    user.user_permissions.add(Permission.objects.get(codename=codename))


@pytest.mark.django_db
def test_after_a_failure_of_stripes_the_same_request_succeeds(known_shop: Shop) -> None:
    shop = known_shop
    sub = shop.subscribe()["subscription"]
    shop.sandbox.control("faults", path="/v1/invoices", status=500)
    operation = record(sub)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert nothing_is_here()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    shop.sandbox.control("faults", "DELETE")
    record(sub, key=operation.key).apply()
    assert record(sub, key=operation.key).apply().already_done
    assert balance("u_ada") == (20, 0)
    assert len(audits(AUDIT)) == 1


def test_two_at_once_record_it_once(real_database: Database, known_shop: Shop) -> None:
    sub = known_shop.subscribe(attributed=False)["subscription"]
    key = new_key()
    outcomes = at_once(record(sub, "u_eve", key=key).apply, record(sub, "u_eve", key=key).apply)
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert balance("u_eve") == (20, 0)
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_it_is_built_again_and_cannot_be_taken_back(known_shop: Shop) -> None:
    operation = record(known_shop.subscribe(attributed=False)["subscription"], "u_eve")
    operation.apply()
    made = record_of(operation.key)
    assert registry.rebuild(made).parameters() == operation.parameters()
    with pytest.raises(CannotUndoError, match="Cancel the subscription"):
        registry.undo(made, actor=BOB["actor"], reason="Oops")
