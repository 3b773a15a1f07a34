"""Subscriptions that are not here as Stripe has them, nobody's ones, too many, and past due."""

import pytest
from django.db import connection

from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import BillingInvoice, BillingPayment, BillingSubscription, InboxEvent
from tests.diagnosis.planting import deliver_all_but, fix, found, kinds, report_on, said, subscribed
from tests.operations.shop import Shop, balance, status_here
from tests.sandbox.storefront import Storefront
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
SYNCS = "sync_from_stripe"
REPLAYS = "replay_events"
CREATED, UPDATED, DELETED = (
    f"customer.subscription.{each}" for each in ("created", "updated", "deleted")
)


def test_a_subscriber_of_many_months_has_no_finding(shop: Shop) -> None:
    sub = str(shop.subscribe()["subscription"])
    for _ in range(4):
        shop.sandbox.story("renew", subscription=sub)
    shop.deliver()
    assert report_on("u_ada").findings == []
    assert report_on("u_ada", ask_stripe=False).findings == []


def test_paid_and_its_event_never_came(shop: Shop) -> None:
    """W1, F9, P1: the renewal was paid late, and the notice that it is active again is lost."""
    sub = subscribed(shop)
    late = shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    before = {event["id"] for event in events_of(shop.sandbox)}
    shop.sandbox.story("pay_invoice", invoice=late["invoice"])
    deliver_all_but(shop, UPDATED)
    missed = [e for e in events_of(shop.sandbox) if e["id"] not in before and e["type"] == UPDATED]

    finding = found("u_ada", Kind.PAID_NOT_ACTIVE)
    assert (finding.subject, finding.severity) == (sub, Severity.ACCESS)
    assert (finding.amount, finding.currency) == (2900, "usd")
    assert finding.verdict.startswith(
        "They paid, Stripe says active, and here the subscription is past_due."
    )
    assert "customer.subscription.updated never arrived." in finding.verdict
    assert "Status: active at Stripe, past_due here" in said(finding)
    assert missed[-1]["id"] in said(finding)
    assert finding.fix is not None
    assert finding.fix.as_dict() == {
        "operation": REPLAYS,
        "params": {"event_ids": [missed[-1]["id"]]},
    }
    assert "sub_" not in finding.for_customer
    assert kinds("u_ada") == [Kind.PAID_NOT_ACTIVE]

    fix(finding)
    assert status_here(sub) == "active"
    assert kinds("u_ada") == []


def test_paid_and_nothing_of_it_is_here(shop: Shop) -> None:
    """W1, W7: the endpoint was down while Ada subscribed; support has only her customer's id."""
    bought = shop.subscribe()
    finding = found(bought["customer"], Kind.PAID_NOT_ACTIVE)
    assert finding.subject == bought["subscription"]
    assert finding.verdict.startswith(
        "They paid, Stripe says active, and here the subscription is not here."
    )
    assert "never arrived" in finding.verdict
    assert shop.event_of(CREATED) in finding.events
    assert finding.fix is not None
    assert finding.fix.operation == REPLAYS
    assert set(finding.fix.params["event_ids"]) == finding.events
    fix(finding)
    assert status_here(bought["subscription"]) == "active"
    assert Kind.PAID_NOT_ACTIVE not in kinds(bought["customer"])


def test_the_first_payment_came_late_and_its_event_never(shop: Shop) -> None:
    """S1: incomplete here, paid at Stripe."""
    customer = Storefront(shop.sandbox).customer(**{"metadata[user_id]": "u_ada"})
    made = shop.sandbox.post(
        "/v1/subscriptions",
        {
            "customer": customer,
            "items[0][price]": shop.plan,
            "payment_behavior": "default_incomplete",
        },
    ).json()
    shop.deliver()
    assert status_here(made["id"]) == "incomplete"
    shop.sandbox.story("pay_invoice", invoice=made["latest_invoice"])
    finding = found("u_ada", Kind.PAID_NOT_ACTIVE)
    assert finding.subject == made["id"]
    assert "Status: active at Stripe, incomplete here" in said(finding)
    fix(finding)
    assert status_here(made["id"]) == "active"
    assert Kind.PAID_NOT_ACTIVE not in kinds("u_ada")


