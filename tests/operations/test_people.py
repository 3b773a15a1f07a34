"""Two customers of one person: merged with everything that is theirs, and separated again."""

from typing import Any

import pytest

from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    OperationRecord,
    Purchase,
)
from billing.operations import approvals
from billing.operations.base import (
    Actor,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    Result,
    new_key,
)
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.people import MergeCustomers
from billing.operations.registry import undo
from tests.operations.shop import BOB, Shop, at_once, audits, balance, owing, record_of
from tests.support.databases import Database

AUDIT = "manual.customer_merge"
CAROL = Actor.cli("carol")


def merge(kept: str, gone: str, **more: Any) -> MergeCustomers:
    return MergeCustomers(kept=kept, gone=gone, **{**BOB, **more})


def approved(operation: Any) -> Result:
    """Asked for by Bob, approved by Carol."""
    assert operation.apply().requested
    return approvals.approve(record_of(operation.key), actor=CAROL, words="It is one person")


def two_customers(shop: Shop) -> tuple[str, str]:
    """Ada signed up twice: as u_ada with 20 credits, and as u_ada2 with a pack besides."""
    kept = shop.subscribe(user_id="u_ada")["customer"]
    gone = shop.subscribe(user_id="u_ada2", email="ada2@example.com")["customer"]
    shop.buy(user_id="u_ada2", customer=gone)
    shop.deliver()
    assert (balance("u_ada"), balance("u_ada2")) == ((20, 0), (70, 0))
    return kept, gone


def users_of(customer: str) -> set[str | None]:
    """The users of all that a customer has here."""
    return {
        user
        for model in (BillingCustomer, BillingSubscription, BillingInvoice, Purchase)
        for user in model._default_manager.filter(stripe_customer_id=customer).values_list(
            "user_id", flat=True
        )
    }


