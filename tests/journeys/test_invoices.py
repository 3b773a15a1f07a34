"""Failed payments, as the runbook tells them: the customer pays, by one way or another (F6-F9)."""

import pytest
from django.test import Client

from billing.models import BillingEvent, BillingInvoice, BillingSubscription
from billing.operations import approvals
from billing.operations.base import Actor
from tests.admin.test_operations import address, apply, text_of
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance, record_of, status_here
from tests.sandbox.storefront import Storefront

pytestmark = pytest.mark.django_db
WHY = ("--reason", "Ticket of Ada", "--ticket", "T-7", "--actor", "carol", "--json")


@pytest.fixture
def told(shop: Shop) -> dict[str, str]:
    """The card of u_ada was declined at the renewal: what the story named."""
    bought = shop.subscribe()
    late = shop.sandbox.story("past_due", subscription=bought["subscription"])
    shop.deliver()
    assert status_here(bought["subscription"]) == "past_due"
    return {**bought, "invoice": late["invoice"]}


def invoice_at_stripe(shop: Shop, invoice: str) -> dict[str, str]:
    found: dict[str, str] = shop.sandbox.get(f"/v1/invoices/{invoice}").json()
    return found


def test_the_customer_helps_themself_with_a_link_to_the_portal(
    support: Client, shop: Shop, told: dict[str, str]
) -> None:
    """F6. Support makes a link; the customer adds a card there and pays the open invoice."""
    done = text_of(apply(support, "portal-link", target="u_ada", reason="Ada called"))
    link = next(word for word in done.split() if word.startswith(shop.sandbox.url))
    [made] = audits("manual.portal_link")
    assert (made["customer"], made["user_id"], made["admin"]) == (
        told["customer"],
        "u_ada",
        "support",
    )

    ada = Storefront(shop.sandbox)
    assert "Its last invoice is not paid" in ada.visit(link)
    ada.follow(f"{link}/methods", method="pm_card_mastercard")
    shop.sandbox.story("pay_invoice", invoice=told["invoice"])  # on the invoice's own page
    shop.deliver()

    assert shop.at_stripe(told["subscription"])["status"] == "active"
    assert status_here(told["subscription"]) == "active"
    assert BillingInvoice.objects.get(stripe_invoice_id=told["invoice"]).status == "paid"
    assert balance("u_ada") == (40, 0)
    assert not BillingEvent.objects.filter(payload__icontains=link).exists()


def test_a_customer_whose_subscription_has_ended_subscribes_anew_by_a_link(
    run: Run, shop: Shop, told: dict[str, str]
) -> None:
    """F6. Reactivating is refused, and names the checkout link: that is what follows."""
    shop.sandbox.story("cancel", subscription=told["subscription"])
    shop.deliver()
    refused = run("reactivate_subscription", told["subscription"], *WHY)
    assert "send the customer a checkout link" in refused.error

    ran = run("checkout_link", "u_ada", "--price", shop.plan, *WHY)
    details = ran.document["result"]["details"]
    shop.sandbox.post(
        f"/v1/payment_pages/{details['checkout_session']}/confirm",
        {"payment_method": "pm_card_visa"},
    ).raise_for_status()
    shop.deliver()

    new = BillingSubscription.objects.get(status="active")
    assert new.stripe_subscription_id != told["subscription"]
    assert (new.user_id, new.stripe_customer_id) == ("u_ada", told["customer"])
    assert balance("u_ada") == (40, 0)
    assert audits("manual.checkout_link")[0]["link"] == details["link"]


def test_a_failed_invoice_is_not_resent_but_its_page_is_handed_on(
    run: Run, shop: Shop, told: dict[str, str]
) -> None:
    """F7. Stripe emails only what is paid by hand; for a card's invoice the page is named."""
    ran = run("resend_invoice", told["invoice"], *WHY)
    assert ran.code == 1
    page = ran.error.split()[-1]
    assert page == invoice_at_stripe(shop, told["invoice"])["hosted_invoice_url"]

    ada = Storefront(shop.sandbox)
    assert "29.00" in ada.visit(page)
    shop.sandbox.story("pay_invoice", invoice=told["invoice"])
    shop.deliver()
    assert status_here(told["subscription"]) == "active"


