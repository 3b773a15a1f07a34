"""Links with which people help themselves: to the billing portal, and to checkout."""

import json
from typing import Any

import pytest
from django.core import serializers
from pytest_django import Settings

from billing.gateway.client import gateway
from billing.models import BillingCustomer, BillingEvent, OperationRecord
from billing.operations.acting import stripe_key
from billing.operations.base import (
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    new_key,
)
from billing.operations.links import CreateCheckoutLink, CreatePortalLink
from billing.operations.registry import rebuild, undo
from tests.operations.shop import BOB, Shop, audits, balance, record_of
from tests.support.events import events_of

pytestmark = pytest.mark.django_db
BILLING_PAGE = "https://marketplace.example/billing"


@pytest.fixture(autouse=True)
def billing_page(settings: Settings) -> None:
    settings.BILLING_PAGE_URL = BILLING_PAGE


def portal(customer: str, **more: Any) -> CreatePortalLink:
    return CreatePortalLink(customer=customer, **{**BOB, **more})


def checkout(customer: str, price: str, **more: Any) -> CreateCheckoutLink:
    return CreateCheckoutLink(customer=customer, price=price, **{**BOB, **more})


def ada(shop: Shop, **more: Any) -> str:
    """The customer of u_ada, with nothing bought."""
    who = {"email": "ada@example.com", "metadata[user_id]": "u_ada", **more}
    customer = str(shop.sandbox.post("/v1/customers", who).json()["id"])
    shop.deliver()
    return customer


def posts(shop: Shop, path: str) -> int:
    made = shop.sandbox.control("requests", "GET")["requests"]
    return sum((one["method"], one["path"]) == ("POST", path) for one in made)


def stored() -> str:
    """All that is kept of operations and in the audit log, as text."""
    rows = [*OperationRecord.objects.all(), *BillingEvent.objects.all()]
    return serializers.serialize("json", rows)


def session_of(shop: Shop, result: Any) -> Any:
    found = shop.sandbox.get(f"/v1/checkout/sessions/{result.details['checkout_session']}")
    return found.json()


@pytest.mark.parametrize("by", ["customer", "user"])
def test_a_portal_link_is_made_for_a_customer_or_a_user(shop: Shop, by: str) -> None:
    customer = ada(shop)
    operation = portal(customer if by == "customer" else "u_ada", ticket="T-1")
    plan = operation.plan()
    assert plan.summary == f"Make a link to the billing portal for {customer} (ada@example.com)."
    assert plan.calls == [f"Open a session of the billing portal for {customer}."]
    assert plan.warnings[0] == "Whoever has the link acts as the customer: give it to nobody else."
    assert posts(shop, "/v1/billing_portal/sessions") == 0
    assert not OperationRecord.objects.exists()

    result = operation.apply()
    page = shop.sandbox.http.get(result.once)
    assert page.status_code == 200
    assert BILLING_PAGE in page.text
    [payload] = audits("manual.portal_link")
    assert (payload["customer"], payload["user_id"]) == (customer, "u_ada")
    assert (payload["reason"], payload["ticket"], payload["admin"]) == (
        "The customer called",
        "T-1",
        "cli:bob",
    )


def test_the_portal_link_is_shown_once_and_stored_nowhere(shop: Shop) -> None:
    customer, key = ada(shop), new_key()
    result = portal(customer, key=key).apply()
    assert result.link == result.once
    assert result.once not in stored()
    assert audits("manual.portal_link")[0]["portal_session"] == result.details["portal_session"]

    again = portal(customer, key=key).apply()
    assert (again.already_done, again.once, again.link) == (True, "", "")
    assert "make a new one if it is lost" in again.summary
    assert posts(shop, "/v1/billing_portal/sessions") == 1

    new = portal(customer).apply()
    assert new.once not in ("", result.once)


