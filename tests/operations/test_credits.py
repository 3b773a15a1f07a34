"""Credits by hand: granted once, also for a purchase; a balance set to a value."""

from typing import Any

import pytest

from billing.models import CreditEntry, CreditPrice, LeadCredits, OperationRecord, Purchase
from billing.operations.base import InvalidInputError, OperationError, Result, new_key
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB, Shop, at_once, audits, balance, owing, record_of
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database

AUDIT = "manual.credit_adjustment"


def grant(user_id: str = "u_ada", amount: int | str = 50, **more: Any) -> GrantCredits:
    return GrantCredits(user_id=user_id, amount=amount, **{**BOB, **more})


def correct(user_id: str = "u_ada", wanted: int | str = 25, **more: Any) -> CorrectBalance:
    return CorrectBalance(user_id=user_id, balance=wanted, **{**BOB, **more})


@pytest.mark.django_db
def test_a_grant_is_planned_then_given_with_one_entry_and_one_audit_event() -> None:
    grant(amount=10).apply()
    operation = grant(amount="50")
    plan = operation.plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [("Balance", "10", "60")]
    assert (plan.blocked, plan.warnings) == ("", [])
    assert balance("u_ada") == (10, 0)

    result = operation.apply()
    assert balance("u_ada") == (60, 0)
    assert result.changes == plan.changes
    entry = CreditEntry.objects.order_by("id").last()
    assert entry is not None
    assert (entry.delta, entry.kind, entry.actor) == (50, "grant", "cli:bob")
    assert entry.reason == "The customer called"
    assert len(audits(AUDIT)) == 2
    payload = audits(AUDIT)[-1]
    assert payload["user_id"] == "u_ada"
    assert payload["amount"] == 50
    assert payload["reason"] == "The customer called"
    assert payload["admin"] == "cli:bob"
    assert payload["operation"] == operation.key
    assert record_of(operation.key).status == OperationRecord.Status.APPLIED


@pytest.mark.django_db
def test_a_grant_pays_what_is_owed_first() -> None:
    owing("u_ada", 20)
    plan = grant(amount=50).plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        ("Balance", "0", "30"),
        ("Owed", "20", "0"),
    ]
    assert plan.warnings == ["20 of them pay what the user owes."]
    assert grant(amount=50).apply().changes == plan.changes
    assert balance("u_ada") == (30, 0)


@pytest.mark.django_db
def test_an_unknown_user_is_a_warning_and_no_error() -> None:
    assert "Nothing here knows a user u_adda" in grant("u_adda").plan().warnings[0]
    grant("u_adda").apply()
    assert balance("u_adda") == (50, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "from 1 to 1,000,000"),
        (-5, "from 1 to 1,000,000"),
        (1_000_001, "from 1 to 1,000,000"),
        ("9" * 400, "from 1 to 1,000,000"),
        ("many", "whole number"),
        ("1.5", "whole number"),
        ("1_000", "whole number"),
        ("", "whole number"),
        (True, "whole number"),
        ("\u0665", "whole number"),
    ],
)
def test_a_wrong_amount_is_refused(amount: int | str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        grant(amount=amount)


@pytest.mark.parametrize("user_id", ["", "  ", "x" * 256, "a\x00b", "a\nb"])
def test_a_wrong_user_is_refused(user_id: str) -> None:
    with pytest.raises(InvalidInputError, match="user id"):
        grant(user_id)
    with pytest.raises(InvalidInputError, match="user id"):
        correct(user_id)


@pytest.mark.parametrize("purchase", ["sub_1", "cs", "cs_1/../x", "cs_1 2", "in_" + "x" * 300])
def test_a_wrong_purchase_is_refused(purchase: str) -> None:
    with pytest.raises(InvalidInputError, match="id"):
        grant(purchase=purchase)


@pytest.mark.django_db
def test_the_same_key_grants_once_and_another_request_with_it_is_refused() -> None:
    key = new_key()
    first, second = grant(key=key).apply(), grant(key=key).apply()
    assert (first.already_done, second.already_done) == (False, True)
    assert second.changes == first.changes
    assert balance("u_ada") == (50, 0)
    assert len(audits(AUDIT)) == 1
    with pytest.raises(InvalidInputError, match="already used"):
        grant(amount=51, key=key).apply()
    assert balance("u_ada") == (50, 0)


def test_of_two_at_once_with_one_key_one_grants(real_database: Database) -> None:
    key = new_key()
    first, second = at_once(grant(key=key).apply, grant(key=key).apply)
    assert sorted([first.already_done, second.already_done]) == [False, True]
    assert balance("u_ada") == (50, 0)
    assert len(audits(AUDIT)) == 1


def test_two_at_once_with_two_keys_both_count(real_database: Database) -> None:
    outcomes = at_once(*(grant(amount=10).apply for _ in range(4)))
    assert all(isinstance(outcome, Result) for outcome in outcomes)
    assert balance("u_ada") == (40, 0)
    assert sorted(p["balance_after"] for p in audits(AUDIT)) == [10, 20, 30, 40]


def named(bought: Any, kind: str) -> str:
    return {
        "session": bought["checkout_session"],
        "payment intent": bought["payment_intent"],
    }[kind]


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["session", "payment intent"])
def test_a_pack_that_was_granted_by_hand_is_not_granted_again(shop: Shop, kind: str) -> None:
    bought = shop.buy()
    operation = grant(amount=40, purchase=named(bought, kind))
    plan = operation.plan()
    assert not plan.blocked
    assert not Purchase.objects.exists()

    operation.apply()
    assert balance("u_ada") == (40, 0)
    assert audits(AUDIT)[0]["purchase"] == bought["checkout_session"]
    shop.deliver()
    shop.deliver()
    SyncFromStripe(kind="everything", **BOB).apply()
    assert balance("u_ada") == (40, 0)
    again = grant(purchase=bought["checkout_session"])
    assert "has its credits already" in again.plan().blocked
    with pytest.raises(OperationError, match="has its credits already"):
        again.apply()
    assert record_of(again.key).status == OperationRecord.Status.FAILED
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_a_purchase_that_the_webhook_granted_is_not_granted_by_hand(shop: Shop) -> None:
    bought = shop.buy()
    shop.deliver()
    for purchase in (bought["checkout_session"], bought["payment_intent"]):
        with pytest.raises(OperationError, match="has its credits already"):
            grant(purchase=purchase).apply()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_a_subscriptions_invoice_can_be_granted_by_hand(shop: Shop) -> None:
    bought = shop.subscribe()
    grant(amount=20, purchase=bought["invoice"]).apply()
    shop.deliver()
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
def test_the_plan_says_where_the_purchase_differs(shop: Shop) -> None:
    CreditPrice.objects.create(price_id=shop.pack, name="Pack", credits=50)
    bought = shop.buy()
    warnings = " ".join(grant("u_bob", 60, purchase=bought["checkout_session"]).plan().warnings)
    assert "bought by user u_ada, not by u_bob" in warnings
    assert "worth 50 credits, not 60" in warnings


