"""Purchases granted and payments attributed by hand, in line with what Stripe says."""

from typing import Any

import pytest

from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingSubscription,
    CreditEntry,
    CreditPrice,
    OperationRecord,
    Purchase,
)
from billing.operations.base import (
    CannotUndoError,
    InvalidInputError,
    OperationError,
    Result,
    new_key,
)
from billing.operations.credits import CorrectBalance
from billing.operations.purchases import AttributePayment, GrantPurchase
from billing.operations.registry import rebuild, undo
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB, Shop, at_once, audits, balance, record_of
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database

GRANTED = "manual.credit_adjustment"
ATTRIBUTED = "manual.payment_attribution"
PURCHASE_AS = ["checkout_session", "payment_intent"]


def grant(purchase: str, user: str | None = None, **more: Any) -> GrantPurchase:
    return GrantPurchase(purchase_id=purchase, user_id=user, **{**BOB, **more})


def attribute(purchase: str, user: str = "u_ada", **more: Any) -> AttributePayment:
    return AttributePayment(purchase_id=purchase, user_id=user, **{**BOB, **more})


def refund(shop: Shop, bought: Any, amount: int | None = None) -> None:
    more = {} if amount is None else {"amount": amount}
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"], **more)


@pytest.mark.django_db
@pytest.mark.parametrize("named", PURCHASE_AS)
def test_a_pack_whose_webhook_was_lost_is_granted_what_it_is_worth(
    known_shop: Shop, named: str
) -> None:
    bought = known_shop.buy(quantity=2)
    operation = grant(bought[named], ticket="T-1", reason_code="webhook_missed")
    plan = operation.plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        ("Balance", "0", "100"),
        (f"Purchase {bought['checkout_session']}", "not here", "granted"),
    ]
    assert "Grant user u_ada 100 credits" in plan.summary
    assert "90.00 USD paid on" in plan.summary
    assert (plan.blocked, plan.warnings, plan.approval, plan.calls) == ("", [], "", [])
    assert plan.digest == grant(bought[named]).plan().digest
    assert not Purchase.objects.exists()
    assert not CreditEntry.objects.exists()

    assert operation.apply(seen=plan.digest).changes == plan.changes
    assert balance("u_ada") == (100, 0)
    [payload] = audits(GRANTED)
    assert (payload["user_id"], payload["amount"]) == ("u_ada", 100)
    assert payload["purchase"] == bought["checkout_session"]
    assert (payload["ticket"], payload["reason_code"], payload["admin"]) == (
        "T-1", "webhook_missed", "cli:bob",
    )  # fmt: skip

    known_shop.deliver()
    SyncFromStripe(kind="everything", **BOB).apply()
    assert balance("u_ada") == (100, 0)


@pytest.mark.django_db
def test_a_subscriptions_invoice_is_granted_once_too(known_shop: Shop) -> None:
    bought = known_shop.subscribe()
    grant(bought["invoice"], "u_ada").apply()
    known_shop.deliver()
    assert balance("u_ada") == (20, 0)


@pytest.mark.django_db
def test_one_purchase_by_two_names_is_granted_once(known_shop: Shop) -> None:
    bought = known_shop.buy()
    grant(bought["payment_intent"]).apply()
    again = grant(bought["checkout_session"])
    blocked = again.plan().blocked
    assert "has its credits already: user u_ada got them on" in blocked
    assert f"from cli:bob (checkout:{bought['checkout_session']})" in blocked
    with pytest.raises(OperationError, match="has its credits already"):
        again.apply()
    assert record_of(again.key).status == OperationRecord.Status.FAILED
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_what_the_webhook_granted_is_blocked(known_shop: Shop) -> None:
    bought = known_shop.buy()
    known_shop.deliver()
    for named in PURCHASE_AS:
        assert "from stripe" in grant(bought[named]).plan().blocked
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_a_buyer_is_not_swapped_for_another(known_shop: Shop) -> None:
    bought = known_shop.buy()
    blocked = grant(bought["checkout_session"], "u_bob").plan().blocked
    assert "was bought by user u_ada, not by u_bob" in blocked
    grant(bought["checkout_session"], "u_ada").apply()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("delivered", [False, True])
