"""S7: a status by hand while Stripe is down, agreed by two, and gone when Stripe is back."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from billing import tasks
from billing.admin.cells import page_url
from billing.models import BillingSubscription, OperationRecord, StatusOverride
from tests.admin.conftest import LogIn, log_in_as
from tests.admin.test_operations import apply, hidden, text_of
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, status_here
from tests.support.databases import Database


@pytest.fixture
def ada(shop: Shop) -> str:
    """Her subscription is past due, she has paid by wire, and Stripe is down for everybody."""
    sub = str(shop.subscribe()["subscription"])
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    assert status_here(sub) == "past_due"
    shop.sandbox.control("faults", path="/v1/*", status=503)
    return sub


def set_by_hand(sub: str) -> None:
    """An engineer asks, a superuser looks at the request and approves it."""
    asked = apply(log_in_as("engineer"), "override-status", target=sub, status="active", hours="24")
    assert "Nothing was done yet: another person has to approve it." in text_of(asked)
    assert status_here(sub) == "past_due"
    record = OperationRecord.objects.get(name="override_status", subject=sub)
    other = log_in_as("superuser")
    address = reverse("admin:billing_approval", args=[record.pk])
    looked = other.get(address)
    assert "Status here past_due active" in text_of(looked)
    other.post(
        address,
        {"words": "The bank says it came", "seen": hidden(looked, "seen")[0], "_approve": "1"},
    )
    assert status_here(sub) == "active"


@pytest.mark.django_db
def test_stripe_comes_back_and_its_word_takes_the_place(
    support: Client, shop: Shop, ada: str
) -> None:
    set_by_hand(ada)
    page = page_url(BillingSubscription.objects.get())
    assert "engineer set its status to active by hand" in text_of(support.get(page))
    assert "Statuses set by hand 1" in text_of(support.get(reverse("admin:index")))
    [asked] = audits("manual.status_override")
    assert (asked["admin"], asked["approved_by"]) == ("engineer", "superuser")
    assert (asked["subscription"], asked["user_id"]) == (ada, "u_ada")

    # Stripe is back. It retries Ada's card, fails, and says so: the next event has its word.
    shop.sandbox.control("faults", "DELETE")
    shop.sandbox.story("cancel", subscription=ada)
    shop.deliver()
    assert status_here(ada) == shop.at_stripe(ada)["status"] == "canceled"
    [ended] = audits("system.override_ended")
    assert (ended["ended_by"], ended["set_by"], ended["status"]) == (
        "stripe", "engineer", "canceled",
    )  # fmt: skip
    assert "set its status to" not in text_of(support.get(page))
    assert "Statuses set by hand 0" in text_of(support.get(reverse("admin:index")))


@pytest.mark.parametrize("is_back", [True, False])
def test_nobody_looks_and_its_time_runs_out(
    real_database: Database, shop: Shop, ada: str, is_back: bool
) -> None:
    """The worker's own minute ends it: with Stripe's word, or with the status from before."""
    set_by_hand(ada)
    tasks.look_after_operations(timestamp=0)
    assert status_here(ada) == "active"
    if is_back:
        shop.sandbox.control("faults", "DELETE")
    StatusOverride.objects.update(expires_at=Now() - timedelta(seconds=1))
    tasks.look_after_operations(timestamp=0)
    assert status_here(ada) == "past_due"
    assert StatusOverride.objects.get().ended_by == ("stripe" if is_back else "expiry")
    assert len(audits("system.override_ended")) == 1


@pytest.mark.django_db
def test_the_engineer_ends_it_by_a_command(shop: Shop, ada: str, run: Run, log_in: LogIn) -> None:
    set_by_hand(ada)
    shop.sandbox.control("faults", "DELETE")
    assert apply(log_in("support"), "end-override", target=ada).status_code == 403
    ran = run("end_override", ada, "--reason", "Stripe is back", "--json")
    assert ran.code == 0
    assert status_here(ada) == shop.at_stripe(ada)["status"] == "past_due"
    assert audits("manual.status_override_ended")[0]["subscription"] == ada
