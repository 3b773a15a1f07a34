"""Payments: listed with why they failed, found by the card, and linked with what they paid."""

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import changelist_url, open_url, page_url
from billing.models import BillingPayment, InvoicePayment
from tests.admin import rows
from tests.admin.conftest import LogIn

pytestmark = pytest.mark.django_db


def in_list(client: Client, **query: str) -> set[str]:
    response = client.get(changelist_url(BillingPayment, **query))
    assert response.status_code == 200
    return {row.stripe_charge_id for row in response.context["cl"].result_list}


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_a_refused_payment_says_why(support: Client) -> None:
    """F3: the reason is read here, and not in Stripe's dashboard."""
    row = rows.payment(
        status="failed",
        failure_code="card_declined",
        decline_reason="insufficient_funds",
        failure_message="Your card has insufficient funds.",
    )
    listed = page(support, changelist_url(BillingPayment))
    for words in ("insufficient funds", "Visa •••• 4242", "29.00 USD"):
        assert words in listed, words
    own = page(support, page_url(row))
    for words in ("insufficient_funds", "card_declined", "Your card has insufficient funds."):
        assert words in own, words


def test_without_a_reason_that_is_said(support: Client) -> None:
    rows.payment(status="failed", brand="", last4="")
    assert "No reason was given" in page(support, changelist_url(BillingPayment))


@pytest.mark.parametrize("term", ["ch_1", "pi_of_ch_1", "4242", rows.CUSTOMER, "ada@example.com"])
def test_it_is_found_by_whatever_one_has(support: Client, term: str) -> None:
    rows.customer()
    rows.payment()
    rows.payment("ch_2", last4="0005", stripe_customer_id="cus_Bob")
    assert in_list(support, q=term) == {"ch_1"}


def test_the_list_is_narrowed(support: Client) -> None:
    rows.payment()
    rows.payment("py_2", status="failed", livemode=True)
    assert in_list(support, status="failed") == {"py_2"}
    assert in_list(support, livemode="test") == {"ch_1"}
    assert in_list(support, since="hour") == {"ch_1", "py_2"}


def test_it_is_linked_with_what_it_paid_and_what_was_taken_back(support: Client) -> None:
    row = rows.payment(payment_intent_id="pi_1", amount_refunded=900, disputed=True)
    rows.purchase(payment_intent_id="pi_1")
    rows.invoice()
    rows.reversal(payment_intent_id="pi_1")
    InvoicePayment.objects.create(payment_intent_id="pi_1", stripe_invoice_id="in_1")
    own = page(support, page_url(row))
    for words in ("cs_1", "NUMBER-in_1", "re_1", "9.00 USD", "disputes it"):
        assert words in own, words


@pytest.mark.parametrize("id_", ["ch_1", "py_1"])
def test_a_charges_id_opens_it(support: Client, id_: str) -> None:
    row = rows.payment(id_)
    assert support.get(open_url(id=id_))["Location"] == page_url(row)


def test_a_payments_id_opens_what_it_bought_or_else_the_payment(support: Client) -> None:
    row = rows.payment(payment_intent_id="pi_1")
    assert support.get(open_url(id="pi_1"))["Location"] == page_url(row)
    bought = rows.purchase(payment_intent_id="pi_1")
    assert support.get(open_url(id="pi_1"))["Location"] == page_url(bought)


def test_payments_are_exported(log_in: LogIn) -> None:
    rows.payment()
    response = log_in("finance").get(reverse("admin:billing_billingpayment_export"))
    assert b"ch_1" in b"".join(response.streaming_content)