def test_an_invoice_that_is_paid_by_hand_is_sent_again(run: Run, shop: Shop) -> None:
    """F7. The letter was lost: support has Stripe send it once more."""
    ada = Storefront(shop.sandbox)
    who = ada.customer(**{"metadata[user_id]": "u_ada"})
    terms = {"collection_method": "send_invoice", "days_until_due": "30"}
    draft = ada.post("/v1/invoices", customer=who, **terms)["id"]
    ada.post("/v1/invoiceitems", customer=who, invoice=draft, amount=9900, currency="usd")
    invoice = str(ada.post(f"/v1/invoices/{draft}/finalize")["id"])
    shop.deliver()

    assert run("resend_invoice", invoice, *WHY).code == 0
    assert shop.event_of("invoice.sent")
    [sent] = audits("manual.invoice_sent")
    assert (sent["invoice"], sent["user_id"], sent["ticket"]) == (invoice, "u_ada", "T-7")
    shop.deliver()
    assert BillingInvoice.objects.get().status == "open"


def test_money_that_came_in_elsewhere_counts(run: Run, shop: Shop, told: dict[str, str]) -> None:
    """F8. A bank transfer: Stripe is told, the subscription goes on, its credits come."""
    plan = run("mark_invoice_paid", told["invoice"], "--evidence", "Transfer 4711", "--dry-run")
    assert "warning: Nothing is charged" in plan.stdout
    assert "Credits of user u_ada: balance: 20 -> 40" in plan.stdout
    charged = len(shop.sandbox.get("/v1/charges", limit=100).json()["data"])

    ran = run("mark_invoice_paid", told["invoice"], "--evidence", "Transfer 4711", *WHY)
    assert ran.code == 0
    assert invoice_at_stripe(shop, told["invoice"])["status"] == "paid"
    assert len(shop.sandbox.get("/v1/charges", limit=100).json()["data"]) == charged
    assert status_here(told["subscription"]) == "active"
    assert balance("u_ada") == (40, 0)
    [stated] = audits("manual.invoice_marked_paid")
    assert (stated["evidence"], stated["admin"]) == ("Transfer 4711", "cli:carol")
    shop.deliver()
    assert balance("u_ada") == (40, 0)


def test_an_invoice_nobody_owes_is_voided_by_two(
    run: Run, shop: Shop, told: dict[str, str]
) -> None:
    """One asks, another one agrees; until then nothing happens."""
    asked = run("void_invoice", told["invoice"], *WHY)
    assert invoice_at_stripe(shop, told["invoice"])["status"] == "open"
    request = record_of(asked.document["result"]["details"]["operation"])
    approvals.approve(request, actor=Actor.cli("dan"), words="It was made by mistake")

    assert invoice_at_stripe(shop, told["invoice"])["status"] == "void"
    assert BillingInvoice.objects.get(stripe_invoice_id=told["invoice"]).status == "void"
    [voided] = audits("manual.invoice_voided")
    assert (voided["admin"], voided["approved_by"]) == ("cli:carol", "cli:dan")


def test_a_payment_whose_webhook_never_came_is_found_by_reactivating(
    run: Run, shop: Shop, told: dict[str, str]
) -> None:
    """F9. The customer paid, the status was not updated: Stripe is right, and asked."""
    shop.sandbox.story("pay_invoice", invoice=told["invoice"])  # and no event is delivered
    assert status_here(told["subscription"]) == "past_due"

    plan = run("reactivate_subscription", told["subscription"], "--dry-run", "--json")
    assert plan.document["plan"]["calls"] == []
    assert run("reactivate_subscription", told["subscription"], *WHY).code == 0
    assert status_here(told["subscription"]) == "active"
    [done] = audits("manual.subscription_reactivation")
    assert (done["subscription"], done["stripe_request"]) == (told["subscription"], "")


def test_a_payment_is_retried_once_the_card_is_new(
    support: Client, shop: Shop, told: dict[str, str]
) -> None:
    """F9. The card was declined for lack of funds; now there are some."""
    done = text_of(apply(support, "pay-invoice", target=told["invoice"]))
    assert f"{told['invoice']} is paid." in done
    assert shop.at_stripe(told["subscription"])["status"] == "active"
    assert status_here(told["subscription"]) == "active"
    assert balance("u_ada") == (40, 0)
    page = support.get(address("pay-invoice"), {"target": told["invoice"]})
    assert "It is paid already." in text_of(page)
