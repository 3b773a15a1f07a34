"""Syncing: what Stripe has and we do not, shown first and then brought in."""

from typing import Any

import pytest

from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    OperationRecord,
    Purchase,
    StripeVersion,
)
from billing.operations.base import InvalidInputError, OperationError, new_key
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB, Shop, at_once, audits, balance, record_of, status_here
from tests.support.databases import Database

AUDIT = "manual.sync"
WRITTEN = (
    BillingCustomer, BillingSubscription, BillingInvoice, BillingEvent, CreditEntry,
    OperationRecord, Purchase, StripeVersion,
)  # fmt: skip


def sync(kind: str, id: str = "", **more: Any) -> SyncFromStripe:  # noqa: A002
    return SyncFromStripe(kind=kind, id=id, **{**BOB, **more})


def counts() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in WRITTEN}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["subscription", "customer", "invoice"])
def test_a_missed_subscription_comes_with_what_belongs_to_it(shop: Shop, kind: str) -> None:
    bought = shop.subscribe()
    before = counts()
    operation = sync(kind, bought[kind])
    plan = operation.plan()
    assert counts() == before
    labels = {change.label: change for change in plan.changes}
    assert labels[f"Subscription {bought['subscription']}"].after == "active"
    assert labels[f"Invoice {bought['invoice']}"].after == "paid"
    assert labels[f"Customer {bought['customer']}"].before == "not here"

    result = operation.apply()
    assert {change.label for change in result.changes} >= set(labels)
    assert status_here(bought["subscription"]) == "active"
    assert BillingInvoice.objects.get().amount_paid == 2900
    [payload] = audits(AUDIT)
    assert payload["customer"] == bought["customer"]
    assert payload["kind"] == kind
    assert payload["changes"]


@pytest.mark.django_db
def test_what_was_missed_is_granted_as_the_plan_said(known_shop: Shop) -> None:
    shop = known_shop
    customer = shop.subscribe()["customer"]
    shop.buy(customer=customer)
    operation = sync("customer", customer)
    plan = operation.plan()
    [credits_] = [c for c in plan.changes if c.label == "Credits of user u_ada: balance"]
    assert (credits_.before, credits_.after) == ("0", "70")
    assert balance("u_ada") == (0, 0)
    assert operation.apply().changes == plan.changes
    assert balance("u_ada") == (70, 0)
    shop.deliver()
    assert balance("u_ada") == (70, 0)


