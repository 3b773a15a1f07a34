"""Events that never came, failed, wait or were set aside (W4, W5, W7, R2)."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from billing.diagnosis.examination import findings
from billing.diagnosis.facts import Person, gather
from billing.diagnosis.findings import Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingPayment, InboxEvent
from billing.operations.sync import SyncFromStripe
from tests.diagnosis.planting import fix, found, is_named, kinds, report_on, said, subscribed
from tests.operations.shop import BOB, Shop
from tests.sandbox.storefront import Storefront
from tests.support.events import Event, deliver, deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
UPDATED = "customer.subscription.updated"
OLD = "2020-08-27"  # an API version whose payload is not read: the object is fetched
REFUSED = {"path": "/v1/subscriptions/*", "status": 400}
AWAY = {"path": "/v1/subscriptions/*", "status": 500}


def latest(shop: Shop, type_: str = UPDATED) -> Event:
    return next(e for e in reversed(events_of(shop.sandbox)) if e["type"] == type_)


def fails(shop: Shop, fault: dict[str, object]) -> str:
    """The event of a scheduled cancellation comes while Stripe's API has a fault; its id."""
    shop.sandbox.story("cancel", subscription=subscribed(shop), at_period_end=True)
    event = latest(shop)
    shop.sandbox.control("faults", **fault)
    deliver_and_drain([{**event, "api_version": OLD}])
    shop.sandbox.control("faults", "DELETE")
    return str(event["id"])


def found_after(minutes: int) -> list[Finding]:
    """What our own rows say of u_ada when so many minutes have passed."""
    now = timezone.now() + timedelta(minutes=minutes)
    return findings(gather(Person.of_user("u_ada"), now=now))


def test_received_and_given_up(shop: Shop) -> None:
    """W4, W5: what it should have brought was synced meanwhile, and it is still dead."""
    event = fails(shop, REFUSED)
    sub = InboxEvent.objects.get(stripe_event_id=event).object_id
    SyncFromStripe(kind="subscription", id=sub, **BOB).apply()
    finding = found("u_ada", Kind.EVENT_FAILED)
    assert (finding.subject, finding.severity) == (event, Severity.MONEY)
    assert f"{UPDATED} was received and failed 1 time:" in finding.verdict
    assert "It was given up" in finding.verdict
    assert f"Event: {UPDATED} {event}" in said(finding)
    assert f"About: {sub} {sub}" in said(finding)
    assert finding.fix == Fix("replay_events", {"event_ids": [event]})
    fix(finding)
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]


def test_received_and_tried_again_by_itself(shop: Shop) -> None:
    """W5: Stripe's API was away for a moment; nobody has to wait for the next try."""
    event = fails(shop, AWAY)
    [finding] = report_on("u_ada", ask_stripe=False).findings
    assert (finding.kind, finding.subject) == (Kind.EVENT_FAILED, event)
    assert "It is tried again by itself" in finding.verdict
    fix(finding)
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]


def test_the_cause_of_another_finding_is_not_told_twice(shop: Shop) -> None:
    event = fails(shop, REFUSED)
    [finding] = report_on("u_ada").findings
    assert finding.kind == Kind.CANCELLATION_DIFFERS
    assert event in finding.events


def test_received_and_no_worker_runs(shop: Shop) -> None:
    """W5: after five minutes it is no longer normal."""
    shop.sandbox.story("cancel", subscription=subscribed(shop), at_period_end=True)
    event = latest(shop)
    deliver([event])
    assert found_after(minutes=4) == []
    [finding] = found_after(minutes=6)
    assert (finding.kind, finding.severity) == (Kind.EVENT_WAITING, Severity.WARNING)
    assert finding.subject == event["id"]
    assert "no worker has taken it" in finding.verdict
    assert finding.fix == Fix("replay_events", {"event_ids": [event["id"]]})
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        is_named("u_ada", finding, ask_stripe=False)
    fix(finding)
    assert [each.kind for each in found_after(minutes=6)] == [Kind.CANCELLATION_SCHEDULED]


