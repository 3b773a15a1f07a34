"""Credits that did not arrive, were lost on the way, or are another's: W12, C1 to C10, F2, P2."""

import re

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from billing.admin.cells import page_url
from billing.admin.operations import PAGES
from billing.models import (
    BillingCustomer,
    BillingEvent,
    CreditEntry,
    CreditPrice,
    LeadClaim,
    OperationRecord,
    Purchase,
)
from billing.operations import approvals
from billing.operations.base import Actor
from tests.admin.conftest import LogIn
from tests.admin.test_operations import address, apply, text_of
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance

pytestmark = pytest.mark.django_db

LOST = ("--reason", "The webhook never came", "--reason-code", "webhook_missed", "--ticket", "T-9")


def test_credits_were_bought_and_not_granted(shop: Shop, run: Run) -> None:
    """C1, W2, P2: Ada paid for a pack while our endpoint was down."""
    bought = shop.buy()
    session = bought["checkout_session"]
    assert balance("u_ada") == (0, 0)

    # Sue in support has the payment's id from Ada's receipt. She looks first.
    looked = run("grant_purchase", bought["payment_intent"], "--dry-run", "--json")
    assert looked.code == 0
    assert "50 credits" in looked.document["plan"]["summary"]
    assert "45.00 USD" in looked.document["plan"]["summary"]
    assert balance("u_ada") == (0, 0)

    granted = run("grant_purchase", bought["payment_intent"], *LOST, "--actor", "sue", "--json")
    assert granted.code == 0
    assert balance("u_ada") == (50, 0)
    [audit] = audits("manual.credit_adjustment")
    assert (audit["user_id"], audit["amount"], audit["purchase"]) == ("u_ada", 50, session)
    assert (audit["admin"], audit["reason_code"], audit["ticket"]) == (
        "cli:sue", "webhook_missed", "T-9",
    )  # fmt: skip
    at_stripe = shop.sandbox.get(f"/v1/checkout/sessions/{session}").json()
    assert (at_stripe["payment_status"], at_stripe["amount_total"]) == ("paid", 4500)

    # The endpoint is back, and Stripe delivers what it had kept: nothing is granted twice.
    shop.deliver()
    shop.deliver()
    assert balance("u_ada") == (50, 0)
    again = run("grant_purchase", session, *LOST, "--json")
    assert (again.code, balance("u_ada")) == (1, (50, 0))
    assert "has its credits already" in again.error


def test_the_same_from_the_purchases_own_page(shop: Shop, support: Client) -> None:
    """C8: the price was not mapped when Ada bought; now it is."""
    CreditPrice.objects.filter(price_id=shop.pack).delete()
    bought = shop.buy()
    shop.deliver()
    row = Purchase.objects.get(source=bought["checkout_session"])
    assert row.status == Purchase.Status.UNPRICED
    page = support.get(page_url(row))
    assert f'href="{address("grant-purchase")}?target={row.source}' in page.content.decode()
    asked = support.get(address("grant-purchase"), {"target": row.source})
    assert f"map {shop.pack} under “Prices to credits” first" in text_of(asked)

    CreditPrice.objects.create(price_id=shop.pack, name="Pack", credits=50)
    shown = text_of(support.get(address("grant-purchase"), {"target": row.source}))
    assert "Balance 0 50" in shown
    assert "Done." in text_of(apply(support, "grant-purchase", target=row.source))
    assert balance("u_ada") == (50, 0)
    assert "this purchase has its credits." in text_of(support.get(page_url(row)))


def test_a_claim_failed_but_was_debited(shop: Shop, run: Run, support: Client) -> None:
    """C2, F2: the application took 3 credits for a lead that was gone already."""
    shop.buy()
    shop.deliver()
    with connection.cursor() as cursor:  # the application's own SQL
        cursor.execute("UPDATE lead_credits SET balance = balance - 48 WHERE user_id = 'u_ada'")
        cursor.execute(
            "INSERT INTO lead_claims (user_id, lead_id, credits_spent, status, failure_reason)"
            " VALUES ('u_ada', 'lead_1', 45, 'succeeded', ''),"
            " ('u_ada', 'lead_2', 3, 'failed', 'The lead was gone')"
        )
    assert balance("u_ada") == (2, 0)  # too few for another lead: "insufficient credits"
    succeeded, failed = LeadClaim.objects.order_by("credits_spent").reverse()

    # The claim's page says what happened and offers the way back; the other one's does not.
    page = text_of(support.get(page_url(failed)))
    assert "It failed, and 3 credits were spent on it." in page
    assert "Give credits back" in page
    assert "its credits bought the lead" in text_of(support.get(page_url(succeeded)))
    refused = run("refund_claim", str(succeeded.pk), *LOST, "--json")
    assert (refused.code, balance("u_ada")) == (1, (2, 0))

    target = f"claim:{failed.pk}"
    assert "Balance 2 5" in text_of(support.get(address("refund-claim"), {"target": target}))
    assert "Done." in text_of(apply(support, "refund-claim", target=target))
    assert balance("u_ada") == (5, 0)
    [audit] = audits("manual.credit_adjustment")
    assert (audit["user_id"], audit["amount"], audit["claim"]) == ("u_ada", 3, failed.pk)
    assert audit["admin"] == "support"

    # A colleague does it once more, on the command line.
    again = run("refund_claim", target, *LOST)
    assert again.code == 1
    assert "given back already" in again.error
    assert "by support" in again.error
    assert balance("u_ada") == (5, 0)
    assert "given back already" in text_of(support.get(page_url(failed)))


