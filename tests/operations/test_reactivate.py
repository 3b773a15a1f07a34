"""Reactivating: what is right for each status at Stripe (STRIPE.md's table)."""

import threading
from typing import Any

import pytest

from billing.models import BillingInvoice, BillingSubscription, CreditEntry, OperationRecord
from billing.operations.base import InvalidInputError, OperationError, Result, new_key
from billing.operations.subscriptions import ReactivateSubscription
from tests.operations.shop import (
    BOB,
    Shop,
    at_once,
    audits,
    balance,
    record_of,
    status_here,
)
from tests.support.databases import Database
from tests.support.waiting import wait_until

AUDIT = "manual.subscription_reactivation"


def reactivate(subscription_id: str, **more: Any) -> ReactivateSubscription:
    return ReactivateSubscription(subscription_id=subscription_id, **{**BOB, **more})


def posts(shop: Shop) -> list[str]:
    """The requests so far that could change something at Stripe."""
    requests = shop.sandbox.control("requests", "GET")["requests"]
    return [entry["path"] for entry in requests if entry["method"] == "POST"]


@pytest.mark.django_db
@pytest.mark.parametrize("how", [{"at_period_end": True}, {"cancel_at": 1_900_000_000}])
def test_a_scheduled_cancellation_is_cleared(shop: Shop, how: dict[str, Any]) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("cancel", subscription=sub, **how)
    shop.deliver()
    ours = BillingSubscription.objects.get()
    assert ours.cancel_at or ours.cancel_at_period_end
    operation = reactivate(sub)
    plan = operation.plan()
    assert plan.calls == [f"Clear the scheduled cancellation ({sub})."]
    assert (plan.changes[0].label, plan.changes[0].after) == ("Ends", "does not end")
    assert shop.at_stripe(sub)["cancel_at"]

    result = operation.apply()
    assert result.warnings == []
    at_stripe = shop.at_stripe(sub)
    assert (at_stripe["cancel_at"], at_stripe["cancel_at_period_end"]) == (None, False)
    ours.refresh_from_db()
    assert (ours.cancel_at, ours.cancel_at_period_end) == (None, False)
    [payload] = audits(AUDIT)
    assert payload["subscription"] == sub
    assert payload["user_id"] == "u_ada"
    assert payload["stripe_request"] == plan.calls[0]
    assert payload["admin"] == "cli:bob"
    assert payload["changes"]


@pytest.mark.django_db
def test_a_paused_collection_goes_on_and_both_are_cleared_by_one_request(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("pause", subscription=sub, collection=True)
    shop.sandbox.story("cancel", subscription=sub, at_period_end=True)
    shop.deliver()
    before = len(posts(shop))
    reactivate(sub).apply()
    assert posts(shop)[before:] == [f"/v1/subscriptions/{sub}"]
    assert shop.at_stripe(sub)["pause_collection"] is None
    ours = BillingSubscription.objects.get()
    assert (ours.collection_paused, ours.cancel_at_period_end, ours.cancel_at) == (
        False,
        False,
        None,
    )


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["past_due", "unpaid"])
def test_the_open_invoice_is_paid(shop: Shop, how: str) -> None:
    sub = shop.subscribe()["subscription"]
    invoice = shop.sandbox.story(how, subscription=sub)["invoice"]
    shop.deliver()
    assert status_here(sub) == how
    operation = reactivate(sub)
    plan = operation.plan()
    assert plan.calls == [
        f"Pay invoice {invoice}: charge 29.00 USD to the customer's default payment method."
    ]
    operation.apply()
    assert shop.at_stripe(sub)["status"] == "active"
    assert status_here(sub) == "active"
    assert BillingInvoice.objects.get(stripe_invoice_id=invoice).status == "paid"
    assert balance("u_ada") == (40, 0)  # the second period's credits came with its payment
    shop.deliver()
    assert balance("u_ada") == (40, 0)


