"""The support scripts' pages: the steps, the one fix as a button, and the text for the customer."""

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import page_url
from billing.admin.scripts import script_url
from billing.models import BillingCustomer, BillingEvent, OperationRecord
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
SLUGS = ("no-access", "no-credits", "cancelled")


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    return Shop(sandbox)


def ada_who_lost_a_pack(shop: Shop, **more: str) -> BillingCustomer:
    """A customer of whose pack no event ever came."""
    made = {"email": "ada@example.com", "metadata": {"user_id": "u_ada"}, **more}
    customer = shop.sandbox.stripe.v1.customers.create(made)  # type: ignore[arg-type]
    rows.price(shop.pack)
    shop.buy(customer=customer.id)
    return rows.customer("u_ada", customer.id)


def page(client: Client, row: BillingCustomer, slug: str = "no-credits") -> str:
    response = client.get(script_url(row, slug))
    assert response.status_code == 200
    return response.content.decode()


def reply_in(said: str) -> str:
    """What the customer is told, as the text field has it."""
    found = re.search(r'<textarea id="reply"[^>]*>(.*?)</textarea>', said, re.DOTALL)
    assert found is not None
    return unescape(found[1])


def test_each_step_is_ticked_and_the_fix_is_one_button(support: Client, shop: Shop) -> None:
    """P2 on a page."""
    ada = ada_who_lost_a_pack(shop)
    said = page(support, ada)
    assert re.findall(r'data-state="(\w+)"', said) == ["fine", "found", "found", "fine", "fine"]
    assert "1. Find the payment in Stripe Dashboard" in said
    assert "5. Add audit log entry" in said
    assert "Stripe was asked at" in said
    assert said.count('data-finding="pack_not_granted"') == 1
    fix = said.partition('data-finding="pack_not_granted"')[2]
    assert "/run/" in fix
    assert f"back={script_url(ada, 'no-credits').replace('/', '%2F')}" in fix
    assert "We are adding them now." in reply_in(said)
    assert not re.search(r"\w_\w|@", reply_in(said))
    assert 'data-copies="reply"' in said
    assert not OperationRecord.objects.exists()
    assert not BillingEvent.objects.exists()


@pytest.mark.parametrize("slug", SLUGS)
def test_the_customers_page_leads_to_each(support: Client, shop: Shop, slug: str) -> None:
    ada = ada_who_lost_a_pack(shop)
    address = reverse("admin:billing_script", args=[ada.pk, slug])
    assert address.endswith(f"/{ada.pk}/scripts/{slug}/")
    assert f'href="{address}"' in support.get(page_url(ada)).content.decode()
    assert page_url(ada) in page(support, ada, slug)


def test_others_findings_are_counted(support: Client, shop: Shop) -> None:
    """A lost pack is not why a subscription would be missing: the page says there is more."""
    said = page(support, ada_who_lost_a_pack(shop), "cancelled")
    assert "1 other finding about them" in said


def test_a_silent_stripe_is_said_and_can_be_asked_again(
    support: Client, shop: Shop, sandbox: SandboxProcess
) -> None:
    ada = ada_who_lost_a_pack(shop)
    sandbox.control("faults", path="/v1/customers/*", status=503)
    said = page(support, ada)
    assert "Stripe did not answer:" in said
    assert f'href="{script_url(ada, "no-credits")}">Ask Stripe again' in said
    assert 'data-state="unknown"' in said
    assert "All is well" not in said
    assert "We are looking into this" in reply_in(said)


def test_finance_sees_the_steps_and_no_button(log_in: LogIn, shop: Shop) -> None:
    said = page(log_in("finance"), ada_who_lost_a_pack(shop))
    assert "Your role may not." in said
    assert "/run/" not in said


@pytest.mark.parametrize("slug", SLUGS)
def test_only_for_those_who_may_see_customers(log_in: LogIn, slug: str) -> None:
    url = script_url(rows.customer(), slug)
    assert log_in("nobody").get(url).status_code == 403
    assert Client().get(url).status_code == 302
    assert log_in("support").post(url).status_code == 405


@pytest.mark.parametrize("slug", ["no-such", "x" * 5000])
def test_there_is_no_other_script(support: Client, slug: str) -> None:
    row = rows.customer()
    url = script_url(row, "cancelled").replace("cancelled", slug)
    assert support.get(url).status_code == 404
    assert (
        support.get(script_url(row, "cancelled").replace(str(row.pk), "987654")).status_code == 404
    )


@pytest.mark.parametrize("slug", SLUGS)
def test_what_a_hostile_customer_is_called_is_text(support: Client, shop: Shop, slug: str) -> None:
    name = "<script>alert(1)</script>"
    said = page(support, ada_who_lost_a_pack(shop, name=name), slug)
    assert "<script>alert(1)" not in said


def test_it_costs_the_same_for_everybody(support: Client, shop: Shop) -> None:
    ada = ada_who_lost_a_pack(shop)
    few = 0
    for number in range(30):
        rows.grant("u_ada", 1, f"checkout:cs_{number}:li_1")
        rows.claim(f"lead_{number}", user_id="u_ada")
        rows.subscription(f"sub_{number}", user_id="u_ada", stripe_customer_id="cus_other")
        few = few or count_queries(lambda: page(support, ada))
    assert count_queries(lambda: page(support, ada)) == few
    assert few <= 30
