"""Prices to credits: the one table that is edited, and never without a trace."""

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import page_url
from billing.models import BillingEvent, CreditPrice
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.operations.shop import audits

pytestmark = pytest.mark.django_db

ADD = "/admin/billing/creditprice/add/"
AUDIT = "manual.credit_price"


@pytest.fixture
def engineer(log_in: LogIn) -> Client:
    return log_in("engineer")


def test_a_price_is_added_with_an_audit_event(engineer: Client) -> None:
    data = {"price_id": " price_New1 ", "name": "Pack", "credits": "50", "reason": "New pack"}
    response = engineer.post(ADD, data)
    assert response.status_code == 302
    price = CreditPrice.objects.get()
    assert (price.price_id, price.credits, price.updated_by) == ("price_New1", 50, "engineer")
    assert audits(AUDIT) == [
        {
            "price_id": "price_New1",
            "before": None,
            "after": {"name": "Pack", "credits": 50},
            "reason": "New pack",
            "admin": "engineer",
        }
    ]
    event = BillingEvent.objects.get(type=AUDIT)
    assert event.actor == "engineer"
    assert not BillingEvent.objects.filter(type__startswith="sql.").exists()


def test_a_change_says_what_it_was_before(engineer: Client) -> None:
    price = rows.price()
    data = {"name": "Big pack", "credits": "60", "reason": "More for less"}
    response = engineer.post(page_url(price), data, follow=True)
    assert "Purchases that were made before keep what they got." in response.content.decode()
    price.refresh_from_db()
    assert (price.credits, price.updated_by) == (60, "engineer")
    [audit] = audits(AUDIT)
    assert audit["before"] == {"name": "Pack", "credits": 50}
    assert audit["after"] == {"name": "Big pack", "credits": 60}


def test_the_id_of_a_price_stays(engineer: Client) -> None:
    price = rows.price()
    data = {"price_id": "price_Other", "name": "x", "credits": "60", "reason": "x"}
    engineer.post(page_url(price), data)
    price.refresh_from_db()
    assert price.price_id == "price_1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": ""}, "This field is required."),
        ({"reason": "x" * 2001}, "at most 2000 characters"),
        ({"credits": "-1"}, "greater than or equal to 0"),
        ({"credits": "many"}, "Enter a whole number."),
        ({"credits": "99999999999"}, "less than or equal to"),
        ({"price_id": "prod_1"}, "looks like price_1Abc"),
        ({"price_id": "price_"}, "looks like price_1Abc"),
        ({"price_id": "price_<script>"}, "looks like price_1Abc"),
        ({"price_id": "price_1"}, "already exists"),
    ],
)
def test_what_is_wrong_is_said(engineer: Client, change: dict[str, str], said: str) -> None:
    rows.price()
    data = {"price_id": "price_2", "name": "Pack", "credits": "50", "reason": "x", **change}
    response = engineer.post(ADD, data)
    assert response.status_code == 200
    assert said in response.content.decode()
    assert CreditPrice.objects.count() == 1
    assert not audits(AUDIT)


@pytest.mark.parametrize("role", ["support", "finance"])
def test_others_only_look(log_in: LogIn, role: str) -> None:
    price = rows.price()
    client = log_in(role)
    page = client.get(page_url(price)).content.decode()
    assert 'name="credits"' not in page
    assert 'name="_save"' not in page
    assert "price_1" in page
    data = {"name": "x", "credits": "1", "reason": "x"}
    assert client.post(page_url(price), data).status_code == 403
    assert client.post(ADD, {"price_id": "price_2", **data}).status_code == 403
    assert client.get(ADD).status_code == 403
    price.refresh_from_db()
    assert price.credits == 50


def test_a_price_is_not_deleted(log_in: LogIn) -> None:
    price = rows.price()
    address = reverse("admin:billing_creditprice_delete", args=[price.pk])
    assert log_in("superuser").post(address, {"post": "yes"}).status_code == 403
    assert CreditPrice.objects.exists()