def test_nobodys_purchase_needs_a_user(known_shop: Shop, delivered: bool) -> None:
    bought = known_shop.buy(attributed=False)
    if delivered:
        known_shop.deliver()
    blocked = grant(bought["checkout_session"]).plan().blocked
    assert "Nobody knows who bought" in blocked
    assert "they typed ada@example.com" in blocked
    operation = grant(bought["checkout_session"], "u_ada")
    assert "Nothing here knows a user u_ada" in " ".join(operation.plan().warnings)
    operation.apply()
    known_shop.deliver()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_an_email_of_another_user_is_a_hint(known_shop: Shop) -> None:
    known_shop.subscribe(email="Ada@example.com", user_id="u_ada")
    known_shop.deliver()
    bought = known_shop.buy(attributed=False, email="ada@example.com")
    for operation in (
        grant(bought["checkout_session"], "u_bob"),
        attribute(bought["checkout_session"], "u_bob"),
    ):
        warnings = " ".join(operation.plan().warnings)
        assert "The buyer typed ada@example.com, which is the email of user u_ada." in warnings


@pytest.mark.django_db
def test_what_is_not_paid_is_blocked(known_shop: Shop) -> None:
    bought = known_shop.buy(async_="pending")
    for operation in (grant(bought["checkout_session"]), attribute(bought["checkout_session"])):
        assert "is not a paid pack" in operation.plan().blocked
        with pytest.raises(OperationError, match="is not a paid pack"):
            operation.apply()
    known_shop.sandbox.story("settle", checkout_session=bought["checkout_session"])
    grant(bought["checkout_session"]).apply()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_the_price_to_map_is_named(shop: Shop) -> None:
    """The back office has heard of no price yet."""
    bought = shop.buy()
    blocked = grant(bought["checkout_session"]).plan().blocked
    assert f"map {shop.pack} under “Prices to credits” first" in blocked
    CreditPrice.objects.create(price_id=shop.pack, credits=0)
    assert "is worth no credits" in grant(bought["checkout_session"]).plan().blocked
    CreditPrice.objects.filter(price_id=shop.pack).update(credits=30)
    grant(bought["checkout_session"]).apply()
    assert balance("u_ada") == (30, 0)


@pytest.mark.django_db
def test_what_was_paid_back_in_full_is_blocked_though_no_webhook_told(known_shop: Shop) -> None:
    bought = known_shop.buy()
    refund(known_shop, bought)
    blocked = grant(bought["checkout_session"]).plan().blocked
    assert "was paid back (refund re_" in blocked
    with pytest.raises(OperationError, match="nothing left to grant"):
        grant(bought["checkout_session"]).apply()
    assert balance("u_ada") == (0, 0)


@pytest.mark.django_db
def test_what_was_paid_back_in_part_is_granted_less_that(known_shop: Shop) -> None:
    bought = known_shop.buy()
    refund(known_shop, bought, 900)
    plan = grant(bought["checkout_session"]).plan()
    assert (plan.changes[0].label, plan.changes[0].after) == ("Balance", "40")
    assert grant(bought["checkout_session"]).apply().changes == plan.changes
    known_shop.deliver()
    assert balance("u_ada") == (40, 0)


def mapped_late(shop: Shop, price: str, credits_: int) -> None:
    """Everything arrived before anybody said what the price is worth."""
    CreditPrice.objects.filter(price_id=price).delete()
    shop.deliver()
    CreditPrice.objects.filter(price_id=price).delete()
    assert Purchase.objects.get().status == Purchase.Status.UNPRICED
    CreditPrice.objects.create(price_id=price, credits=credits_)


@pytest.mark.django_db
def test_a_period_whose_price_was_mapped_late_is_granted(shop: Shop) -> None:
    shop.sandbox.post(f"/v1/prices/{shop.plan}", {"metadata[lead_credits]": ""})
    bought = shop.subscribe()
    mapped_late(shop, shop.plan, 30)
    plan = grant(bought["invoice"]).plan()
    assert (plan.blocked, plan.changes[0].label, plan.changes[0].after) == ("", "Balance", "30")
    assert grant(bought["invoice"]).apply().changes == plan.changes
    assert balance("u_ada") == (30, 0)
    assert "has its credits already" in grant(bought["invoice"]).plan().blocked


