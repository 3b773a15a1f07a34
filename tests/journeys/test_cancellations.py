"""“My subscription was cancelled, but I didn't” (F1, P3): seen, explained, and taken back."""

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import page_url
from billing.models import BillingSubscription, OperationRecord
from tests.admin.test_operations import apply, hidden, text_of
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, record_of
from tests.sandbox.storefront import Storefront

pytestmark = pytest.mark.django_db
WHY = ("--reason", "The customer wants to stay", "--json")


@pytest.fixture
def row(shop: Shop) -> BillingSubscription:
    """The subscription of u_ada."""
    shop.subscribe()
    shop.deliver()
    return BillingSubscription.objects.get()


def is_set_to_end(shop: Shop, row: BillingSubscription) -> tuple[bool, bool]:
    """At Stripe, and here."""
    row.refresh_from_db()
    there = shop.at_stripe(row.stripe_subscription_id)
    return bool(there["cancel_at"]), bool(row.cancel_at or row.cancel_at_period_end)


def test_what_was_cancelled_in_the_portal_is_taken_back(
    support: Client, shop: Shop, row: BillingSubscription
) -> None:
    """Somebody in the customer's house pressed Cancel; our server never heard of it."""
    made = shop.sandbox.post(
        "/v1/billing_portal/sessions", {"customer": row.stripe_customer_id}
    ).json()
    visitor = Storefront(shop.sandbox)
    cancel = f"{made['url']}/subscriptions/{row.stripe_subscription_id}/cancel"
    visitor.follow(cancel, feedback="too_expensive")
    assert is_set_to_end(shop, row) == (True, False)

    synced = apply(support, "sync", kind="subscription", target=row.stripe_subscription_id)
    assert "Done." in text_of(synced)
    page = text_of(support.get(page_url(row)))
    assert "A cancellation is scheduled." in page

    done = apply(support, "reactivate", target=row.stripe_subscription_id)
    assert "Done." in text_of(done)
    assert is_set_to_end(shop, row) == (False, False)
    [event] = audits("manual.subscription_reactivation")
    assert (event["user_id"], event["admin"]) == ("u_ada", "support")


def test_what_a_colleague_cancelled_is_undone_from_its_record(
    support: Client, shop: Shop, row: BillingSubscription
) -> None:
    """The wrong Ada: the cancellation's own page has a button that takes it back."""
    apply(support, "cancel", target=row.stripe_subscription_id, reason="Ada asked for it")
    assert is_set_to_end(shop, row) == (True, True)
    record = OperationRecord.objects.get(name="cancel_at_period_end")

    address = reverse("admin:billing_undo", args=[record.pk])
    shown = support.get(address)
    assert "Clear the scheduled cancellation" in text_of(shown)
    words = {"reason": "It was another Ada", "reason_code": "other"}
    support.post(address, {**words, "seen": hidden(shown, "seen")[0], "_undo": "1"})

    assert is_set_to_end(shop, row) == (False, False)
    [event] = audits("manual.subscription_reactivation")
    assert (event["undoes"], event["reason"]) == (record.key, "It was another Ada")
    assert record_of(record.key).undone_by.count() == 1


def test_what_ended_for_want_of_payment_is_told_and_a_new_one_offered(
    support: Client, run: Run, shop: Shop, row: BillingSubscription
) -> None:
    """Nobody cancelled: the card failed until Stripe gave up."""
    sub = row.stripe_subscription_id
    shop.sandbox.story("unpaid", subscription=sub)
    shop.sandbox.story("cancel", subscription=sub)
    shop.deliver()
    page = text_of(support.get(page_url(row)))
    assert "It was canceled, and that is final." in page
    refused = run("cancel_subscription", sub, *WHY)
    assert (refused.code, refused.error) == (1, "It was canceled, and that is final.")
    ran = run("checkout_link", "u_ada", "--price", shop.plan, *WHY)
    assert shop.sandbox.http.get(ran.document["result"]["details"]["link"]).status_code == 200
