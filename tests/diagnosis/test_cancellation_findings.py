"""“My subscription was cancelled, but I didn't”: who cancelled, when, and why (F1, P3, S7)."""

import pytest

from billing.diagnosis.checks.cancellations import LONGEST
from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingSubscription
from billing.operations import approvals
from billing.operations.base import Actor
from billing.operations.cancellation import CancelAtPeriodEnd
from billing.operations.overrides import OverrideStatus
from billing.operations.subscriptions import ReactivateSubscription
from tests.diagnosis.planting import fix, found, kinds, said, subscribed
from tests.operations.shop import BOB, Shop, record_of, status_here
from tests.sandbox.storefront import Storefront

pytestmark = pytest.mark.django_db
DUNNING = 24  # days after which Stripe has made its last attempt


def cancel_in_the_portal(shop: Shop, sub: str, **words: str) -> None:
    """The customer, or somebody in their house, presses Cancel and gives a reason."""
    customer = shop.at_stripe(sub)["customer"]
    visitor = Storefront(shop.sandbox)
    visitor.follow(f"{visitor.portal(customer)}/subscriptions/{sub}/cancel", **words)
    shop.deliver()


def let_it_end(shop: Shop) -> None:
    """The period that was paid for passes."""
    shop.sandbox.advance(days=32)
    shop.deliver()


def subscribe_again(shop: Shop, link: str) -> None:
    """The customer follows the link and pays."""
    Storefront(shop.sandbox).visit(link)
    session = link.rpartition("/")[2].partition("#")[0].partition("?")[0]
    shop.sandbox.post(
        f"/v1/payment_pages/{session}/confirm", {"payment_method": "pm_card_visa"}
    ).raise_for_status()
    shop.deliver()


def test_a_cancellation_in_the_portal_can_be_taken_back(shop: Shop) -> None:
    """P3: it still runs; the page says until when, and what the customer wrote."""
    sub = subscribed(shop)
    cancel_in_the_portal(shop, sub, feedback="too_expensive", comment="Too few leads")
    finding = found("u_ada", Kind.CANCELLATION_SCHEDULED)
    assert (finding.subject, finding.severity) == (sub, Severity.INFO)
    assert "Asked for by the customer, who said “Too few leads”, “too expensive”" in finding.verdict
    assert "Comment: Too few leads" in said(finding)
    assert finding.fix == Fix("reactivate_subscription", {"subscription_id": sub})
    end = BillingSubscription.objects.get().current_period_end
    assert end is not None
    assert f"{end:%-d %B %Y}" in finding.for_customer
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]

    fix(finding)
    assert kinds("u_ada") == []


def test_a_colleague_s_cancellation_names_them_and_their_reason(shop: Shop) -> None:
    """F1: Bob cancelled the wrong Ada; his operation says so, and is taken back."""
    sub = subscribed(shop)
    CancelAtPeriodEnd(subscription_id=sub, **{**BOB, "reason": "Ada wrote a letter"}).apply()
    finding = found("u_ada", Kind.CANCELLATION_SCHEDULED)
    assert "Asked for by cli:bob (Ada wrote a letter)" in finding.verdict
    assert "bob" not in finding.for_customer
    fix(finding)
    assert kinds("u_ada") == []


def test_cancelled_by_the_customer_some_time_ago(shop: Shop) -> None:
    """F1, P3: it ended as they asked for; a link brings them back."""
    sub = subscribed(shop)
    shop.sandbox.story("cancel", subscription=sub, at_period_end=True)
    shop.deliver()
    let_it_end(shop)
    assert status_here(sub) == "canceled"

    finding = found("u_ada", Kind.CANCELED_BY_CUSTOMER)
    assert (finding.subject, finding.severity) == (sub, Severity.INFO)
    assert "in the portal, unless it was done in Stripe's dashboard, asked for " in finding.verdict
    assert "It ended at " in finding.verdict
    assert "cancelled on request" in finding.for_customer
    assert sub not in finding.for_customer
    customer = BillingSubscription.objects.get().stripe_customer_id
    assert finding.fix == Fix("create_checkout_link", {"customer": customer, "price": shop.plan})
    assert kinds("u_ada", ask_stripe=False) == [Kind.CANCELED_BY_CUSTOMER]

    subscribe_again(shop, str(fix(finding).details["link"]))
    assert kinds("u_ada") == []


def test_cancelled_at_once_with_a_reason(shop: Shop) -> None:
    """F1: what they wrote is the answer to why."""
    sub = subscribed(shop)
    words = {
        "cancellation_details[feedback]": "switched_service",
        "cancellation_details[comment]": "Moved to Leadly",
    }
    shop.sandbox.request("DELETE", f"/v1/subscriptions/{sub}", params=words).raise_for_status()
    shop.deliver()
    finding = found("u_ada", Kind.CANCELED_BY_CUSTOMER)
    assert "They said: “Moved to Leadly”, “switched service”." in finding.verdict
    assert "Feedback: switched service" in said(finding)
    assert "Leadly" not in finding.for_customer


def test_cancelled_by_us(shop: Shop) -> None:
    """F1: a colleague ended it, and the customer did not ask."""
    sub = subscribed(shop)
    operation = CancelAtPeriodEnd(subscription_id=sub, **{**BOB, "reason": "The wrong Ada"})
    operation.apply()
    let_it_end(shop)
    finding = found("u_ada", Kind.CANCELED_BY_US)
    assert (finding.subject, finding.severity) == (sub, Severity.INFO)
    assert "cli:bob cancelled it: The wrong Ada" in finding.verdict
    assert f"operation:{operation.key}" in said(finding)
    assert "bob" not in finding.for_customer
    subscribe_again(shop, str(fix(finding).details["link"]))
    assert kinds("u_ada") == []


