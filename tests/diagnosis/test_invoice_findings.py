"""Invoices that are open or failed, and those that are not here as Stripe has them (F5, R4)."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.diagnosis.examination import consult, findings
from billing.diagnosis.facts import Person, gather
from billing.diagnosis.findings import Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingInvoice
from billing.operations import approvals
from billing.operations.base import Actor
from tests.diagnosis.planting import (
    deliver_all_but,
    fix,
    found,
    kinds,
    operation_of,
    said,
    subscribed,
)
from tests.operations.shop import Shop, balance, record_of
from tests.sandbox.storefront import Storefront
from tests.support.events import events_of

pytestmark = pytest.mark.django_db
REPLAYS, SYNCS = "replay_events", "sync_from_stripe"


def billed(shop: Shop, **terms: Any) -> str:
    """An open invoice over 99.00 USD for u_ada."""
    shopfront = Storefront(shop.sandbox)
    who = shopfront.customer(**{"metadata[user_id]": "u_ada"})
    draft = str(shopfront.post("/v1/invoices", customer=who, **terms)["id"])
    shopfront.post("/v1/invoiceitems", customer=who, invoice=draft, amount=9900, currency="usd")
    shopfront.post(f"/v1/invoices/{draft}/finalize")
    return draft


def sent(shop: Shop) -> str:
    """An invoice that is to be paid by hand within 30 days."""
    return billed(shop, collection_method="send_invoice", days_until_due="30")


def found_after(days: int) -> list[Finding]:
    """What is found about u_ada when so many days have passed."""
    facts = gather(Person.of_user("u_ada"), now=timezone.now() + timedelta(days=days))
    consult(facts)
    return findings(facts)


def status_here(invoice: str) -> str:
    return BillingInvoice.objects.get(stripe_invoice_id=invoice).status


def test_what_is_not_due_yet_is_no_finding(shop: Shop) -> None:
    """It was sent today, and they have 30 days."""
    sent(shop)
    shop.deliver()
    assert kinds("u_ada") == []


def test_what_is_charged_soon_is_no_finding(shop: Shop) -> None:
    """It is open, and nobody has tried to collect it."""
    billed(shop, auto_advance="false")
    shop.deliver()
    assert kinds("u_ada") == []


def test_late_and_paid_by_hand_is_sent_again(shop: Shop) -> None:
    """F5, F7: the letter was lost, and the due date has passed."""
    invoice = sent(shop)
    shop.deliver()
    assert found_after(days=29) == []
    [finding] = found_after(days=31)
    assert finding.kind == Kind.INVOICE_UNPAID
    assert (finding.subject, finding.severity) == (invoice, Severity.MONEY)
    assert "over 99.00 USD is open, due since " in finding.verdict
    assert (finding.amount, finding.currency) == (9900, "usd")
    assert "Invoice: 99.00 USD due" in said(finding)
    assert "99.00 USD is still open" in finding.for_customer
    assert invoice not in finding.for_customer
    assert finding.fix == Fix("resend_invoice", {"invoice_id": invoice})

    fix(finding)
    shop.sandbox.story("pay_invoice", invoice=invoice)  # the letter arrived
    shop.deliver()
    assert found_after(days=31) == []


def test_declined_and_charged_again(shop: Shop) -> None:
    """F5: a one-off invoice whose card was declined, with the bank's reason."""
    invoice = billed(shop, auto_advance="false")
    shop.sandbox.story("pay_invoice", invoice=invoice, fail=True)
    shop.deliver()
    finding = found("u_ada", Kind.INVOICE_UNPAID)
    assert finding.subject == invoice
    assert "is open, after 1 attempt: Your card was declined" in finding.verdict
    assert "Declined: Your card was declined" in said(finding)
    assert finding.fix == Fix("pay_invoice", {"invoice_id": invoice})

    fix(finding)
    assert status_here(invoice) == "paid"
    assert kinds("u_ada") == []


@pytest.mark.parametrize("make", [billed, sent])
def test_written_off_and_still_owed(shop: Shop, make: Any) -> None:
    """F5: an uncollectible invoice is not sent any more, and can still be paid."""
    invoice = make(shop)
    shop.sandbox.post(f"/v1/invoices/{invoice}/mark_uncollectible").raise_for_status()
    shop.deliver()
    finding = found("u_ada", Kind.INVOICE_UNPAID)
    assert "is uncollectible" in finding.verdict
    assert finding.fix == Fix("pay_invoice", {"invoice_id": invoice})
    fix(finding)
    assert kinds("u_ada") == []