@pytest.mark.django_db
def test_a_payment_by_nobody_known_is_granted_to_whom_the_operator_names(shop: Shop) -> None:
    bought = shop.buy(attributed=False)
    shop.deliver()
    assert Purchase.objects.get().status == Purchase.Status.UNATTRIBUTED
    grant("u_ada", purchase=bought["checkout_session"]).apply()
    shop.deliver()
    assert balance("u_ada") == (50, 0)
    assert Purchase.objects.get().user_id == "u_ada"


@pytest.mark.django_db
def test_what_is_not_paid_or_not_there_is_refused_and_recorded(shop: Shop) -> None:
    pending = shop.buy(async_="pending")
    for purchase, said in (
        (pending["checkout_session"], "not a paid pack"),
        ("cs_test_nothing", "does not know"),
        ("in_nothing", "does not know"),
        ("pi_nothing", "does not know"),
    ):
        operation = grant(purchase=purchase)
        with pytest.raises(OperationError, match=said):
            operation.apply()
        assert said in record_of(operation.key).error
    assert not LeadCredits.objects.exists()


@pytest.mark.django_db
def test_a_refunded_purchase_is_granted_less_what_was_refunded(shop: Shop) -> None:
    bought = shop.buy(attributed=False)
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"], amount=900)
    shop.deliver()
    result = grant(amount=50, purchase=bought["checkout_session"]).apply()
    assert balance("u_ada") == (40, 0)
    assert (result.changes[0].before, result.changes[0].after) == ("0", "40")


def test_a_grant_by_hand_and_the_webhook_at_once_make_one_grant(
    real_database: Database, shop: Shop
) -> None:
    bought = shop.buy()
    outcomes = at_once(grant(purchase=bought["checkout_session"]).apply, shop.deliver)
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
    assert all("has its credits already" in text for text in refused)
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_without_stripe_a_purchase_that_is_not_here_cannot_be_granted(
    sandbox: SandboxProcess,
) -> None:
    sandbox.stop()
    operation = grant(purchase="cs_test_1")
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    assert balance("u_ada") == (0, 0)


@pytest.mark.django_db
def test_a_balance_is_set_to_a_value() -> None:
    grant(amount=60).apply()
    operation = correct(wanted=25)
    plan = operation.plan()
    assert [(c.before, c.after) for c in plan.changes] == [("60", "25")]
    assert operation.apply().changes == plan.changes
    assert balance("u_ada") == (25, 0)
    payload = audits(AUDIT)[-1]
    assert (payload["amount"], payload["balance_before"], payload["balance_after"]) == (-35, 60, 25)
    entry = CreditEntry.objects.order_by("id").last()
    assert entry is not None
    assert (entry.kind, entry.delta, entry.actor) == ("correction", -35, "cli:bob")


@pytest.mark.django_db
def test_a_balance_without_a_row_is_0() -> None:
    correct("u_new", 7).apply()
    assert balance("u_new") == (7, 0)


@pytest.mark.django_db
def test_a_balance_that_is_right_already_is_not_corrected() -> None:
    grant(amount=25).apply()
    assert "is 25 already" in correct(wanted=25).plan().blocked
    with pytest.raises(OperationError, match="is 25 already"):
        correct(wanted=25).apply()
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_a_correction_leaves_what_is_owed() -> None:
    owing("u_ada", 5)
    assert "stay owed" in correct(wanted=3).plan().warnings[0]
    correct(wanted=3).apply()
    assert balance("u_ada") == (3, 5)


@pytest.mark.parametrize("wanted", [-1, "-1", "x", 1_000_000_001, ""])
def test_a_wrong_balance_is_refused(wanted: int | str) -> None:
    with pytest.raises(InvalidInputError, match="balance"):
        correct(wanted=wanted)


def test_the_difference_is_computed_under_the_lock(real_database: Database) -> None:
    grant(amount=100).apply()
    outcomes = at_once(correct(wanted=25).apply, grant(amount=10).apply, grant(amount=10).apply)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    entries = CreditEntry.objects.filter(user_id="u_ada").order_by("id")
    correction = entries.get(kind="correction")
    later = sum(e.delta for e in entries if e.id > correction.id)
    assert correction.balance_after == 25
    assert balance("u_ada") == (25 + later, 0)
    assert sum(entry.delta for entry in entries) == 25 + later