@pytest.mark.django_db
def test_a_pack_whose_price_was_mapped_late_is_granted_less_what_was_paid_back(shop: Shop) -> None:
    shop.sandbox.post(f"/v1/prices/{shop.pack}", {"metadata[lead_credits]": ""})
    bought = shop.buy()
    mapped_late(shop, shop.pack, 50)
    refund(shop, bought, 900)
    plan = grant(bought["checkout_session"]).plan()
    assert (plan.changes[0].label, plan.changes[0].after) == ("Balance", "40")
    assert grant(bought["checkout_session"]).apply().changes == plan.changes
    assert balance("u_ada") == (40, 0)


@pytest.mark.django_db
def test_an_invoice_that_was_paid_back_is_blocked(known_shop: Shop) -> None:
    bought = known_shop.subscribe()
    intent = known_shop.sandbox.get("/v1/invoice_payments", invoice=bought["invoice"]).json()
    refund(known_shop, {"payment_intent": intent["data"][0]["payment"]["payment_intent"]})
    assert "nothing left to grant" in grant(bought["invoice"], "u_ada").plan().blocked


@pytest.mark.django_db
def test_a_disputed_purchase_is_blocked(known_shop: Shop) -> None:
    bought = known_shop.buy()
    known_shop.sandbox.story("dispute", payment_intent=bought["payment_intent"])
    assert "was paid back (dispute " in grant(bought["checkout_session"]).plan().blocked


@pytest.mark.django_db
@pytest.mark.parametrize("named", ["cs_test_nothing", "in_nothing", "pi_nothing"])
def test_what_stripe_does_not_know_is_said(sandbox: SandboxProcess, named: str) -> None:
    for operation in (grant(named), attribute(named)):
        with pytest.raises(OperationError, match="does not know"):
            operation.apply()
        assert "does not know" in record_of(operation.key).error


@pytest.mark.parametrize("named", ["", "sub_1", "cs", "cs_1 2", "in_" + "x" * 300])
def test_a_wrong_id_is_refused(named: str) -> None:
    for make in (grant, attribute):
        with pytest.raises(InvalidInputError, match="id"):
            make(named)


@pytest.mark.parametrize("user", ["  ", "x" * 256, "a\nb"])
def test_a_wrong_user_is_refused(user: str) -> None:
    with pytest.raises(InvalidInputError, match="user id"):
        grant("cs_1", user)
    with pytest.raises(InvalidInputError, match="user id"):
        attribute("cs_1", user)


@pytest.mark.django_db
def test_after_a_failure_it_is_tried_again_with_the_same_key(known_shop: Shop) -> None:
    bought, key = known_shop.buy(), new_key()
    known_shop.sandbox.control("faults", path="/v1/refunds", status=500)
    with pytest.raises(OperationError, match="Stripe"):
        grant(bought["checkout_session"], key=key).apply()
    assert record_of(key).status == OperationRecord.Status.FAILED
    assert balance("u_ada") == (0, 0)
    known_shop.sandbox.control("faults", http="DELETE")
    assert not grant(bought["checkout_session"], key=key).apply().already_done
    assert grant(bought["checkout_session"], key=key).apply().already_done
    assert balance("u_ada") == (50, 0)
    assert len(audits(GRANTED)) == 1


@pytest.mark.django_db
def test_without_stripe_it_says_so(sandbox: SandboxProcess) -> None:
    sandbox.stop()
    for operation in (grant("cs_test_1"), attribute("cs_test_1")):
        with pytest.raises(OperationError, match="could not be reached"):
            operation.apply()
    assert not CreditEntry.objects.exists()