@pytest.mark.django_db
def test_each_field_that_differs_is_shown(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    BillingSubscription.objects.update(status="canceled", amount=1, cancel_at_period_end=True)
    operation = sync("subscription", sub)
    assert {(c.label.partition(": ")[2], c.before, c.after) for c in operation.plan().changes} == {
        ("status", "canceled", "active"),
        ("amount", "0.01 USD", "29.00 USD"),
        ("cancel_at_period_end", "yes", "no"),
    }
    operation.apply()
    assert status_here(sub) == "active"


@pytest.mark.django_db
def test_where_nothing_differs_it_says_so(shop: Shop) -> None:
    bought = shop.subscribe()
    shop.deliver()
    operation = sync("customer", bought["customer"])
    assert operation.plan().changes == []
    assert operation.plan().blocked == ""
    assert "nothing differed" in operation.apply().summary


@pytest.mark.django_db
def test_a_users_every_customer_is_synced(shop: Shop) -> None:
    first, second = shop.subscribe(), shop.subscribe(email="ada@work.example")
    shop.deliver()
    BillingSubscription.objects.update(status="canceled")
    assert first["customer"] != second["customer"]
    sync("user", "u_ada").apply()
    assert set(BillingSubscription.objects.values_list("status", flat=True)) == {"active"}
    assert audits(AUDIT)[0]["user_id"] == "u_ada"


@pytest.mark.django_db
def test_a_customers_refunds_and_disputes_come_along(shop: Shop) -> None:
    customer = shop.subscribe()["customer"]
    bought = shop.buy(customer=customer)
    other = shop.buy(customer=customer)
    shop.deliver()
    assert balance("u_ada") == (120, 0)
    refund = shop.sandbox.story("refund", payment_intent=bought["payment_intent"])["refund"]
    shop.sandbox.story("dispute", payment_intent=other["payment_intent"])
    sync("customer", customer).apply()
    assert balance("u_ada") == (20, 0)
    shop.sandbox.story("fail_refund", refund=refund)
    sync("customer", customer).apply()
    assert balance("u_ada") == (70, 0)
    shop.deliver()
    assert balance("u_ada") == (70, 0)


@pytest.mark.django_db
def test_a_deleted_customer_stays_and_is_marked(shop: Shop) -> None:
    bought = shop.subscribe()
    shop.deliver()
    shop.sandbox.request("DELETE", f"/v1/customers/{bought['customer']}").raise_for_status()
    sync("customer", bought["customer"]).apply()
    customer = BillingCustomer.objects.get()
    assert (customer.deleted, customer.email) == (True, "ada@example.com")


@pytest.mark.django_db
def test_everything_is_brought_in_with_counts(shop: Shop) -> None:
    bought = shop.subscribe()
    shop.buy(user_id="u_bob")
    seen: dict[str, int] = {}
    operation = sync("everything", on_progress=seen.__setitem__)
    shop.sandbox.control("counters/reset")
    plan = operation.plan()
    assert "subscription" in plan.summary
    assert shop.sandbox.control("counters", "GET")["total"] == 0
    result = operation.apply()
    assert status_here(bought["subscription"]) == "active"
    assert (balance("u_ada"), balance("u_bob")) == ((20, 0), (50, 0))
    assert result.details["fetched"] == seen
    assert result.details["changed"]["subscription"] == 1
    assert result.details["credit_entries"] == 2
    [payload] = audits(AUDIT)
    assert payload["fetched"]["customer"] >= 1
    assert "2 credit entries were posted" in sync("everything", key=operation.key).apply().summary
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "id_"),
    [
        ("subscription", "in_1"),
        ("subscription", ""),
        ("customer", "cus_1/../../x"),
        ("invoice", "cs_1"),
        ("user", " "),
        ("price", "price_1"),
        ("", ""),
    ],
)
def test_a_wrong_id_or_kind_is_refused(kind: str, id_: str) -> None:
    with pytest.raises(InvalidInputError):
        sync(kind, id_)


@pytest.mark.django_db
def test_what_nobody_knows_is_said_and_recorded(shop: Shop) -> None:
    for operation, said in (
        (sync("subscription", "sub_nothing"), "does not know"),
        (sync("customer", "cus_nothing"), "does not know"),
        (sync("user", "u_nobody"), "No customer of user u_nobody is known"),
    ):
        with pytest.raises(OperationError, match=said):
            operation.apply()
        assert said in record_of(operation.key).error


@pytest.mark.django_db
def test_a_list_that_breaks_off_changes_nothing(shop: Shop) -> None:
    customer = shop.subscribe()["customer"]
    shop.sandbox.control("faults", path="/v1/checkout/sessions", status=503)
    operation = sync("customer", customer)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert not BillingSubscription.objects.exists()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    shop.sandbox.control("faults", "DELETE")
    sync("customer", customer, key=operation.key).apply()
    assert BillingSubscription.objects.exists()


def test_of_two_at_once_with_one_key_one_is_recorded(
    real_database: Database, known_shop: Shop
) -> None:
    sub = known_shop.subscribe()["subscription"]
    key = new_key()
    outcomes = at_once(
        sync("subscription", sub, key=key).apply, sync("subscription", sub, key=key).apply
    )
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert len(audits(AUDIT)) == 1
    assert balance("u_ada") == (20, 0)


def test_a_preview_leaves_nothing_behind(real_database: Database, known_shop: Shop) -> None:
    shop = known_shop
    sub = shop.subscribe()["subscription"]
    before = counts()
    assert sync("subscription", sub).plan().changes
    assert counts() == before
    sync("subscription", sub).apply()
    assert status_here(sub) == "active"