@pytest.mark.django_db
def test_it_is_planned_whole_and_waits_for_a_second_person(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    LeadClaim.objects.create(user_id="u_ada2", lead_id="lead_1")
    events = BillingEvent.objects.count()
    operation = merge(kept, gone)
    plan = operation.plan()
    changed = {change.label: (change.before, change.after) for change in plan.changes}
    subscription = BillingSubscription.objects.get(stripe_customer_id=gone)
    pack = Purchase.objects.get(kind="pack")
    for label in (
        f"Customer {gone}: user_id",
        f"Subscription {subscription}: user_id",
        f"Invoice {subscription.latest_invoice_id}: user_id",
        f"Purchase {pack.source}: user_id",
        f"Purchase {subscription.latest_invoice_id}: user_id",
    ):
        assert changed.pop(label) == ("u_ada2", "u_ada")
    assert changed.pop("Credits of user u_ada: balance") == ("20", "90")
    assert changed.pop("Credits of user u_ada2: balance") == ("70", "0")
    assert not changed
    assert plan.calls == []
    assert "Nothing changes at Stripe" in plan.warnings[0]
    assert "lead claims of user u_ada2 stay" in plan.warnings[1]
    assert "another person has to approve it" in plan.approval
    assert plan.digest == merge(kept, gone).plan().digest
    assert users_of(gone) == {"u_ada2"}
    assert BillingEvent.objects.count() == events

    assert operation.apply(seen=plan.digest).requested
    assert users_of(gone) == {"u_ada2"}
    result = approvals.approve(record_of(operation.key), actor=CAROL, words="Yes")
    assert result.changes == plan.changes
    assert users_of(gone) == users_of(kept) == {"u_ada"}
    assert (balance("u_ada"), balance("u_ada2")) == ((90, 0), (0, 0))
    entries = CreditEntry.objects.filter(source__startswith="merge:").order_by("id")
    assert [(e.user_id, e.delta, e.kind, e.source) for e in entries] == [
        ("u_ada2", -70, "correction", f"merge:{operation.key}:from"),
        ("u_ada", 70, "correction", f"merge:{operation.key}:to"),
    ]
    [payload] = audits(AUDIT)
    assert (payload["user_id"], payload["merged_user_id"]) == ("u_ada", "u_ada2")
    assert (payload["customer"], payload["merged_customer"]) == (kept, gone)
    assert (payload["admin"], payload["approved_by"]) == ("cli:bob", "cli:carol")


@pytest.mark.django_db
def test_what_comes_later_is_the_kept_users(known_shop: Shop) -> None:
    """Stripe still names the other user in the metadata of what they have there."""
    kept, gone = two_customers(known_shop)
    approved(merge(kept, gone))
    subscription = BillingSubscription.objects.get(stripe_customer_id=gone)
    known_shop.sandbox.story("renew", subscription=subscription.stripe_subscription_id)
    known_shop.buy(user_id="u_ada2", customer=gone)
    known_shop.deliver()
    assert users_of(gone) == {"u_ada"}
    assert (balance("u_ada"), balance("u_ada2")) == ((160, 0), (0, 0))


@pytest.mark.django_db
def test_a_refund_of_what_came_along_is_taken_from_the_kept_user(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    approved(merge(kept, gone))
    intent = Purchase.objects.get(kind="pack").payment_intent_id
    known_shop.sandbox.story("refund", payment_intent=intent)
    known_shop.deliver()
    assert (balance("u_ada"), balance("u_ada2")) == ((40, 0), (0, 0))


@pytest.mark.django_db
def test_nobodys_customer_becomes_the_kept_users_and_is_granted(known_shop: Shop) -> None:
    kept = known_shop.subscribe()["customer"]
    gone = known_shop.subscribe(attributed=False)["customer"]
    known_shop.deliver()
    plan = merge(kept, gone).plan()
    assert [(c.before, c.after) for c in plan.changes if "balance" in c.label] == [("20", "40")]
    operation = merge(kept, gone)
    approved(operation)
    assert users_of(gone) == {"u_ada"}
    assert balance("u_ada") == (40, 0)
    with pytest.raises(CannotUndoError, match="granted user u_ada what"):
        undo(record_of(operation.key), **BOB)


@pytest.mark.django_db
def test_debts_come_along_and_are_paid(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    owing("u_ada", 25)
    owing("u_ada2", 80)
    assert (balance("u_ada"), balance("u_ada2")) == ((0, 5), (0, 10))
    approved(merge(kept, gone))
    assert (balance("u_ada"), balance("u_ada2")) == ((0, 15), (0, 0))


@pytest.mark.django_db
def test_credits_that_come_along_pay_what_is_owed(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    owing("u_ada", 30)
    approved(merge(kept, gone))
    assert (balance("u_ada"), balance("u_ada2")) == ((60, 0), (0, 0))


@pytest.mark.django_db
def test_the_other_users_further_customers_come_along(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    third = known_shop.subscribe(user_id="u_ada2")["customer"]
    known_shop.deliver()
    assert third in " ".join(merge(kept, gone).plan().warnings)
    approved(merge(kept, gone))
    assert users_of(third) == {"u_ada"}
    assert (balance("u_ada"), balance("u_ada2")) == ((110, 0), (0, 0))


@pytest.mark.django_db
def test_what_was_bought_without_a_customer_comes_along(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    known_shop.buy(user_id="u_ada2")
    known_shop.deliver()
    approved(merge(kept, gone))
    assert not Purchase.objects.filter(user_id="u_ada2").exists()
    assert balance("u_ada") == (140, 0)


@pytest.mark.django_db
def test_where_it_makes_no_sense_it_is_said(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    nobodys = known_shop.subscribe(attributed=False)["customer"]
    same = known_shop.subscribe(user_id="u_ada")["customer"]
    known_shop.deliver()
    assert "Nobody knows which user" in merge(nobodys, gone).plan().blocked
    assert "Both are user u_ada's already" in merge(kept, same).plan().blocked
    BillingCustomer.objects.filter(stripe_customer_id=gone).update(livemode=True)
    assert "live mode" in merge(kept, gone).plan().blocked
    for kept_, gone_ in ((kept, "cus_nothing"), ("cus_nothing", gone)):
        operation = merge(kept_, gone_)
        with pytest.raises(OperationError, match="cus_nothing is not here: sync it"):
            operation.apply()
        assert record_of(operation.key).status == OperationRecord.Status.FAILED


@pytest.mark.parametrize(
    ("kept", "gone", "said"),
    [
        ("cus_1", "cus_1", "the same one"),
        ("sub_1", "cus_1", "begin with cus_"),
        ("cus_1", "", "begin with cus_"),
    ],
)
def test_wrong_ids_are_refused(kept: str, gone: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        merge(kept, gone)


@pytest.mark.django_db
def test_one_key_merges_once(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    key = new_key()
    assert merge(kept, gone, key=key).apply().requested
    assert merge(kept, gone, key=key).apply().requested
    approvals.approve(record_of(key), actor=CAROL, words="Yes")
    assert merge(kept, gone, key=key).apply().already_done
    assert "already" in merge(kept, gone).plan().blocked
    assert balance("u_ada") == (90, 0)
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_a_request_whose_customers_changed_meanwhile_is_refused(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    operation = merge(kept, gone)
    seen = operation.plan().digest
    operation.apply()
    GrantCredits(user_id="u_ada2", amount=5, **BOB).apply()
    with pytest.raises(OperationError, match="Something has changed"):
        approvals.approve(record_of(operation.key), actor=CAROL, words="Yes", seen=seen)
    assert balance("u_ada2") == (75, 0)


def test_both_ways_at_once_neither_blocks_nor_loses_credits(
    real_database: Database, known_shop: Shop
) -> None:
    kept, gone = two_customers(known_shop)
    operations = [merge(kept, gone), merge(gone, kept)]
    for operation in operations:
        assert operation.apply().requested
    outcomes = at_once(
        *(
            lambda key=operation.key: approvals.approve(record_of(key), actor=CAROL, words="Yes")
            for operation in operations
        )
    )
    assert len([one for one in outcomes if isinstance(one, Result)]) == 1, outcomes
    assert any("already" in str(one) for one in outcomes if isinstance(one, OperationError))
    assert sorted([balance("u_ada"), balance("u_ada2")]) == [(0, 0), (90, 0)]


@pytest.mark.django_db
def test_it_is_taken_back_exactly_while_no_credits_have_moved(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    owing("u_ada", 25)
    before = BillingCustomer.objects.get(stripe_customer_id=gone)
    operation = merge(kept, gone)
    approved(operation)
    assert balance("u_ada") == (65, 0)

    back = undo(record_of(operation.key), **BOB)
    assert "another person has to approve it" in back.plan().approval
    approved(back)
    assert users_of(kept) == {"u_ada"}
    assert users_of(gone) == {"u_ada2"}
    assert (balance("u_ada"), balance("u_ada2")) == ((0, 5), (70, 0))
    after = BillingCustomer.objects.get(stripe_customer_id=gone)
    assert (after.attributed_by, after.attributed_at) == (
        before.attributed_by,
        before.attributed_at,
    )
    with pytest.raises(CannotUndoError, match="taken it back already"):
        undo(record_of(operation.key), **BOB)
    with pytest.raises(CannotUndoError, match="undo itself"):
        undo(record_of(back.key), **BOB)


@pytest.mark.django_db
def test_it_is_not_taken_back_once_credits_have_moved(known_shop: Shop) -> None:
    kept, gone = two_customers(known_shop)
    operation = merge(kept, gone)
    approved(operation)
    back = undo(record_of(operation.key), **BOB)
    assert back.apply().requested
    CorrectBalance(user_id="u_ada", balance=89, **BOB).apply()
    with pytest.raises(OperationError, match="come or gone since"):
        approvals.approve(record_of(back.key), actor=CAROL, words="Yes")
    with pytest.raises(CannotUndoError, match="come or gone since"):
        undo(record_of(operation.key), **BOB)
    assert (balance("u_ada"), balance("u_ada2")) == ((89, 0), (0, 0))