@pytest.mark.parametrize("path", ["/v1/billing_portal/sessions", "/v1/checkout/sessions"])
def test_a_request_that_fails_can_be_tried_again(shop: Shop, path: str) -> None:
    customer = ada(shop)
    make = portal(customer) if "portal" in path else checkout(customer, shop.pack)
    shop.sandbox.control("faults", path=path, status=500)
    with pytest.raises(OperationError, match="could not be reached"):
        make.apply()
    assert record_of(make.key).status == OperationRecord.Status.FAILED
    assert audits(make.audit_type) == []
    shop.sandbox.control("faults", "DELETE")
    assert rebuild(record_of(make.key)).apply().link
    assert len(audits(make.audit_type)) == 1


def test_a_crash_after_stripes_answer_leads_to_the_same_link(shop: Shop) -> None:
    """A killed process leaves a record that was started, and an answer at Stripe."""
    customer = ada(shop)
    operation = portal(customer)
    record = operation._start()
    answer = gateway().post(
        "/v1/billing_portal/sessions",
        {"customer": customer, "return_url": BILLING_PAGE},
        idempotency_key=stripe_key(operation, record, "portal"),
    )
    result = rebuild(record_of(operation.key)).apply()
    assert (result.already_done, result.once) == (False, answer["url"])
    assert len(audits("manual.portal_link")) == 1


def test_a_user_without_a_customer_has_no_portal(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="No customer of user u_new is known here"):
        portal("u_new").apply()


def test_a_user_with_several_customers_must_be_told_apart(shop: Shop) -> None:
    first, second = ada(shop), ada(shop)
    with pytest.raises(InvalidInputError, match=f"name one of {first}, {second}"):
        portal("u_ada").plan()
    assert portal(second).apply().details["customer"] == second


def test_a_deleted_customer_gets_neither(shop: Shop) -> None:
    customer = ada(shop)
    shop.sandbox.request("DELETE", f"/v1/customers/{customer}").raise_for_status()
    for operation in (portal(customer), checkout(customer, shop.pack)):
        assert "was deleted at Stripe" in operation.plan().blocked
        with pytest.raises(BlockedError):
            operation.apply()
    shop.deliver()
    assert BillingCustomer.objects.get().deleted
    assert "by user u_ada" not in checkout("u_ada", shop.pack).plan().blocked


def test_what_stripe_does_not_know_is_said(shop: Shop) -> None:
    with pytest.raises(OperationError, match="does not know"):
        portal("cus_nothing").apply()
    with pytest.raises(OperationError, match="does not know"):
        checkout(ada(shop), "price_nothing").apply()


@pytest.mark.parametrize("customer", ["", " ", "cus_1/../x", "x" * 256, "a\nb"])
def test_a_wrong_customer_is_refused(customer: str) -> None:
    with pytest.raises(InvalidInputError):
        portal(customer)
    with pytest.raises(InvalidInputError):
        checkout(customer, "price_1")


@pytest.mark.parametrize("price", ["", "prod_1", "price_1?x"])
def test_a_wrong_price_is_refused(price: str) -> None:
    with pytest.raises(InvalidInputError):
        checkout("cus_1", price)


def test_a_pack_is_bought_by_link_and_belongs_to_the_user(known_shop: Shop) -> None:
    shop, customer = known_shop, ada(known_shop)
    operation = checkout(customer, shop.pack)
    plan = operation.plan()
    assert plan.calls == [
        f"Open a checkout session for {customer} (ada@example.com): 45.00 USD ({shop.pack})."
    ]
    assert plan.warnings == []
    assert posts(shop, "/v1/checkout/sessions") == 0

    result = operation.apply()
    session = session_of(shop, result)
    assert (session["mode"], session["customer"]) == ("payment", customer)
    assert session["client_reference_id"] == session["metadata"]["user_id"] == "u_ada"
    assert session["success_url"] == session["cancel_url"] == BILLING_PAGE
    assert result.link == session["url"]
    assert "It can be used until " in result.summary
    [payload] = audits("manual.checkout_link")
    assert (payload["checkout_session"], payload["price"]) == (session["id"], shop.pack)

    bought(shop, session)
    assert balance("u_ada") == (50, 0)
    again = rebuild(record_of(operation.key)).apply()
    assert (again.already_done, again.link) == (True, session["url"])  # it is no secret