def test_set_aside_while_the_mode_was_the_wrong_one(shop: Shop, settings: Settings) -> None:
    """W5: the back office was set to live mode for an hour; the customer is synced after."""
    sub = subscribed(shop)
    shop.sandbox.story("cancel", subscription=sub, at_period_end=True)
    event = latest(shop)
    settings.STRIPE_LIVE_MODE = True
    deliver_and_drain([event])
    [finding] = report_on("u_ada", ask_stripe=False).findings
    assert finding.fix is None
    assert "unless the endpoint or the key is the wrong one" in finding.verdict

    settings.STRIPE_LIVE_MODE = False
    [finding] = report_on("u_ada", ask_stripe=False).findings
    assert (finding.kind, finding.severity) == (Kind.EVENT_SET_ASIDE, Severity.WARNING)
    assert finding.subject == event["id"]
    assert f"{UPDATED} was received and set aside: It is from test mode" in finding.verdict
    assert "By now this is the right mode" in finding.verdict
    customer = shop.at_stripe(sub)["customer"]
    assert finding.fix == Fix("sync_from_stripe", {"kind": "customer", "id": customer})

    differs = found("u_ada", Kind.CANCELLATION_DIFFERS)
    assert "was received and set aside" in differs.verdict
    assert differs.fix == Fix("sync_from_stripe", {"kind": "subscription", "id": sub})
    assert Kind.EVENT_SET_ASIDE not in kinds("u_ada")

    fix(finding)
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]


def test_set_aside_as_a_connected_account_s(shop: Shop) -> None:
    """W5: a replay would be refused, so that none is offered; the verdict says what to look at."""
    subscribed(shop)
    event = {**latest(shop), "id": "evt_theirs", "account": "acct_other"}
    deliver_and_drain([event])
    finding = found("u_ada", Kind.EVENT_SET_ASIDE)
    assert finding.subject == "evt_theirs"
    assert "connected account acct_other" in finding.verdict
    assert finding.fix is None
    assert found_after(minutes=60 * 24 * 8) == []


def test_never_received(shop: Shop) -> None:
    """W4, W7, R2: a refund that touches no credits, and whose events were all lost."""
    shopfront = Storefront(shop.sandbox)
    who = shopfront.customer(**{"metadata[user_id]": "u_ada"})
    invoice = shopfront.invoice(who)
    shopfront.post(f"/v1/invoices/{invoice['id']}/pay")
    shop.deliver()
    assert kinds("u_ada") == []
    charge = BillingPayment.objects.get()
    shop.sandbox.story("refund", charge=charge.stripe_charge_id)
    lost = {latest(shop, type_)["id"] for type_ in ("refund.created", "charge.refunded")}

    report = report_on("u_ada")
    assert {finding.kind for finding in report.findings} == {Kind.EVENT_NOT_RECEIVED}
    by_event = {finding.subject: finding for finding in report.findings}
    assert lost <= by_event.keys()
    for event, finding in by_event.items():
        is_named("u_ada", finding)
        assert finding.severity == Severity.MONEY
        assert "never arrived here" in finding.verdict
        assert charge.stripe_charge_id in said(finding)
        assert finding.fix == Fix("replay_events", {"event_ids": [event]})
    assert report_on("u_ada", ask_stripe=False).findings == []

    for finding in report.findings:
        fix(finding)
    charge.refresh_from_db()
    assert charge.amount_refunded == 5000
    assert kinds("u_ada") == []


def test_an_event_about_somebody_else_is_not_hers(shop: Shop) -> None:
    subscribed(shop)
    bob = shop.subscribe(user_id="u_bob", email="bob@example.com")
    shop.deliver()
    shop.sandbox.story("cancel", subscription=bob["subscription"])
    deliver([latest(shop, "customer.subscription.deleted")])
    assert kinds("u_ada") == found_after(minutes=10) == []


def test_nobody_answers_at_stripe_s_address(shop: Shop) -> None:
    """The report says so, and has what our own rows tell."""
    event = fails(shop, REFUSED)
    shop.sandbox.stop()
    report = report_on("u_ada")
    assert "Stripe could not be reached" in report.silence
    assert report.asked_at is None
    assert [finding.subject for finding in report.findings] == [event]
