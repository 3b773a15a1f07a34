"""W11: a subscription whose webhook was never created, and S1, S4, S6: rows that disagree."""

import pytest
from django.test import Client

from billing.admin.cells import page_url
from billing.admin.operations import SYNC
from billing.models import BillingCustomer, BillingInvoice, BillingSubscription, InboxEvent
from tests.admin.conftest import LogIn
from tests.admin.test_operations import apply, text_of
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance, status_here

pytestmark = pytest.mark.django_db
WHY = ("--reason", "No webhook for the new subscription", "--reason-code", "webhook_missed")


def test_a_subscription_whose_webhook_was_never_created_is_recorded(shop: Shop, run: Run) -> None:
    """Ada subscribed while the endpoint did not exist, so Stripe will never send a thing."""
    seen = InboxEvent.objects.count()
    bought = shop.subscribe()
    sub = bought["subscription"]
    assert not BillingSubscription.objects.exists()
    assert InboxEvent.objects.count() == seen

    # Support has only the id that Ada read out, looks first, and then records it.
    looked = run("record_subscription", sub, "--dry-run", "--json")
    assert looked.document["plan"]["blocked"] == ""
    assert not BillingSubscription.objects.exists()
    done = run("record_subscription", sub, *WHY, "--actor", "sue", "--json")
    assert done.code == 0

    # Everything that the runbook's INSERT wrote, and what it left out, is as Stripe has it.
    row = BillingSubscription.objects.get()
    there = shop.at_stripe(sub)
    item = there["items"]["data"][0]
    assert (row.user_id, row.status) == ("u_ada", there["status"])
    assert row.price_id == item["price"]["id"]
    assert row.current_period_end is not None
    assert int(row.current_period_end.timestamp()) == item["current_period_end"]
    assert BillingInvoice.objects.get().stripe_invoice_id == bought["invoice"]
    assert BillingCustomer.objects.get().email == "ada@example.com"
    assert balance("u_ada") == (20, 0)
    [audit] = audits("manual.subscription_recorded")
    assert (audit["subscription"], audit["user_id"], audit["admin"]) == (sub, "u_ada", "cli:sue")
    assert audit["reason_code"] == "webhook_missed"

    # The endpoint is made, and Stripe's events come after all: nothing is granted twice.
    shop.deliver()
    assert balance("u_ada") == (20, 0)
    assert BillingSubscription.objects.count() == 1


def test_active_at_stripe_and_canceled_here_is_synced_from_the_admin(
    support: Client, shop: Shop
) -> None:
    """S1: somebody's script set Ada's row to canceled; Stripe still charges her."""
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    BillingSubscription.objects.update(status="canceled", cancel_at_period_end=True)

    # S4: the comparison is on the page before anything is done.
    page = page_url(BillingSubscription.objects.get())
    assert "Sync from Stripe" in text_of(support.get(page))
    shown = text_of(support.get(SYNC.url({"kind": "subscription", "target": sub})))
    assert "status canceled active" in shown
    assert "cancel_at_period_end yes no" in shown
    assert status_here(sub) == "canceled"

    # S6: it is synced, once, with a reason.
    assert "Done." in text_of(apply(support, "sync", kind="subscription", target=sub))
    row = BillingSubscription.objects.get()
    assert (row.status, row.cancel_at_period_end) == (shop.at_stripe(sub)["status"], False)
    [audit] = audits("manual.sync")
    assert (audit["subscription"], audit["admin"]) == (sub, "support")
    assert audit["reason"] == "The customer called"


def test_setting_it_by_hand_instead_is_refused_while_stripe_answers(
    shop: Shop, log_in: LogIn
) -> None:
    """S7 is no way around S6: where Stripe can be asked, nobody types a status."""
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    BillingSubscription.objects.update(status="canceled")
    answer = apply(log_in("engineer"), "override-status", target=sub, status="active", hours="1")
    assert "Stripe can be asked, and says active" in text_of(answer)
    assert status_here(sub) == "canceled"
    assert audits("manual.status_override") == []