def test_without_stripe_our_own_rows_prove_that_it_is_paid(shop: Shop) -> None:
    """P1: Stripe is down, too, and the paid invoice is here beside a past due subscription."""
    sub = subscribed(shop)
    late = shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    shop.sandbox.story("pay_invoice", invoice=late["invoice"])
    deliver_all_but(shop, UPDATED)
    shop.sandbox.control("faults", path="/v1/*", status=500)

    report = report_on("u_ada")
    assert "Stripe" in report.silence
    [finding] = report.findings
    assert (finding.kind, finding.severity) == (Kind.PAID_NOT_ACTIVE, Severity.ACCESS)
    assert (
        finding.verdict
        == "The latest invoice is paid, and the subscription is still past_due here."
    )
    assert late["invoice"] in said(finding)
    assert finding.fix == Fix(SYNCS, {"kind": "subscription", "id": sub})

    shop.sandbox.control("faults", "DELETE")
    fix(finding)
    assert kinds("u_ada") == []


def test_an_invoice_that_is_not_here_yet_proves_nothing(shop: Shop) -> None:
    """Of an unpaid renewal only the subscription's event came: the old paid invoice is no proof."""
    sub = subscribed(shop)
    shop.sandbox.story("past_due", subscription=sub)
    events = [event for event in events_of(shop.sandbox) if event["type"] == UPDATED]
    deliver_and_drain(events)
    assert status_here(sub) == "past_due"
    assert BillingInvoice.objects.count() == 1
    assert Kind.PAID_NOT_ACTIVE not in kinds("u_ada", ask_stripe=False)
    assert Kind.PAID_NOT_ACTIVE not in kinds("u_ada")


def test_active_at_stripe_and_canceled_here(shop: Shop) -> None:
    """S1, S4: somebody's script took the row for one that had ended."""
    sub = subscribed(shop)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_subscriptions SET status = 'canceled'")
    finding = found("u_ada", Kind.ACTIVE_ONLY_AT_STRIPE)
    assert (finding.subject, finding.severity) == (sub, Severity.ACCESS)
    assert finding.verdict == "Stripe says active, and here the subscription is canceled."
    assert finding.fix == Fix(SYNCS, {"kind": "subscription", "id": sub})
    assert "showed it as cancelled" in finding.for_customer
    assert kinds("u_ada") == [Kind.ACTIVE_ONLY_AT_STRIPE, Kind.RAW_SQL]
    fix(finding)
    assert status_here(sub) == "active"
    assert kinds("u_ada") == []


def test_active_here_and_canceled_at_stripe(shop: Shop) -> None:
    """S4: they cancelled, and customer.subscription.deleted was lost."""
    sub = subscribed(shop)
    shop.sandbox.story("cancel", subscription=sub)
    finding = found("u_ada", Kind.ACTIVE_ONLY_HERE)
    assert (finding.subject, finding.severity) == (sub, Severity.ACCESS)
    assert "Here the subscription is active, and Stripe says canceled." in finding.verdict
    assert "customer.subscription.deleted never arrived." in finding.verdict
    assert finding.fix == Fix(REPLAYS, {"event_ids": [shop.event_of(DELETED)]})
    fix(finding)
    assert status_here(sub) == "canceled"
    assert kinds("u_ada") == [Kind.CANCELED_BY_CUSTOMER]


# Of each: what happens at Stripe, the evidence, and what is found once it is here as well.
LOST = {
    Kind.STATUS_DIFFERS: (
        lambda shop, sub: shop.sandbox.story("past_due", subscription=sub),
        "Status: past_due at Stripe, active here",
        Severity.ACCESS,
    ),
    Kind.PRICE_DIFFERS: (
        lambda shop, sub: upgrade(shop, sub),
        "Amount: 99.00 USD at Stripe, 29.00 USD here",
        Severity.MONEY,
    ),
    Kind.PERIOD_DIFFERS: (
        lambda shop, sub: shop.sandbox.story("renew", subscription=sub),
        "Current period end: ",
        Severity.ACCESS,
    ),
    Kind.CANCELLATION_DIFFERS: (
        lambda shop, sub: shop.sandbox.story("cancel", subscription=sub, at_period_end=True),
        "Cancel at period end: yes at Stripe, no here",
        Severity.WARNING,
    ),
    Kind.SUBSCRIPTION_DIFFERS: (
        lambda shop, sub: shop.sandbox.story("pause", subscription=sub, collection=True),
        "Collection paused: yes at Stripe, no here",
        Severity.WARNING,
    ),
}


