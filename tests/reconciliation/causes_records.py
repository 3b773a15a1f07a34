"""Causes at customers, at events, and by raw SQL."""

from datetime import timedelta

from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from billing.diagnosis.kinds import Kind
from billing.models import BillingInvoice, InboxEvent, LeadClaim, acting_as
from billing.operations.sync import SyncFromStripe
from tests.operations.shop import BOB
from tests.reconciliation.causes_subscriptions import REPLAYS, SYNCS, UPDATED
from tests.reconciliation.town import OLD, Expected, Subscriber, Town, restore, run_sql
from tests.support.events import Event, deliver, deliver_and_drain


def noted(town: Town) -> tuple[Subscriber, Event]:
    """Somebody writes a note on a customer at Stripe: an event that changes nothing here."""
    who = town.subscriber()
    town.bring()
    town.post(f"customers/{who.customer}", **{"metadata[note]": "Called us"})
    [event] = town.world.new_events()
    return who, event


def event_not_received(town: Town) -> Expected:
    who, event = noted(town)
    town.world.lost.add(event["id"])
    return Expected(Kind.EVENT_NOT_RECEIVED, event["id"], REPLAYS, who.user_id)


def event_failed(town: Town) -> Expected:
    """What it should have brought is synced meanwhile, and it is still dead."""
    who = town.subscriber()
    town.tell("cancel", subscription=who.subscription, at_period_end=True)
    [event] = [each for each in town.world.new_events() if each["type"] == UPDATED]
    with town.fault(path=f"/v1/subscriptions/{who.subscription}", status=400):
        deliver_and_drain([{**event, "api_version": OLD}])
    SyncFromStripe(kind="subscription", id=who.subscription, **BOB).apply()
    return Expected(Kind.EVENT_FAILED, event["id"], REPLAYS, who.user_id)


def event_waiting(town: Town) -> Expected:
    """It came a quarter of an hour ago, and no worker has run since."""
    who, event = noted(town)
    deliver([event])
    town.world.waiting.add(event["id"])
    InboxEvent.objects.filter(stripe_event_id=event["id"]).update(
        received_at=timezone.now() - timedelta(minutes=15)
    )
    return Expected(Kind.EVENT_WAITING, event["id"], REPLAYS, who.user_id)


def event_set_aside(town: Town) -> Expected:
    """The back office was set to live mode for an hour."""
    who, event = noted(town)
    with override_settings(STRIPE_LIVE_MODE=True):
        deliver([event])
    return Expected(Kind.EVENT_SET_ASIDE, event["id"], SYNCS, who.user_id)


def event_unknown(town: Town) -> Expected:
    """Another account's webhook has our secret: it sends what Stripe does not list for us."""
    who, event = noted(town)
    foreign = {**event, "id": f"evt_Foreign{town.number():06d}"}
    town.world.take([event, foreign])
    return Expected(Kind.EVENT_UNKNOWN, foreign["id"], None, who.user_id)


def customer_deleted(town: Town) -> Expected:
    """In Stripe's dashboard somebody deletes a customer who has bought a pack."""
    user, customer, _ = town.buyer()
    town.world.sandbox.request("DELETE", f"/v1/customers/{customer}").raise_for_status()
    [_] = town.lose("customer.deleted")
    return Expected(Kind.CUSTOMER_DELETED, customer, REPLAYS, user)


def customer_unknown(town: Town) -> Expected:
    """A backup of the staging system is restored into this one: one row of it stays."""
    number = town.number()
    user, customer = f"u_staging_{number}", f"cus_Staging{number:06d}"
    restore(
        "billing_customers",
        "INSERT INTO billing_customers (user_id, email, stripe_customer_id, created_at)"
        " VALUES (%s, %s, %s, %s)",
        user,
        f"staging{number}@example.com",
        customer,
        timezone.now(),
    )
    return Expected(Kind.CUSTOMER_UNKNOWN, customer, None, user)


def customer_differs(town: Town) -> Expected:
    """They change their address in the portal, and nobody tells us."""
    who = town.subscriber()
    change = {"email": f"moved{town.number()}@example.com"}
    town.post(f"customers/{who.customer}", **change)
    [_] = town.lose("customer.updated")
    return Expected(Kind.CUSTOMER_DIFFERS, who.customer, REPLAYS, who.user_id)


def invoice_given_away(town: Town) -> Expected:
    """Somebody types another user into an invoice: whose it is Stripe cannot confirm."""
    who = town.subscriber()
    invoice = BillingInvoice.objects.filter(stripe_customer_id=who.customer).latest("id")
    run_sql(
        "UPDATE billing_invoices SET user_id = %s WHERE id = %s",
        f"u_nobody_{town.number()}",
        invoice.pk,
    )
    return Expected(Kind.RAW_SQL, invoice.stripe_invoice_id, SYNCS, who.user_id)


def deleted_claim(town: Town) -> Expected:
    """Somebody deletes the claim of a lead that was paid for."""
    who = town.subscriber()
    with transaction.atomic(), acting_as("marketplace"):
        claim = LeadClaim.objects.create(user_id=who.user_id, lead_id="lead_8", credits_spent=4)
    run_sql("DELETE FROM lead_claims WHERE id = %s", claim.pk)
    return Expected(Kind.RAW_SQL, f"claim:{claim.pk}", None, who.user_id)