@pytest.mark.django_db
def test_an_unpaid_ones_latest_invoice_is_finalised_and_paid(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    first = shop.sandbox.story("unpaid", subscription=sub)["invoice"]
    draft = shop.sandbox.story("renew", subscription=sub)["invoice"]
    shop.deliver()
    assert BillingInvoice.objects.get(stripe_invoice_id=draft).status == "draft"
    operation = reactivate(sub)
    plan = operation.plan()
    assert plan.calls[0].startswith(f"Finalise and pay invoice {draft}:")
    assert plan.warnings == [f"Further unpaid invoices stay as they are: {first}."]
    operation.apply()
    assert status_here(sub) == "active"
    assert BillingInvoice.objects.get(stripe_invoice_id=draft).status == "paid"


@pytest.mark.django_db
def test_a_refused_card_leaves_nothing_half_done_and_can_be_tried_again(shop: Shop) -> None:
    bought = shop.subscribe()
    sub, customer = bought["subscription"], bought["customer"]
    invoice = shop.sandbox.story("past_due", subscription=sub)["invoice"]
    shop.deliver()
    use_card(shop, customer, sub, "pm_card_chargeCustomerFail")
    key = new_key()
    with pytest.raises(OperationError, match=r"Stripe refused: Your card was declined"):
        reactivate(sub, key=key).apply()
    record = record_of(key)
    assert record.status == OperationRecord.Status.FAILED
    assert "declined" in record.error
    assert audits(AUDIT) == []
    row = BillingInvoice.objects.get(stripe_invoice_id=invoice)
    assert (row.status, row.attempt_count) == (
        "open",
        1,
    )  # a further attempt by hand is not counted
    assert status_here(sub) == "past_due"

    use_card(shop, customer, sub, "pm_card_visa")
    assert not reactivate(sub, key=key).apply().already_done
    assert status_here(sub) == "active"
    assert record_of(key).status == OperationRecord.Status.APPLIED
    assert len(audits(AUDIT)) == 1


def use_card(shop: Shop, customer: str, sub: str, card: str) -> str:
    """Gives a customer another default card, for the subscription too."""
    method = shop.sandbox.post(f"/v1/payment_methods/{card}/attach", {"customer": customer})
    method_id = str(method.json()["id"])
    shop.sandbox.post(
        f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": method_id}
    ).raise_for_status()
    shop.sandbox.post(
        f"/v1/subscriptions/{sub}", {"default_payment_method": method_id}
    ).raise_for_status()
    return method_id


@pytest.mark.django_db
def test_a_paused_one_needs_a_payment_method_and_is_then_resumed(shop: Shop) -> None:
    customer = shop.sandbox.post("/v1/customers", {"email": "ada@example.com"}).json()["id"]
    sub = shop.sandbox.post(
        "/v1/subscriptions",
        {
            "customer": customer,
            "items[0][price]": shop.plan,
            "trial_period_days": 7,
            "trial_settings[end_behavior][missing_payment_method]": "pause",
        },
    ).json()["id"]
    shop.sandbox.story("renew", subscription=sub)
    shop.deliver()
    assert status_here(sub) == "paused"
    with pytest.raises(OperationError, match="add one on the billing page"):
        reactivate(sub).apply()

    use_card(shop, customer, sub, "pm_card_visa")
    operation = reactivate(sub)
    assert operation.plan().calls[0].startswith("Resume the subscription")
    operation.apply()
    assert shop.at_stripe(sub)["status"] == "active"
    assert status_here(sub) == "active"


@pytest.mark.django_db
def test_an_incomplete_one_has_its_first_invoice_paid(shop: Shop) -> None:
    sub = incomplete(shop)
    shop.deliver()
    assert status_here(sub) == "incomplete"
    use_card(shop, shop.at_stripe(sub)["customer"], sub, "pm_card_visa")
    operation = reactivate(sub)
    assert "possible until" in operation.plan().warnings[0]
    operation.apply()
    assert status_here(sub) == "active"


def incomplete(shop: Shop) -> str:
    """A subscription whose first payment waits."""
    customer = shop.sandbox.post("/v1/customers", {"metadata[user_id]": "u_ada"}).json()["id"]
    made = shop.sandbox.post(
        "/v1/subscriptions",
        {
            "customer": customer,
            "items[0][price]": shop.plan,
            "payment_behavior": "default_incomplete",
        },
    )
    return str(made.json()["id"])


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["canceled", "incomplete_expired"])
def test_what_has_ended_is_refused_with_advice(shop: Shop, end: str) -> None:
    sub = incomplete(shop)
    shop.sandbox.story("cancel" if end == "canceled" else "expire_incomplete", subscription=sub)
    shop.deliver()
    operation = reactivate(sub)
    assert "Only a new subscription can follow" in operation.plan().blocked
    before = len(posts(shop))
    with pytest.raises(OperationError, match="checkout link"):
        operation.apply()
    assert len(posts(shop)) == before
    assert status_here(sub) == end
    assert audits(AUDIT) == []


