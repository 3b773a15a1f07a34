"""Invoices, links and cancellations from the admin: a form, a preview, and once applied."""

import pytest
from django.db.models import Model
from django.test import Client

from billing.admin.cells import page_url
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    OperationRecord,
)
from billing.operations.base import new_key
from tests.admin import rows
from tests.admin.test_operations import address, apply, hidden, select, shop, text_of
from tests.operations.shop import Shop, audits, balance, record_of

pytestmark = pytest.mark.django_db

__all__ = ["shop"]


@pytest.fixture
def overdue(shop: Shop) -> BillingInvoice:
    """An invoice of u_ada's subscription whose payment was declined."""
    told = shop.sandbox.story("past_due", subscription=shop.subscribe()["subscription"])
    shop.deliver()
    return BillingInvoice.objects.get(stripe_invoice_id=told["invoice"])


def test_a_payment_is_retried_from_the_invoices_page(
    support: Client, shop: Shop, overdue: BillingInvoice
) -> None:
    page = support.get(page_url(overdue))
    assert f"{address('pay-invoice')}?target={overdue.stripe_invoice_id}" in page.content.decode()
    shown = support.get(address("pay-invoice"), {"target": overdue.stripe_invoice_id})
    assert "charge 29.00 USD to the customer's default payment method" in text_of(shown)
    assert "Credits of user u_ada: balance 20 40" in text_of(shown)
    [key] = hidden(shown, "key")

    answers = {"target": overdue.stripe_invoice_id, "key": key, "seen": hidden(shown, "seen")[0]}
    assert f"{overdue.stripe_invoice_id} is paid." in text_of(
        apply(support, "pay-invoice", **answers)
    )
    assert "Already done" in text_of(apply(support, "pay-invoice", **answers))
    overdue.refresh_from_db()
    assert (overdue.status, balance("u_ada")) == ("paid", (40, 0))
    assert len(audits("manual.invoice_payment")) == 1
    assert "manual.invoice_payment" in text_of(support.get(page_url(overdue)))
    assert "It is paid already." in text_of(support.get(page_url(overdue)))


def test_a_payment_from_elsewhere_needs_its_evidence(
    support: Client, shop: Shop, overdue: BillingInvoice
) -> None:
    target = overdue.stripe_invoice_id
    asked = support.get(address("mark-invoice-paid"), {"target": target})
    assert "What proves it" in text_of(asked)
    refused = apply(support, "mark-invoice-paid", target=target)
    assert "This field is required." in text_of(refused)
    assert not OperationRecord.objects.exists()

    answers = {"target": target, "evidence": "Transfer 4711", "key": new_key()}
    shown = support.post(address("mark-invoice-paid"), {**answers, "_preview": "1"})
    assert "it is your statement that 29.00 USD came in" in text_of(shown)
    assert hidden(shown, "evidence") == ["Transfer 4711"]
    assert "Done." in text_of(apply(support, "mark-invoice-paid", **answers))
    assert audits("manual.invoice_marked_paid")[0]["evidence"] == "Transfer 4711"
    overdue.refresh_from_db()
    assert overdue.status == "paid"


def test_to_void_is_asked_for(support: Client, shop: Shop, overdue: BillingInvoice) -> None:
    done = text_of(apply(support, "void-invoice", target=overdue.stripe_invoice_id))
    assert "Nothing was done yet: another person has to approve it." in done
    overdue.refresh_from_db()
    assert overdue.status == "open"
    assert OperationRecord.objects.get().status == OperationRecord.Status.REQUESTED


def test_what_cannot_be_sent_says_what_to_do(
    support: Client, shop: Shop, overdue: BillingInvoice
) -> None:
    page = support.get(address("resend-invoice"), {"target": overdue.stripe_invoice_id})
    assert "Retry its payment, or give the customer its page" in text_of(page)
    assert 'name="_apply"' not in page.content.decode()


def test_a_portal_link_is_shown_once(support: Client, shop: Shop) -> None:
    customer, key = shop.subscribe()["customer"], new_key()
    shop.deliver()
    row = BillingCustomer.objects.get()
    assert address("portal-link") in support.get(page_url(row)).content.decode()
    shown = text_of(support.get(address("portal-link"), {"target": customer}))
    assert "Whoever has the link acts as the customer" in shown

    done = text_of(apply(support, "portal-link", target=customer, key=key))
    assert f"For the customer; it is shown only now: {shop.sandbox.url}/p/session/" in done
    link = next(word for word in done.split() if word.startswith(shop.sandbox.url))
    record = record_of(OperationRecord.objects.get().key)
    second = apply(support, "portal-link", target=customer, key=key)
    assert f'href="{address("portal-link")}?target={customer}"' in second.content.decode()
    again = text_of(second)
    assert "Already done" in again
    assert "Make a new link" in again
    assert "make a new one if it is lost" in again
    assert link not in again
    for page in (page_url(record), page_url(row), page_url(BillingEvent.objects.last())):
        assert link not in support.get(page).content.decode()


def test_a_checkout_link_stays_to_be_copied(support: Client, shop: Shop) -> None:
    customer = shop.subscribe()["customer"]
    shop.deliver()
    answers = {"target": customer, "price": shop.pack, "key": new_key()}
    shown = support.post(address("checkout-link"), {**answers, "_preview": "1"})
    assert f"45.00 USD ({shop.pack})" in text_of(shown)
    done = text_of(apply(support, "checkout-link", **answers))
    link = next(word for word in done.split() if word.startswith(shop.sandbox.url))
    assert shop.sandbox.http.get(link).status_code == 200
    assert link in text_of(apply(support, "checkout-link", **answers))


def test_a_cancellation_is_scheduled_from_the_subscriptions_page(
    support: Client, shop: Shop
) -> None:
    subscription = shop.subscribe()["subscription"]
    shop.deliver()
    row = BillingSubscription.objects.get()
    assert address("cancel") in support.get(page_url(row)).content.decode()
    assert "Done." in text_of(apply(support, "cancel", target=subscription))
    page = support.get(page_url(row))
    assert "Its cancellation is scheduled already." in text_of(page)
    assert address("cancel") not in page.content.decode()
    assert shop.at_stripe(subscription)["cancel_at_period_end"]


def test_several_invoices_are_paid_at_once(support: Client, shop: Shop) -> None:
    for number in range(2):
        bought = shop.subscribe(email=f"{number}@example.com", user_id=f"u_{number}")
        shop.sandbox.story("past_due", subscription=bought["subscription"])
    shop.deliver()
    picked = list(BillingInvoice.objects.filter(status="open"))
    assert len(picked) == 2
    shown = select(support, BillingInvoice, "pay-invoice", picked)
    targets = hidden(shown, "target")
    done = apply(support, "pay-invoice", target=targets, key=hidden(shown, "key")[0])
    assert text_of(done).count("Done.") == 2
    assert not BillingInvoice.objects.filter(status="open").exists()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mark-invoice-paid", lambda i: rows.invoice(f"in_{i}", status="open")),
        ("void-invoice", lambda i: rows.invoice(f"in_{i}", status="open")),
        ("portal-link", lambda i: rows.customer(f"u_{i}", f"cus_{i}")),
        ("checkout-link", lambda i: rows.customer(f"u_{i}", f"cus_{i}")),
    ],
)
def test_what_needs_thought_is_for_one_row_at_a_time(
    support: Client, name: str, make: type[Model]
) -> None:
    picked = [make(0), make(1)]
    response = select(support, type(picked[0]), name, picked)
    assert "takes these one at a time: select a single row." in text_of(
        support.get(response["Location"])
    )
    assert not OperationRecord.objects.exists()