def test_a_wrong_balance_is_corrected_and_leaves_its_trace(shop: Shop, run: Run) -> None:
    """C9, C10: the runbook's UPDATE and INSERT, as one command."""
    shop.buy()
    shop.deliver()
    done = run("correct_balance", "u_ada", "25", *LOST, "--actor", "sue", "--json")
    assert done.code == 0
    assert balance("u_ada") == (25, 0)
    with connection.cursor() as cursor:  # as the runbook's audit statement wrote it
        cursor.execute(
            "SELECT payload->>'user_id', payload->>'amount', payload->>'reason', payload->>'admin'"
            " FROM billing_events WHERE type = 'manual.credit_adjustment'"
        )
        assert cursor.fetchall() == [("u_ada", "-25", "The webhook never came", "cli:sue")]
    entry = CreditEntry.objects.order_by("id").reverse()[0]
    assert (entry.kind, entry.delta, entry.balance_after) == ("correction", -25, 25)
    assert not BillingEvent.objects.filter(type__startswith="sql.").exists()


def test_a_pack_that_nobody_is_known_for_is_attributed(shop: Shop, support: Client) -> None:
    """C7: somebody paid without being logged in; the email looks like Ada's."""
    subscription = shop.subscribe(user_id="u_ada")
    bought = shop.buy(attributed=False)
    shop.deliver()
    row = Purchase.objects.get(source=bought["checkout_session"])
    page = support.get(page_url(row))
    assert "nobody knows by which user" in text_of(page)
    assert f'href="{address("attribute-payment")}?target={row.source}' in page.content.decode()
    assert balance("u_ada") == (20, 0)

    # Sue types the wrong user first; the page warns, and she changes her mind.
    wrong = support.get(address("attribute-payment"), {"target": row.source, "user_id": "u_adam"})
    assert "which is the email of user u_ada." in text_of(wrong)
    assert "Nothing here knows a user u_adam" in text_of(wrong)
    done = apply(support, "attribute-payment", target=row.source, user_id="u_ada")
    assert f"{row.source} was bought by user u_ada, who got 50 credits." in text_of(done)
    assert balance("u_ada") == (70, 0)
    [audit] = audits("manual.payment_attribution")
    assert (audit["user_id"], audit["purchase"], audit["admin"]) == ("u_ada", row.source, "support")
    at_stripe = shop.sandbox.get(f"/v1/checkout/sessions/{row.source}").json()
    assert at_stripe["client_reference_id"] is None
    assert subscription["customer"] != at_stripe["customer"]

    # A refund of it is hers as well.
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"])
    shop.deliver()
    assert balance("u_ada") == (20, 0)


def test_two_customers_of_one_person_become_one(shop: Shop, log_in: LogIn, run: Run) -> None:
    """Ada signed up a second time with her work address, and her credits are in two places."""
    kept = shop.subscribe()["customer"]
    gone = shop.subscribe(user_id="u_work", email="ada@work.example")["customer"]
    shop.deliver()
    row = BillingCustomer.objects.get(stripe_customer_id=kept)
    for role, offered in (("engineer", True), ("support", False)):
        page = log_in(role).get(page_url(row)).content.decode()
        assert (address("merge-customers") in page) == offered
    engineer = log_in("engineer")
    shown = text_of(engineer.get(PAGES["merge-customers"].url({"target": kept, "gone": gone})))
    assert "Credits of user u_ada: balance 20 40" in shown
    assert "Credits of user u_work: balance 20 0" in shown
    assert "Nothing changes at Stripe" in shown

    # It is asked for, and somebody else agrees.
    asked = apply(engineer, "merge-customers", target=kept, gone=gone)
    assert "waits for another person" in text_of(asked)
    assert balance("u_ada") == (20, 0)
    request = OperationRecord.objects.get(name="merge_customers")
    approvals.approve(request, actor=Actor.of(finance()), words="Same passport")
    assert (balance("u_ada"), balance("u_work")) == ((40, 0), (0, 0))
    [audit] = audits("manual.customer_merge")
    assert (audit["admin"], audit["approved_by"]) == ("engineer", "finance")
    for customer in (kept, gone):
        there = shop.sandbox.get(f"/v1/customers/{customer}").json()
        assert "deleted" not in there

    # Her next renewal, of either subscription, is credited to the one Ada.
    for subscription in shop.sandbox.get("/v1/subscriptions").json()["data"]:
        shop.sandbox.story("renew", subscription=subscription["id"])
    shop.deliver()
    assert (balance("u_ada"), balance("u_work")) == ((80, 0), (0, 0))
    assert "already" in run("merge_customers", kept, gone, *LOST).error
    assert re.fullmatch(r"merge:op_\w+-\w+:to", latest_source("u_ada", "correction"))


def finance() -> User:
    user, _ = User.objects.get_or_create(username="finance", defaults={"is_staff": True})
    user.groups.set(Group.objects.filter(name="finance"))
    return User.objects.get(pk=user.pk)


def latest_source(user: str, kind: str) -> str:
    return str(CreditEntry.objects.filter(user_id=user, kind=kind).latest("id").source)