def test_two_agents_a_webhook_and_a_word_at_once_make_one_grant(
    real_database: Database, known_shop: Shop
) -> None:
    bought = known_shop.buy(attributed=False)
    outcomes = at_once(
        grant(bought["checkout_session"], "u_ada").apply,
        grant(bought["payment_intent"], "u_ada").apply,
        attribute(bought["checkout_session"], "u_ada").apply,
        known_shop.deliver,
    )
    refused = [str(one) for one in outcomes if isinstance(one, Exception)]
    assert all("credits already" in text for text in refused), refused
    assert balance("u_ada") == (50, 0)
    assert CreditEntry.objects.count() == 1


@pytest.mark.django_db
def test_a_granted_purchase_is_taken_back_for_good(known_shop: Shop) -> None:
    """Nothing grants it again, and a later refund has nothing to take."""
    bought = known_shop.buy()
    operation = grant(bought["payment_intent"])
    operation.apply()
    taking_back = undo(record_of(operation.key), **BOB)
    assert [(c.before, c.after) for c in taking_back.plan().changes] == [("50", "0")]
    taking_back.apply()
    known_shop.deliver()
    assert balance("u_ada") == (0, 0)
    assert "that was taken back" in grant(bought["checkout_session"]).plan().blocked
    assert "that was taken back" in attribute(bought["checkout_session"]).plan().blocked

    CorrectBalance(user_id="u_ada", balance=7, **BOB).apply()
    refund(known_shop, bought)
    known_shop.deliver()
    assert balance("u_ada") == (7, 0)


@pytest.mark.django_db
def test_a_grant_that_was_refunded_since_is_not_taken_back_twice(known_shop: Shop) -> None:
    bought = known_shop.buy()
    operation = grant(bought["checkout_session"])
    operation.apply()
    refund(known_shop, bought, 900)
    known_shop.deliver()
    CorrectBalance(user_id="u_ada", balance=90, **BOB).apply()
    taking_back = undo(record_of(operation.key), **BOB)
    assert "was refunded or disputed meanwhile" in taking_back.plan().blocked
    with pytest.raises(OperationError, match="was refunded"):
        taking_back.apply()
    assert balance("u_ada") == (90, 0)


@pytest.mark.django_db
def test_nobodys_payment_is_attributed_and_granted(known_shop: Shop) -> None:
    bought = known_shop.buy(attributed=False)
    known_shop.deliver()
    source = bought["checkout_session"]
    events = BillingEvent.objects.count()
    operation = attribute(source, ticket="T-2")
    plan = operation.plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        (f"Purchase {source}: user_id", "none", "u_ada"),
        (f"Purchase {source}: status", "unattributed", "granted"),
        ("Credits of user u_ada: balance", "0", "50"),
    ]
    assert plan.digest == attribute(source).plan().digest
    assert balance("u_ada") == (0, 0)
    assert BillingEvent.objects.count() == events
    assert Purchase.objects.get().user_id is None

    assert operation.apply(seen=plan.digest).changes == plan.changes
    assert balance("u_ada") == (50, 0)
    assert CreditEntry.objects.get().source == f"checkout:{source}"
    [payload] = audits(ATTRIBUTED)
    assert (payload["user_id"], payload["purchase"]) == ("u_ada", source)
    assert (payload["granted"], payload["ticket"], payload["admin"]) == (50, "T-2", "cli:bob")
    known_shop.deliver()
    assert balance("u_ada") == (50, 0)


def customers_packs(shop: Shop) -> tuple[str, list[str]]:
    """Two packs and a subscription of a Stripe customer that nobody knows, delivered."""
    customer = shop.subscribe(attributed=False)["customer"]
    packs = [shop.buy(attributed=False, customer=customer) for _ in range(2)]
    shop.deliver()
    return customer, [pack["checkout_session"] for pack in packs]


@pytest.mark.django_db
def test_the_customer_becomes_theirs_with_all_that_they_bought(known_shop: Shop) -> None:
    customer, packs = customers_packs(known_shop)
    operation = attribute(packs[0])
    labels = {change.label for change in operation.plan().changes}
    assert {f"Customer {customer}: user_id", f"Purchase {packs[1]}: status"} <= labels
    operation.apply()
    assert balance("u_ada") == (120, 0)
    row = BillingCustomer.objects.get(stripe_customer_id=customer)
    assert (row.user_id, row.attributed_by) == ("u_ada", "operator")
    assert BillingSubscription.objects.get().user_id == "u_ada"
    known_shop.buy(attributed=False, customer=customer)
    known_shop.deliver()
    assert balance("u_ada") == (170, 0)