def bought(shop: Shop, session: Any) -> None:
    """Somebody opens the link, and pays."""
    card = {"payment_method": "pm_card_visa"}
    shop.sandbox.post(f"/v1/payment_pages/{session['id']}/confirm", card).raise_for_status()
    shop.deliver()


def test_a_subscription_is_bought_by_a_user_who_was_no_customer_yet(known_shop: Shop) -> None:
    shop = known_shop
    operation = checkout("u_new", shop.plan)
    assert f"29.00 USD a month ({shop.plan})" in operation.plan().summary
    session = session_of(shop, operation.apply())
    assert (session["mode"], session["customer"]) == ("subscription", None)
    bought(shop, session)
    assert balance("u_new") == (20, 0)
    subscription = shop.at_stripe(session_of_id(shop, session)["subscription"])
    assert subscription["metadata"]["user_id"] == "u_new"
    assert BillingCustomer.objects.get().user_id == "u_new"


def session_of_id(shop: Shop, session: Any) -> Any:
    return shop.sandbox.get(f"/v1/checkout/sessions/{session['id']}").json()


def test_a_pack_for_a_user_who_is_no_customer_makes_one(known_shop: Shop) -> None:
    result = checkout("u_new", known_shop.pack).apply()
    assert session_of(known_shop, result)["customer_creation"] == "always"


def test_a_second_subscription_is_warned_of(known_shop: Shop) -> None:
    shop = known_shop
    told = shop.subscribe()
    shop.sandbox.story("past_due", subscription=told["subscription"])
    shop.deliver()
    [warning] = checkout("u_ada", shop.plan).plan().warnings
    assert warning.startswith(f"They have {told['subscription']}, which is past_due: reactivate")
    assert checkout("u_ada", shop.pack).plan().warnings == []
    shop.sandbox.story("cancel", subscription=told["subscription"])
    assert checkout("u_ada", shop.plan).plan().warnings == []


def test_what_would_go_wrong_after_the_purchase_is_warned_of(known_shop: Shop) -> None:
    shop = known_shop
    nobodys = str(shop.sandbox.post("/v1/customers", {"email": "x@example.com"}).json()["id"])
    price = shop.sandbox.stripe.v1.prices.create(
        {"product_data": {"name": "Coaching"}, "currency": "jpy", "unit_amount": 9000}
    ).id
    plan = checkout(nobodys, price).plan()
    unknown, unpriced = plan.warnings
    assert unknown.startswith(f"Nobody knows which user {nobodys} is: what is bought waits")
    assert unpriced == f"{price} is mapped to no credits: what is bought grants none."
    assert f"9,000 JPY ({price})" in plan.summary
    session = session_of(shop, checkout(nobodys, price).apply())
    assert session["client_reference_id"] is None


def test_a_price_that_is_not_on_sale_is_refused(known_shop: Shop) -> None:
    shop = known_shop
    shop.sandbox.post(f"/v1/prices/{shop.pack}", {"active": "false"}).raise_for_status()
    operation = checkout(ada(shop), shop.pack)
    assert "is not on sale any more" in operation.plan().blocked
    with pytest.raises(BlockedError):
        operation.apply()


def test_links_cannot_be_called_back(shop: Shop) -> None:
    customer = ada(shop)
    for operation in (portal(customer), checkout(customer, shop.pack)):
        operation.apply()
        with pytest.raises(CannotUndoError, match="expires by itself"):
            undo(record_of(operation.key), **BOB)


def test_no_event_of_the_sandbox_tells_the_link(shop: Shop) -> None:
    result = portal(ada(shop)).apply()
    shop.deliver()
    assert result.once not in json.dumps(events_of(shop.sandbox)) + stored()