def test_the_renewal_of_a_past_due_subscription_is_told_once(shop: Shop) -> None:
    """F3, F5: one problem, one finding."""
    shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.deliver()
    assert kinds("u_ada") == [Kind.PAST_DUE]


def test_after_a_subscription_has_ended_its_debt_may_be_none(shop: Shop) -> None:
    """F5: the verdict says what else there is to do than to charge somebody who left."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.sandbox.story("cancel", subscription=told["subscription"])
    shop.deliver()
    finding = found("u_ada", Kind.INVOICE_UNPAID)
    assert finding.subject == told["invoice"]
    assert "Its subscription has ended: void it if they owe nothing" in finding.verdict
    fix(finding)
    assert Kind.INVOICE_UNPAID not in kinds("u_ada")


def test_what_a_deleted_customer_owes_is_voided(shop: Shop) -> None:
    """F5: there is no card to charge and nobody to write to; two people agree to let it go."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    gone = shop.sandbox.request("DELETE", f"/v1/customers/{told['customer']}")
    gone.raise_for_status()
    shop.deliver()
    finding = found("u_ada", Kind.INVOICE_UNPAID)
    assert "The customer is deleted at Stripe and can be charged no more" in finding.verdict
    assert finding.fix == Fix("void_invoice", {"invoice_id": told["invoice"]})
    operation = operation_of(finding)
    assert operation.apply().requested
    approvals.approve(record_of(operation.key), actor=Actor.cli("carol"), words="They are gone")
    assert status_here(told["invoice"]) == "void"
    assert Kind.INVOICE_UNPAID not in kinds("u_ada")


def test_paid_at_stripe_and_open_here(shop: Shop) -> None:
    """R4: invoice.paid was lost, so that here it still looks declined."""
    invoice = billed(shop, auto_advance="false")
    shop.sandbox.story("pay_invoice", invoice=invoice, fail=True)
    shop.deliver()
    shop.sandbox.story("pay_invoice", invoice=invoice)
    finding = found("u_ada", Kind.INVOICE_DIFFERS)
    assert (finding.subject, finding.severity) == (invoice, Severity.MONEY)
    assert finding.verdict.startswith("The invoice is paid at Stripe and open here. ")
    assert "never arrived" in finding.verdict
    assert "Status: paid at Stripe, open here" in said(finding)
    assert "Amount paid: 99.00 USD at Stripe, 0.00 USD here" in said(finding)
    assert Kind.INVOICE_UNPAID not in kinds("u_ada")
    assert finding.fix is not None
    assert finding.fix.operation == REPLAYS

    fix(finding)
    assert status_here(invoice) == "paid"
    assert kinds("u_ada") == []


def test_missing_here(shop: Shop) -> None:
    """R4, W2: every event of the renewal's invoice was lost, and its credits with it."""
    sub = subscribed(shop)
    renewed = shop.sandbox.story("renew", subscription=sub)
    lost = {e["type"] for e in events_of(shop.sandbox) if e["type"].startswith("invoice")}
    deliver_all_but(shop, *lost)
    finding = found("u_ada", Kind.INVOICE_DIFFERS)
    assert (finding.subject, finding.severity) == (renewed["invoice"], Severity.MONEY)
    assert finding.verdict.startswith("Stripe has an invoice (paid) that is not here.")
    assert (finding.amount, finding.currency) == (2900, "usd")

    fix(finding)
    assert status_here(renewed["invoice"]) == "paid"
    assert balance("u_ada") == (40, 0)
    assert kinds("u_ada") == []


def test_a_lesser_difference_is_a_warning(shop: Shop) -> None:
    """R4: they cancelled, so that Stripe does not try again, and invoice.updated was lost."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.deliver()
    shop.sandbox.story("cancel", subscription=told["subscription"])
    deliver_all_but(shop, "invoice.updated")
    finding = found("u_ada", Kind.INVOICE_DIFFERS)
    assert (finding.subject, finding.severity) == (told["invoice"], Severity.WARNING)
    assert finding.verdict.startswith("Stripe has the invoice otherwise than we do.")
    assert "Next payment attempt: none at Stripe, " in said(finding)
    fix(finding)
    assert Kind.INVOICE_DIFFERS not in kinds("u_ada")