@pytest.mark.django_db
def test_somebody_elses_payment_is_not_attributed(known_shop: Shop) -> None:
    bought = known_shop.buy()
    for step in ("read from Stripe", "delivered"):
        blocked = attribute(bought["checkout_session"], "u_bob").plan().blocked
        assert "is user u_ada's" in blocked, step
        assert "merge their customers" in blocked
        known_shop.deliver()
    with pytest.raises(OperationError, match="is user u_ada's"):
        attribute(bought["checkout_session"], "u_bob").apply()
    assert balance("u_bob") == (0, 0)


@pytest.mark.django_db
def test_what_is_theirs_already_needs_no_word(known_shop: Shop) -> None:
    bought = known_shop.buy()
    assert "grant the purchase instead" in attribute(bought["checkout_session"]).plan().blocked
    known_shop.deliver()
    assert "has its credits already" in attribute(bought["checkout_session"]).plan().blocked


@pytest.mark.django_db
def test_a_payment_that_is_not_here_yet_can_be_attributed(known_shop: Shop) -> None:
    bought = known_shop.buy(attributed=False)
    attribute(bought["payment_intent"]).apply()
    known_shop.deliver()
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_one_key_attributes_once(known_shop: Shop) -> None:
    bought, key = known_shop.buy(attributed=False), new_key()
    first, second = (attribute(bought["checkout_session"], key=key).apply() for _ in range(2))
    assert (first.already_done, second.already_done) == (False, True)
    assert first.changes == second.changes
    assert len(audits(ATTRIBUTED)) == 1


def test_two_words_at_once_make_it_one_users(real_database: Database, known_shop: Shop) -> None:
    bought = known_shop.buy(attributed=False)
    known_shop.deliver()
    source = bought["checkout_session"]
    outcomes = at_once(attribute(source, "u_ada").apply, attribute(source, "u_bob").apply)
    assert len([one for one in outcomes if isinstance(one, Result)]) == 1
    assert sorted([balance("u_ada"), balance("u_bob")]) == [(0, 0), (50, 0)]


@pytest.mark.django_db
def test_a_word_that_granted_something_stands(known_shop: Shop) -> None:
    bought = known_shop.buy(attributed=False)
    operation = attribute(bought["checkout_session"])
    operation.apply()
    with pytest.raises(CannotUndoError, match="Correct their balance"):
        undo(record_of(operation.key), **BOB)


@pytest.mark.django_db
def test_a_word_that_granted_nothing_is_taken_back(known_shop: Shop) -> None:
    customer = known_shop.sandbox.stripe.v1.customers.create({"email": "ada@example.com"}).id
    CreditPrice.objects.all().delete()
    bought = known_shop.buy(attributed=False, customer=customer)
    source = bought["checkout_session"]
    known_shop.deliver()
    CreditPrice.objects.all().delete()
    operation = attribute(source)
    assert "Nothing is granted until then." in operation.plan().warnings[0]
    operation.apply()
    assert Purchase.objects.get().user_id == "u_ada"

    back = undo(record_of(operation.key), **BOB)
    plan = back.plan()
    assert (f"Purchase {source}: user_id", "u_ada", "none") in [
        (c.label, c.before, c.after) for c in plan.changes
    ]
    back.apply(seen=plan.digest)
    assert Purchase.objects.get().user_id is None
    row = BillingCustomer.objects.get(stripe_customer_id=customer)
    assert (row.user_id, row.attributed_by) == (None, "")
    with pytest.raises(CannotUndoError, match="undo itself"):
        undo(record_of(back.key), **BOB)


@pytest.mark.django_db
def test_their_records_build_them_again(known_shop: Shop) -> None:
    for operation in (
        grant(known_shop.buy()["checkout_session"]),
        attribute(known_shop.buy(attributed=False)["checkout_session"]),
    ):
        operation.apply()
        again = rebuild(record_of(operation.key))
        assert again.parameters() == operation.parameters()
        assert again.apply().already_done
