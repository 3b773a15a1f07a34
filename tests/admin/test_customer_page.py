"""A customer's page: how they stand, what is wrong with it, and what to do about it."""

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import page_url
from billing.models import BillingCustomer
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    return Shop(sandbox)


def page(client: Client, row: BillingCustomer, **query: str) -> str:
    return client.get(page_url(row), query).content.decode()


def fragment(client: Client, row: BillingCustomer) -> str:
    return client.get(reverse("admin:billing_diagnosis", args=[row.pk])).content.decode()


def ada_who_lost_a_pack(shop: Shop) -> BillingCustomer:
    """A customer of whose pack no event ever came."""
    made = {"email": "ada@example.com", "metadata": {"user_id": "u_ada"}}
    customer = shop.sandbox.stripe.v1.customers.create(made)
    rows.price(shop.pack)
    shop.buy(customer=customer.id)
    return rows.customer("u_ada", customer.id)


def test_the_page_says_how_somebody_stands(support: Client) -> None:
    ada = rows.customer()
    rows.subscription()
    rows.grant(amount=70)
    said = page(support, ada)
    for words in ("Standing", "The subscription sub_1 is active.", "29.00 USD", "70"):
        assert words in said, words


def test_a_lost_pack_is_found_once_stripe_is_asked(support: Client, shop: Shop) -> None:
    """W2, C1: the page knows nothing of the pack by itself; Stripe does."""
    ada = ada_who_lost_a_pack(shop)
    assert 'data-finding="pack_not_granted"' not in page(support, ada)
    said = fragment(support, ada)
    assert 'data-finding="pack_not_granted"' in said
    assert "Stripe was asked at" in said
    assert "/run/" in said.partition('data-finding="pack_not_granted"')[2]
    assert 'data-finding="pack_not_granted"' in page(support, ada, ask="stripe")


def test_finance_sees_what_is_wrong_and_no_button(log_in: LogIn, shop: Shop) -> None:
    said = fragment(log_in("finance"), ada_who_lost_a_pack(shop))
    assert 'data-finding="pack_not_granted"' in said
    assert "/run/" not in said
    assert "Your role may not." in said


def test_nobody_without_a_role_gets_the_diagnosis(log_in: LogIn) -> None:
    row = rows.customer()
    url = reverse("admin:billing_diagnosis", args=[row.pk])
    assert log_in("nobody").get(url).status_code == 403


def test_a_silent_stripe_is_said_and_can_be_asked_again(
    support: Client, shop: Shop, sandbox: SandboxProcess
) -> None:
    ada = ada_who_lost_a_pack(shop)
    sandbox.control("faults", path="/v1/customers/*", status=503)
    said = fragment(support, ada)
    assert "Stripe did not answer:" in said
    assert "Ask Stripe again" in said


def test_a_customer_with_nothing_has_an_empty_page(support: Client) -> None:
    said = page(support, rows.customer())
    for words in ("They have no subscription.", "No subscription.", "No invoice.", "checks were"):
        assert words in said, words


def test_the_other_customers_of_the_user_are_linked(support: Client) -> None:
    ada = rows.customer()
    other = rows.customer(id_="cus_Other")
    said = page(support, ada)
    assert page_url(other) in said
    assert "Other customers of the same user" in said


def test_asking_stripe_takes_few_statements_however_much_differs(
    support: Client, shop: Shop
) -> None:
    """Four customers of one user, a guest's packs, and all that happened since was lost."""
    subscribed = [shop.subscribe() for _ in range(4)]
    for bought in ({}, {"attributed": False, "user_id": ""}):
        shop.buy(**bought)
    shop.deliver()
    rows.claim(user_id="u_ada")
    rows.grant("u_ada", 5, "checkout:cs_gone:li_1")
    for each in subscribed:
        shop.sandbox.story("renew", subscription=each["subscription"])
        bought = shop.buy(customer=each["customer"])
        shop.sandbox.story("refund", payment_intent=bought["payment_intent"])
    ada = BillingCustomer.objects.filter(user_id="u_ada")[0]
    assert count_queries(lambda: page(support, ada, ask="stripe")) <= 30
    assert count_queries(lambda: fragment(support, ada)) <= 26
    assert fragment(support, ada).count('data-finding="pack_not_granted"') >= 3