def upgrade(shop: Shop, sub: str) -> None:
    """In Stripe's dashboard somebody gives them a bigger plan."""
    bigger = Storefront(shop.sandbox).bigger
    item = shop.at_stripe(sub)["items"]["data"][0]["id"]
    change = {"items[0][id]": item, "items[0][price]": bigger, "proration_behavior": "none"}
    shop.sandbox.post(f"/v1/subscriptions/{sub}", change).raise_for_status()


@pytest.mark.parametrize("kind", LOST)
def test_a_change_whose_event_was_lost(shop: Shop, kind: Kind) -> None:
    """W3, S4: one finding says what Stripe has otherwise, and which event should have told."""
    happens, evidence, severity = LOST[kind]
    sub = subscribed(shop)
    happens(shop, sub)
    deliver_all_but(shop, UPDATED)
    lost = shop.event_of(UPDATED)

    finding = found("u_ada", kind)
    assert (finding.subject, finding.severity) == (sub, severity)
    assert evidence in said(finding)
    assert "customer.subscription.updated never arrived." in finding.verdict
    assert lost in finding.events
    assert finding.fix is not None
    assert finding.fix.operation == REPLAYS
    assert finding.fix.params["event_ids"][-1] == lost  # all that was lost, the oldest first
    others = [f for f in report_on("u_ada").findings if f.subject == sub and f != finding]
    assert others == []

    fix(finding)
    left = kinds("u_ada")
    assert not DIFFERING & set(left)
    assert Kind.EVENT_NOT_RECEIVED not in left


def test_an_event_that_failed_is_named_as_the_cause(shop: Shop) -> None:
    """W4: it was received, could not be processed, and is replayed once Stripe answers again."""
    sub = subscribed(shop)
    shop.sandbox.story("cancel", subscription=sub, at_period_end=True)
    [event] = [e for e in events_of(shop.sandbox) if e["type"] == UPDATED][-1:]
    shop.sandbox.control("faults", path="/v1/subscriptions/*", status=400)
    deliver_and_drain([{**event, "api_version": "2020-08-27"}])
    shop.sandbox.control("faults", "DELETE")
    assert InboxEvent.objects.get(stripe_event_id=event["id"]).status == "dead"

    finding = found("u_ada", Kind.CANCELLATION_DIFFERS)
    assert "was received and failed until it was given up" in finding.verdict
    assert finding.events == {event["id"]}
    assert Kind.EVENT_FAILED not in kinds("u_ada")
    fix(finding)
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]


DIFFERING = {
    Kind.PAID_NOT_ACTIVE,
    Kind.ACTIVE_ONLY_AT_STRIPE,
    Kind.ACTIVE_ONLY_HERE,
    Kind.STATUS_DIFFERS,
    Kind.PRICE_DIFFERS,
    Kind.PERIOD_DIFFERS,
    Kind.CANCELLATION_DIFFERS,
    Kind.SUBSCRIPTION_DIFFERS,
}


def test_what_is_unpaid_at_stripe_is_not_called_ended(shop: Shop) -> None:
    """S4: Stripe gave up on the renewal; the customer is not told that it is over."""
    sub = subscribed(shop)
    shop.sandbox.story("unpaid", subscription=sub)
    finding = found("u_ada", Kind.ACTIVE_ONLY_HERE)
    assert "Stripe says unpaid" in finding.verdict
    assert "ended" not in finding.for_customer
    fix(finding)
    assert status_here(sub) == "unpaid"
    assert Kind.ACTIVE_ONLY_HERE not in kinds("u_ada")


def test_a_subscription_of_nobody_is_given_to_the_one_user_with_its_email(shop: Shop) -> None:
    """S3: Ada paid with a new customer, and the session named nobody."""
    subscribed(shop)
    bought = shop.subscribe(attributed=False)
    shop.deliver()
    finding = found(bought["customer"], Kind.SUBSCRIPTION_UNATTRIBUTED)
    assert (finding.subject, finding.severity) == (bought["subscription"], Severity.ACCESS)
    assert "Same email: user u_ada" in said(finding)
    assert "make sure that it is the same person" in finding.verdict
    assert finding.fix == Fix(
        "attribute_payment", {"purchase_id": bought["invoice"], "user_id": "u_ada"}
    )
    fix(finding)
    assert Kind.SUBSCRIPTION_UNATTRIBUTED not in kinds(bought["customer"])
    assert BillingSubscription.objects.filter(user_id="u_ada").count() == 2
    assert balance("u_ada") == (40, 0)