def test_what_we_took_back_is_not_our_cancellation(shop: Shop) -> None:
    """Bob cancelled and kept it; that it ended later was the customer's own doing."""
    sub = subscribed(shop)
    CancelAtPeriodEnd(subscription_id=sub, **BOB).apply()
    ReactivateSubscription(subscription_id=sub, **BOB).apply()
    shop.sandbox.story("cancel", subscription=sub)
    shop.deliver()
    finding = found("u_ada", Kind.CANCELED_BY_CUSTOMER)
    assert "in the portal, unless it was done in Stripe's dashboard" in finding.verdict


def test_who_gives_a_reason_in_the_portal_cancelled_there(shop: Shop) -> None:
    """Bob's cancellation was taken back in the portal, where they cancelled again."""
    sub = subscribed(shop)
    CancelAtPeriodEnd(subscription_id=sub, **BOB).apply()
    visitor = Storefront(shop.sandbox)
    portal = visitor.portal(shop.at_stripe(sub)["customer"])
    visitor.follow(f"{portal}/subscriptions/{sub}/keep")
    cancel_in_the_portal(shop, sub, feedback="unused")
    assert "the customer, who said “unused”" in found("u_ada", Kind.CANCELLATION_SCHEDULED).verdict


def test_cancelled_for_want_of_payment(shop: Shop) -> None:
    """F1, P3: nobody cancelled; the card was declined until Stripe gave up."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    sub = told["subscription"]
    customer = f"/v1/customers/{told['customer']}"
    declined = "pm_card_chargeCustomerFail"
    made = shop.sandbox.post(
        f"/v1/payment_methods/{declined}/attach", {"customer": told["customer"]}
    ).json()["id"]
    default = {"invoice_settings[default_payment_method]": made}
    shop.sandbox.post(customer, default).raise_for_status()
    shop.sandbox.post(f"/v1/subscriptions/{sub}", {"default_payment_method": made})
    shop.sandbox.advance(days=DUNNING)
    shop.deliver()
    assert status_here(sub) == "canceled"

    finding = found("u_ada", Kind.CANCELED_FOR_NONPAYMENT)
    assert (finding.subject, finding.severity) == (sub, Severity.INFO)
    assert "Stripe cancelled it because the renewal was not paid after " in finding.verdict
    assert told["invoice"] in said(finding)
    assert "Declined: Your card was declined" in said(finding)
    assert "its renewal could not be paid" in finding.for_customer
    subscribe_again(shop, str(fix(finding).details["link"]))
    assert Kind.CANCELED_FOR_NONPAYMENT not in kinds("u_ada")


def test_who_deleted_their_customer_comes_back_with_a_new_one(shop: Shop) -> None:
    """A checkout link for a deleted customer is refused: it is made for the user instead."""
    sub = subscribed(shop)
    customer = shop.at_stripe(sub)["customer"]
    shop.sandbox.request("DELETE", f"/v1/customers/{customer}").raise_for_status()
    shop.deliver()
    finding = found("u_ada", Kind.CANCELED_BY_CUSTOMER)
    assert finding.fix == Fix("create_checkout_link", {"customer": "u_ada", "price": shop.plan})
    subscribe_again(shop, str(fix(finding).details["link"]))
    assert kinds("u_ada") == []


def test_an_endless_comment_is_shown_in_part(shop: Shop) -> None:
    """The words are a stranger's: of whatever length, with whatever in them."""
    sub = subscribed(shop)
    words = {"cancellation_details[comment]": "<b>x</b>" * 600, "cancel_at_period_end": "true"}
    shop.sandbox.post(f"/v1/subscriptions/{sub}", words).raise_for_status()
    shop.deliver()
    finding = found("u_ada", Kind.CANCELLATION_SCHEDULED)
    assert max(len(each.value) for each in finding.evidence) <= LONGEST
    assert "<b>" not in finding.for_customer


def test_a_status_set_by_hand_is_one_finding(shop: Shop) -> None:
    """S7: while Stripe was down two people answered for it; now Stripe answers, and says other."""
    told = shop.sandbox.story("past_due", subscription=subscribed(shop))
    sub = told["subscription"]
    shop.deliver()
    shop.sandbox.control("faults", path="/v1/*", status=503)
    operation = OverrideStatus(subscription_id=sub, status="active", hours=24, **BOB)
    operation.apply()
    approvals.approve(record_of(operation.key), actor=Actor.cli("carol"), words="Paid by wire")
    assert status_here(sub) == "active"
    assert Kind.OVERRIDE_IN_FORCE in kinds("u_ada", ask_stripe=False)
    shop.sandbox.control("faults", "DELETE")

    finding = found("u_ada", Kind.OVERRIDE_IN_FORCE)
    assert (finding.subject, finding.severity) == (sub, Severity.WARNING)
    assert "cli:bob set the status to active by hand (it was past_due)" in finding.verdict
    assert "The customer called." in finding.verdict
    assert "Stripe says past_due now." in finding.verdict
    assert f"operation:{operation.key}" in said(finding)
    assert finding.fix == Fix("end_override", {"subscription_id": sub})
    assert kinds("u_ada") == [Kind.INVOICE_UNPAID, Kind.OVERRIDE_IN_FORCE]

    fix(finding)
    assert status_here(sub) == "past_due"
    assert kinds("u_ada") == [Kind.PAST_DUE]
