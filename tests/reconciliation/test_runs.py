"""A run from its start to its end: what it finds, where it goes on, and what it costs."""

import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from billing.diagnosis.kinds import Kind
from billing.gateway.client import gateway
from billing.models import (
    BillingCustomer,
    BillingPayment,
    FindingRecord,
    InboxEvent,
    ReconciliationRun,
    acting_as,
)
from billing.operations.base import Actor
from billing.projection.bulk import sync_everything
from billing.reconciliation import fixing, lists, runs
from billing.reconciliation.examining import in_flight
from billing.reconciliation.looking import look_again
from billing.revenue.days import midnight
from tests.diagnosis.planting import deliver_all_but, subscribed
from tests.operations.shop import Shop, balance
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
NO_GRACE = timedelta(seconds=-2)  # what was lost just now is a difference, too
State = FindingRecord.State


def reconcile(kind: str = "daily") -> ReconciliationRun:
    return runs.reconcile(kind, actor="cli:rita", grace=NO_GRACE)


def kinds_found(run: ReconciliationRun) -> list[str]:
    return sorted(FindingRecord.objects.filter(run=run).values_list("kind", flat=True))


@pytest.fixture
def settled(shop: Shop) -> Shop:
    """Ada has a subscription and a pack, and our books are as Stripe's."""
    subscribed(shop)
    shop.buy()
    shop.deliver()
    return shop


def test_equal_books_have_no_finding(settled: Shop) -> None:
    run = reconcile()
    assert (run.status, kinds_found(run), run.differences) == ("done", [], {})
    assert run.counts["subscription"]["stripe"] == run.counts["subscription"]["here"] == 1
    assert run.counts["charge"]["amounts"]["usd"] == {"stripe": 7400, "here": 7400}
    assert run.measures["completeness"]["count"]["share"] == 1
    credits_ = run.measures["credits"]
    assert credits_["balances"] == credits_["ledger"] > 0
    assert credits_["difference"] == 0
    assert run.counts["event"]["missing"] == run.counts["event"]["only_here"] == 0
    assert sum(here for _, _, here in run.measures["events_by_hour"]) > 10
    assert reconcile("full").differences == {}
    assert not run.suspects.exists()
    assert not run.slices.exists()


def test_a_lost_pack_is_one_finding_that_its_replay_mends(settled: Shop) -> None:
    session = settled.buy()["checkout_session"]
    deliver_all_but(settled, "checkout.session.completed")
    run = reconcile()

    assert run.differences == {Kind.PACK_NOT_GRANTED: 1}
    record = FindingRecord.objects.get()
    assert (record.subject, record.state, record.user_id) == (session, State.OPEN, "u_ada")
    assert run.at_stake == {"usd": 4500, "credits": 50}

    fixed = fixing.fix(run, Actor.cli("rita"), lambda said: None)
    assert [each.subject for each in fixed.mended] == [session]
    assert balance("u_ada") == (120, 0)
    record.refresh_from_db()
    assert record.state == State.RESOLVED
    assert record.resolved_by == record.operation_key != ""
    assert reconcile().differences == {}


def test_what_was_mended_elsewhere_resolves_by_itself(settled: Shop) -> None:
    settled.buy()
    deliver_all_but(settled, "checkout.session.completed")
    reconcile()
    settled.deliver()
    assert reconcile().differences == {}
    assert FindingRecord.objects.get().resolved_by == FindingRecord.ITSELF


def test_a_lost_payment(settled: Shop) -> None:
    settled.buy()
    deliver_all_but(settled, "charge.succeeded", "charge.updated")
    run = reconcile()
    assert run.differences == {Kind.PAYMENT_DIFFERS: 1}
    fixing.fix(run, Actor.cli("rita"), lambda said: None)
    assert BillingPayment.objects.count() == 3
    assert reconcile().differences == {}