@pytest.mark.django_db
def test_active_at_stripe_and_not_here_is_a_sync(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    BillingSubscription.objects.update(status="canceled")
    operation = reactivate(sub)
    plan = operation.plan()
    assert plan.calls == []
    assert [(c.before, c.after) for c in plan.changes] == [("canceled", "active")]
    assert status_here(sub) == "canceled"
    before = len(posts(shop))
    assert operation.apply().changes == plan.changes
    assert len(posts(shop)) == before
    assert status_here(sub) == "active"
    assert len(audits(AUDIT)) == 1


@pytest.mark.django_db
def test_ours_says_canceled_but_stripe_decides(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    BillingSubscription.objects.update(status="active")
    assert reactivate(sub).plan().calls[0].startswith("Pay invoice")


@pytest.mark.django_db
def test_nothing_to_do_is_said(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    with pytest.raises(OperationError, match="nothing to reactivate"):
        reactivate(sub).apply()


@pytest.mark.django_db
def test_no_invoice_to_pay_is_said(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    invoice = shop.sandbox.story("past_due", subscription=sub)["invoice"]
    shop.sandbox.post(f"/v1/invoices/{invoice}/void").raise_for_status()
    assert shop.at_stripe(sub)["status"] == "past_due"
    assert f"Its latest invoice is {invoice}" in reactivate(sub).plan().blocked


@pytest.mark.django_db
@pytest.mark.parametrize("subscription_id", ["", "in_1", "sub_1/../x", "sub_" + "x" * 300])
def test_a_wrong_id_is_refused(subscription_id: str) -> None:
    with pytest.raises(InvalidInputError):
        reactivate(subscription_id)


@pytest.mark.django_db
def test_an_unknown_id_is_said(shop: Shop) -> None:
    operation = reactivate("sub_nothing")
    with pytest.raises(OperationError, match="does not know"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED


@pytest.mark.django_db
def test_the_same_key_acts_once(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    key = new_key()
    reactivate(sub, key=key).apply()
    before = len(posts(shop))
    assert reactivate(sub, key=key).apply().already_done
    assert len(posts(shop)) == before
    assert len(audits(AUDIT)) == 1


def test_two_at_once_pay_once(real_database: Database, shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    key = new_key()
    outcomes = at_once(reactivate(sub, key=key).apply, reactivate(sub, key=key).apply)
    assert all(isinstance(outcome, Result) for outcome in outcomes), outcomes
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    assert len(audits(AUDIT)) == 1
    charges = shop.sandbox.get("/v1/charges", limit=100).json()["data"]
    assert sum(charge["status"] == "succeeded" for charge in charges) == 2  # two periods


@pytest.mark.django_db
def test_what_is_paid_while_we_look_counts(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    invoice = shop.at_stripe(sub)["latest_invoice"]
    shop.sandbox.control("faults", path="/v1/invoices", method="GET", delay_seconds=2, count=1)

    def pay_meanwhile() -> None:
        wait_until(lambda: any(f["hits"] for f in shop.sandbox.control("faults", "GET")["faults"]))
        shop.sandbox.post(f"/v1/invoices/{invoice}/pay").raise_for_status()

    payer = threading.Thread(target=pay_meanwhile)
    payer.start()
    plan = reactivate(sub).plan()
    payer.join()
    assert (plan.blocked, plan.calls) == ("", [])
    assert "active" in plan.summary


@pytest.mark.django_db
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_request_that_fails_leaves_a_retry_that_does_it_once(shop: Shop, after: bool) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    shop.sandbox.control("faults", path="/v1/invoices/*/pay", status=500, after=after)
    key = new_key()
    with pytest.raises(OperationError, match="could not be reached"):
        reactivate(sub, key=key).apply()
    assert record_of(key).status == OperationRecord.Status.FAILED
    shop.sandbox.control("faults", "DELETE")
    shop.deliver()
    result = reactivate(sub, key=key).apply()
    assert not result.already_done
    assert status_here(sub) == "active"
    assert len(audits(AUDIT)) == 1
    entries = CreditEntry.objects.filter(kind="subscription")
    assert entries.count() == 2
    charges = shop.sandbox.get("/v1/charges", limit=100).json()["data"]
    assert sum(charge["status"] == "succeeded" for charge in charges) == 2


@pytest.mark.django_db
def test_without_stripe_nothing_happens(shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    shop.sandbox.stop()
    operation = reactivate(sub)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    assert status_here(sub) == "active"
