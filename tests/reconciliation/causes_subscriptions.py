"""Causes at subscriptions and invoices: their events are lost, or rows are restored."""

from datetime import timedelta

from django.utils import timezone

from billing.diagnosis.kinds import Kind
from billing.gateway.client import giving_up_on_silence
from billing.models import BillingSubscription
from billing.operations import approvals
from billing.operations.base import Actor
from billing.operations.overrides import OverrideStatus
from tests.operations.shop import BOB, record_of
from tests.reconciliation.town import Expected, Subscriber, Town, restore

A_YEAR = timedelta(days=365)
UPDATED = "customer.subscription.updated"
DELETED = "customer.subscription.deleted"
REPLAYS, SYNCS = "replay_events", "sync_from_stripe"


def paid_not_active(town: Town) -> Expected:
    """The renewal was paid late, and the notice that it is active again is lost."""
    who = town.subscriber()
    late = town.tell("past_due", subscription=who.subscription)
    town.bring()
    town.tell("pay_invoice", invoice=late["invoice"])
    return lost(town, who, Kind.PAID_NOT_ACTIVE)


def active_only_at_stripe(town: Town) -> Expected:
    """A row comes back from a backup of the wrong database."""
    who = town.subscriber()
    restore(
        "billing_subscriptions",
        "UPDATE billing_subscriptions SET status = 'canceled' WHERE stripe_subscription_id = %s",
        who.subscription,
    )
    return Expected(Kind.ACTIVE_ONLY_AT_STRIPE, who.subscription, SYNCS, who.user_id)


def active_only_here(town: Town) -> Expected:
    """They cancelled, and customer.subscription.deleted is lost."""
    who = town.subscriber()
    town.tell("cancel", subscription=who.subscription)
    return lost(town, who, Kind.ACTIVE_ONLY_HERE, DELETED)


def status_differs(town: Town) -> Expected:
    """A renewal is declined: the new period is told, and not that it is past due."""
    who = town.subscriber()
    town.tell("past_due", subscription=who.subscription)
    return lost(town, who, Kind.STATUS_DIFFERS)


def price_differs(town: Town) -> Expected:
    """In Stripe's dashboard somebody gives them another plan."""
    who = town.subscriber()
    [item] = town.at_stripe(f"subscriptions/{who.subscription}")["items"]["data"]
    change = {"items[0][id]": item["id"], "items[0][price]": town.unlock}
    town.post(f"subscriptions/{who.subscription}", proration_behavior="none", **change)
    return lost(town, who, Kind.PRICE_DIFFERS)


def period_differs(town: Town) -> Expected:
    """The renewal's invoice arrives, and the new period does not."""
    who = town.subscriber()
    town.tell("renew", subscription=who.subscription)
    return lost(town, who, Kind.PERIOD_DIFFERS)


def cancellation_differs(town: Town) -> Expected:
    """They cancel for the end of the period, and nobody here hears of it."""
    who = town.subscriber()
    town.tell("cancel", subscription=who.subscription, at_period_end=True)
    return lost(town, who, Kind.CANCELLATION_DIFFERS)


def subscription_differs(town: Town) -> Expected:
    """Collection is paused in the dashboard."""
    who = town.subscriber()
    town.tell("pause", subscription=who.subscription, collection=True)
    return lost(town, who, Kind.SUBSCRIPTION_DIFFERS)


def lost(town: Town, who: Subscriber, kind: Kind, type_: str = UPDATED) -> Expected:
    """The one event that tells of it never comes; all others do."""
    town.lose_newest(type_)
    return Expected(kind, who.subscription, REPLAYS, who.user_id)


def subscription_unattributed(town: Town) -> Expected:
    """Somebody whom nobody knows subscribes to a plan that brings no credits."""
    email = f"stranger{town.number()}@example.com"
    bought = town.tell("subscribe", email=email, price=town.unlock, attributed=False)
    town.bring()
    return Expected(
        Kind.SUBSCRIPTION_UNATTRIBUTED, bought["subscription"], None, bought["customer"]
    )


def override_in_force(town: Town) -> Expected:
    """While Stripe is away two people answer for a status."""
    who = town.subscriber()
    town.tell("past_due", subscription=who.subscription)
    town.bring()
    path = f"/v1/subscriptions/{who.subscription}"
    with town.fault(path=path, reset=True), giving_up_on_silence():
        operation = OverrideStatus(
            subscription_id=who.subscription, status="active", hours=24, **BOB
        )
        operation.apply()
        approvals.approve(record_of(operation.key), actor=Actor.cli("carol"), words="By wire")
    return Expected(Kind.OVERRIDE_IN_FORCE, who.subscription, "end_override", who.user_id)


def invoice_differs(town: Town) -> Expected:
    """The row of a new invoice comes back from a backup, as it was before it was paid."""
    who = town.subscriber()
    renewed = town.tell("renew", subscription=who.subscription)
    town.bring()
    restore(
        "billing_invoices",
        "UPDATE billing_invoices SET status = 'open', amount_paid = 0, paid_at = NULL,"
        " amount_remaining = amount_due WHERE stripe_invoice_id = %s",
        renewed["invoice"],
    )
    return Expected(Kind.INVOICE_DIFFERS, renewed["invoice"], SYNCS, who.user_id)


def invoice_whose_retry_ended(town: Town) -> Expected:
    """They cancel while they owe, so that Stripe does not try again: invoice.updated is lost."""
    who = town.subscriber()
    told = town.tell("past_due", subscription=who.subscription)
    town.bring()
    town.tell("cancel", subscription=who.subscription)
    [_] = town.lose("invoice.updated")
    return Expected(Kind.INVOICE_DIFFERS, told["invoice"], REPLAYS, who.user_id)


def invoice_of_which_nothing_came(town: Town) -> Expected:
    """A bill is written and paid, and every event about it is lost."""
    user, customer = town.newcomer()
    town.bring()
    invoice = paid_bill(town, customer)
    town.lose(*{f"invoice.{verb}" for verb in INVOICE_EVENTS})
    return Expected(Kind.INVOICE_DIFFERS, invoice, REPLAYS, user)


INVOICE_EVENTS = ("created", "updated", "finalized", "paid", "payment_succeeded")


def paid_bill(town: Town, customer: str) -> str:
    """An invoice over 50.00 USD that is none for a subscription, paid by card."""
    made = town.post("invoices", customer=customer, auto_advance="false")["id"]
    item = {"amount": 5000, "currency": "usd", "description": "Leads"}
    town.post("invoiceitems", customer=customer, invoice=made, **item)
    town.post(f"invoices/{made}/pay")
    return str(made)


def unknown_subscription(town: Town) -> Expected:
    """A backup of the staging system is restored into this one: one row of it stays."""
    who, unknown = town.subscriber(), f"sub_Staging{town.number():06d}"
    restore(
        "billing_subscriptions",
        "INSERT INTO billing_subscriptions (user_id, stripe_customer_id, stripe_subscription_id,"
        " status, created_at, ended_at) VALUES (%s, %s, %s, 'canceled', %s, %s)",
        who.user_id,
        who.customer,
        unknown,
        timezone.now() - A_YEAR,
        timezone.now() - A_YEAR,
    )
    assert BillingSubscription.objects.filter(stripe_subscription_id=unknown).exists()
    return Expected(Kind.UNKNOWN_AT_STRIPE, unknown, None, who.user_id)