def test_a_full_run_looks_at_every_customer_few_or_many(
    settled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at those whom no subscription brings along; a deleted one is no difference."""
    form = {"name": "Ida", "email": "ida@example.com"}
    made = [settled.sandbox.post("/v1/customers", form).json()["id"] for _ in range(6)]
    settled.sandbox.request("DELETE", f"/v1/customers/{made[0]}").raise_for_status()
    settled.deliver()
    with acting_as("test"):
        BillingCustomer.objects.filter(stripe_customer_id__in=made[1:]).update(name="Otto")
    one_by_one = reconcile("full")
    assert one_by_one.differences == {Kind.CUSTOMER_DIFFERS: 5}
    assert "customer" not in one_by_one.counts
    monkeypatch.setattr(lists, "PAGE_SIZE", 2)  # of at most 3 customers it asks one by one
    listed = reconcile("full")
    assert listed.differences == {Kind.CUSTOMER_DIFFERS: 5}
    customers = listed.counts["customer"]
    assert (customers["differs"], customers["missing"], customers["only_here"]) == (5, 0, 0)


def test_what_happened_before_we_were_there_was_not_lost(shop: Shop) -> None:
    """A back office beside a shop that has sold for long: its books come by a sync."""
    shop.buy()
    sync_everything(actor="rita")
    assert reconcile().counts["event"]["stripe"] == 0
    subscribed_since = events_of(shop.sandbox)
    time.sleep(1.1)  # Stripe's times are whole seconds
    shop.buy(email="bob@example.com", user_id="u_bob")
    deliver_and_drain(e for e in events_of(shop.sandbox) if e not in subscribed_since)
    run = reconcile()
    assert run.differences == {}
    assert run.counts["event"]["stripe"] == run.counts["event"]["here"] > 3


def test_money_is_complete_where_what_was_charged_is_here_and_is_counted_once() -> None:
    none = {"missing": 0, "differs": 0}
    usd = {"amounts": {"usd": {"stripe": 8000, "here": 8000}}}
    charged = {"usd": {"stripe": 8000, "here": 6000}, "eur": {"stripe": 0, "here": 500}}
    counts = {
        "invoice": {"stripe": 3, **none, **usd},
        "charge": {"stripe": 4, "missing": 1, "differs": 0, "amounts": charged},
        "refund": {"stripe": 1, **none, **usd},
    }
    assert runs.completeness(counts) == {
        "count": {"stripe": 8, "here": 7, "share": 0.875},
        "money": {
            "usd": {"stripe": 8000, "here": 6000, "share": 0.75},
            "eur": {"stripe": 0, "here": 500, "share": 0.0},
        },
    }
    assert runs.completeness({})["count"]["share"] == 1


def test_a_weekly_run_reports_usage_and_revenue(settled: Shop) -> None:
    run = reconcile("weekly")
    assert run.differences == {}
    [row] = run.report["revenue"]["collected"]
    assert (row["currency"], row["charges"], row["remainder"]) == ("usd", 7400, 0)
    assert run.report["usage"]["totals"]["credits"] == 0
    # Its first day is a whole one; today is not over.
    begun = datetime.fromisoformat(run.report["revenue"]["since"])
    assert begun == midnight(run.until.date() - timedelta(days=7), ZoneInfo("UTC"))
    assert run.since is not None
    assert run.since <= begun
    assert run.measures["clearing"]["count"]["share"] == 1
    assert run.measures["timeliness"]["events"] > 10


def test_the_oldest_of_many_is_found_too(settled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's facts hold the newest rows, and those that look different, however old."""
    lost = settled.buy()["checkout_session"]
    deliver_all_but(settled, "checkout.session.completed")
    time.sleep(1.1)
    for _ in range(3):
        settled.buy()
    deliver_and_drain(e for e in events_of(settled.sandbox) if e["data"]["object"]["id"] != lost)
    monkeypatch.setattr("billing.diagnosis.facts.MOST", 2)
    assert reconcile().differences == {Kind.PACK_NOT_GRANTED: 1}
    assert FindingRecord.objects.get().subject == lost


def test_nobody_s_failed_event_is_still_so_when_looked_at_again(settled: Shop) -> None:
    """Its customer is unknown here: what the event is about leads to it."""
    event = next(e for e in events_of(settled.sandbox) if e["type"] == "charge.succeeded")
    InboxEvent.objects.filter(stripe_event_id=event["id"]).update(status="dead", customer_id="")
    BillingPayment.objects.all().delete()
    record = FindingRecord.objects.create(
        kind=Kind.EVENT_FAILED, subject=event["id"], severity="money", rank=1, verdict="It failed."
    )
    assert look_again(record)
    InboxEvent.objects.update(status="processed")
    assert not look_again(record)


def test_an_event_that_was_processed_meanwhile_is_on_its_way(settled: Shop) -> None:
    """Our row may be newer by now than what Stripe answered before."""
    charge = BillingPayment.objects.first()
    assert charge is not None
    earlier = timezone.now() - timedelta(minutes=5)
    assert charge.stripe_charge_id in in_flight(gateway(), earlier, begun=earlier)
    assert charge.stripe_charge_id not in in_flight(gateway(), earlier, begun=timezone.now())
