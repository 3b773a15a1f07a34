"""Stripe's test cards: where they are from, and why they are declined."""

from typing import Any

import pytest
import stripe

from backoffice.sandbox.lifecycle import cards
from tests.sandbox.server import SandboxProcess
from tests.sandbox.storefront import Storefront

ADDRESS = {"address[country]": "FR", "address[city]": "Paris"}


@pytest.fixture(scope="module")
def shop(shared: SandboxProcess) -> Storefront:
    return Storefront(shared)


def charge_of(shop: Storefront, customer: str) -> Any:
    """The customer's newest charge."""
    return shop.get("/v1/charges", customer=customer)["data"][0]


@pytest.mark.parametrize(
    ("token", "country"),
    [("us", "US"), ("visa", "US"), ("gb", "GB"), ("de", "DE"), ("jp", "JP"), ("br", "BR")],
)
def test_a_card_is_from_the_country_of_its_token(
    shop: Storefront, token: str, country: str
) -> None:
    customer = shop.customer(f"pm_card_{token}")
    shop.subscription(customer)
    charge = charge_of(shop, customer)
    assert charge["status"] == "succeeded"
    assert charge["payment_method_details"]["card"]["country"] == country
    assert charge["billing_details"]["address"]["country"] is None


def test_a_charge_has_the_customers_address_where_the_card_has_none(shop: Storefront) -> None:
    customer = shop.customer("pm_card_fr", **ADDRESS)
    shop.subscription(customer)
    charge = charge_of(shop, customer)
    address = charge["billing_details"]["address"]
    assert (address["country"], address["city"]) == ("FR", "Paris")
    shop.post(
        f"/v1/payment_methods/{charge['payment_method']}",
        **{"billing_details[address][country]": "BE"},
    )
    shop.subscription(customer)
    address = charge_of(shop, customer)["billing_details"]["address"]
    assert (address["country"], address["city"]) == ("BE", None)


@pytest.mark.parametrize(
    ("token", "code", "decline_code"),
    [
        ("visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("visa_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
        ("chargeDeclinedExpiredCard", "expired_card", None),
    ],
)
def test_a_card_that_is_declined_cannot_be_attached(
    shop: Storefront, token: str, code: str, decline_code: str | None
) -> None:
    customer = shop.customer(None)
    methods = shop.sandbox.stripe.v1.payment_methods
    with pytest.raises(stripe.CardError) as refused:
        methods.attach(f"pm_card_{token}", {"customer": customer})
    assert refused.value.code == code
    assert refused.value.error.decline_code == decline_code


@pytest.mark.parametrize("decline_code", cards.BY_CODE)
def test_a_renewal_fails_for_the_reason_that_the_story_gives(
    shop: Storefront, decline_code: str
) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    shop.sandbox.story("past_due", subscription=subscription, decline_code=decline_code)
    charge = charge_of(shop, customer)
    assert charge["status"] == "failed"
    assert charge["failure_code"] == cards.BY_CODE[decline_code].code
    assert charge["outcome"]["reason"] == decline_code


def test_a_stored_card_fails_from_some_day_on(shop: Storefront) -> None:
    customer = shop.customer()
    subscription = shop.subscription(customer)
    shop.sandbox.story("decline_card", customer=customer, decline_code="lost_card")
    shop.sandbox.story("renew", subscription=subscription)
    assert charge_of(shop, customer)["outcome"]["reason"] == "lost_card"
    assert shop.get(f"/v1/subscriptions/{subscription}")["status"] == "past_due"
    invoice = shop.get(f"/v1/subscriptions/{subscription}")["latest_invoice"]
    refused = shop.sandbox.post(f"/v1/invoices/{invoice}/pay")
    assert refused.json()["error"]["decline_code"] == "lost_card"
    shop.sandbox.story("decline_card", customer=customer)
    assert shop.post(f"/v1/invoices/{invoice}/pay")["status"] == "paid"
    with pytest.raises(AssertionError, match="Invalid decline_code"):
        shop.sandbox.story("decline_card", customer=customer, decline_code="bad_mood")


def test_a_card_that_radar_blocks_is_kept_and_fails(shop: Storefront) -> None:
    customer = shop.customer("pm_card_radarBlock")
    subscription = shop.subscription(customer)
    assert shop.get(f"/v1/subscriptions/{subscription}")["status"] == "incomplete"
    assert charge_of(shop, customer)["outcome"]["reason"] == "fraudulent"