def test_of_two_users_with_its_email_none_is_proposed(shop: Shop) -> None:
    """A guess would give Ada's credits to a stranger."""
    shop.subscribe()
    shop.subscribe(user_id="u_ada2")
    bought = shop.subscribe(attributed=False)
    shop.deliver()
    finding = found(bought["customer"], Kind.SUBSCRIPTION_UNATTRIBUTED)
    assert finding.fix is None
    assert "Ask them for the account that they use here" in finding.verdict
    assert "u_ada" not in said(finding) + finding.verdict + finding.for_customer


def test_two_live_subscriptions_and_the_newest_is_ended(shop: Shop) -> None:
    """The redirect came before the webhook, so Ada subscribed once more."""
    first = shop.subscribe()
    shop.deliver()
    second = shop.subscribe(customer=first["customer"])
    shop.deliver()
    finding = found("u_ada", Kind.SEVERAL_SUBSCRIPTIONS)
    assert finding.severity == Severity.MONEY
    assert finding.verdict.startswith("They have 2 live subscriptions and pay for each.")
    assert first["subscription"] in said(finding)
    assert second["subscription"] in said(finding)
    assert finding.fix == Fix("cancel_at_period_end", {"subscription_id": second["subscription"]})
    assert (finding.amount, finding.currency) == (2900, "usd")

    fix(finding)
    assert Kind.SEVERAL_SUBSCRIPTIONS not in kinds("u_ada")
    assert shop.at_stripe(second["subscription"])["cancel_at_period_end"] is True


def test_one_that_is_ending_does_not_count(shop: Shop) -> None:
    """The customer has seen it and cancelled one of the two in the portal."""
    first = shop.subscribe()
    shop.subscribe(customer=first["customer"])
    shop.sandbox.story("cancel", subscription=first["subscription"], at_period_end=True)
    shop.deliver()
    assert kinds("u_ada") == [Kind.CANCELLATION_SCHEDULED]


def late(shop: Shop) -> dict[str, str]:
    """Ada's renewal was declined, and the back office knows it."""
    told: dict[str, str] = shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.deliver()
    return told


def test_past_due_with_the_bank_s_reason_and_a_link_to_the_portal(shop: Shop) -> None:
    """F3, F6: the same card would fail again, so that the customer gives another one."""
    told = late(shop)
    finding = found("u_ada", Kind.PAST_DUE)
    assert (finding.subject, finding.severity) == (told["subscription"], Severity.ACCESS)
    assert "29.00 USD of the renewal is not paid after 1 attempt" in finding.verdict
    assert "insufficient funds" in finding.verdict
    assert told["invoice"] in said(finding)
    assert "Declined: " in said(finding)
    assert (finding.amount, finding.currency) == (2900, "usd")
    assert "29.00 USD" in finding.for_customer
    assert "Manage Billing" in finding.for_customer
    assert finding.fix == Fix("create_portal_link", {"customer": told["customer"]})
    assert kinds("u_ada") == [Kind.PAST_DUE]
    assert kinds("u_ada", ask_stripe=False) == [Kind.PAST_DUE]

    link = fix(finding).once
    ada = Storefront(shop.sandbox)
    ada.follow(f"{link}/methods", method="pm_card_mastercard")
    shop.deliver()

    finding = found("u_ada", Kind.PAST_DUE)
    assert finding.fix == Fix("pay_invoice", {"invoice_id": told["invoice"]})
    fix(finding)
    assert kinds("u_ada") == []
    assert balance("u_ada") == (40, 0)


def test_a_reason_that_would_help_a_thief_is_not_told_to_the_customer(shop: Shop) -> None:
    """Stripe asks to say no more than that the card was declined (stolen, lost, fraudulent)."""
    told = late(shop)
    BillingPayment.objects.filter(status="failed").update(
        decline_reason="stolen_card", failure_message="Your card was declined."
    )
    finding = found("u_ada", Kind.PAST_DUE)
    assert "stolen card" in finding.verdict
    assert "stolen" not in finding.for_customer
    assert "Your card was declined" in finding.for_customer
    assert told["invoice"] not in finding.for_customer


def test_many_objects_take_no_more_requests(shop: Shop) -> None:
    """One page of each list, and a few looks for events, whatever there is."""
    first = shop.subscribe()
    for _ in range(29):
        shop.subscribe(customer=first["customer"])
    report = report_on(first["customer"])
    assert not report.silence
    assert len([f for f in report.findings if f.kind == Kind.PAID_NOT_ACTIVE]) == 30
    assert 0 < report.api_calls <= 8
