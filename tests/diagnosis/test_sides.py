"""Stripe, ours and after a sync, field by field, and the event that should have made them alike."""

import pytest
from django.apps import apps
from django.db import connection
from pytest_django import Settings

from billing.diagnosis.sides import NOT_HERE, UNKNOWN, USER, Kind, Side, Sides, sides_of
from billing.models import BillingInvoice, BillingSubscription, InboxEvent
from billing.operations.sync import SyncFromStripe
from tests.admin import rows
from tests.diagnosis.planting import subscribed
from tests.operations.shop import BOB, Shop
from tests.support.events import deliver, events_of

pytestmark = pytest.mark.django_db
UPDATED = "customer.subscription.updated"


def by_sql(statement: str) -> None:
    """What somebody types into the database."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def field(sides: Sides, name: str) -> Side:
    [found] = [each for each in sides.fields if each.name == name]
    return found


def differing(sides: Sides) -> dict[str, tuple[str, str, str]]:
    """Stripe's, ours and after a sync, of the fields that are marked."""
    return {s.name: (s.stripe, s.ours, s.after) for s in sides.fields if s.differs}


def everything() -> dict[str, int]:
    """How many rows every table has."""
    return {m._meta.label: m._default_manager.count() for m in apps.get_models() if m._meta.managed}


def latest_invoice(sub: str) -> str:
    return BillingSubscription.objects.get(stripe_subscription_id=sub).latest_invoice_id


def test_what_agrees_is_said_to_agree(shop: Shop) -> None:
    """S3: one request, and nothing is marked."""
    sub = subscribed(shop)
    both: list[tuple[Kind, str]] = [("subscription", sub), ("invoice", latest_invoice(sub))]
    for kind, id_ in both:
        sides = sides_of(kind, id_)
        assert sides.verdict == "Stripe and we agree in every field."
        assert differing(sides) == {}
        assert all(each.ours == each.after for each in sides.fields)
        assert sides.api_calls == 1
    status = field(sides_of("subscription", sub), "status")
    assert (status.label, status.stripe, status.ours) == ("Status", "active", "active")


def test_every_kind_of_field_is_compared_in_words(shop: Shop) -> None:
    """S3, S4: texts, money, times, yes and no, numbers, and whose it is."""
    sub = subscribed(shop)
    by_sql(
        "UPDATE billing_subscriptions SET status = 'canceled', amount = 100, quantity = 3,"
        " cancel_at_period_end = true, current_period_end = NULL, user_id = 'u_other'"
    )
    found = differing(sides_of("subscription", sub))
    assert found["status"] == ("active", "canceled", "active")
    assert found["amount"] == ("29.00 USD", "1.00 USD", "29.00 USD")
    assert found["quantity"] == ("1", "3", "1")
    assert found["cancel_at_period_end"] == ("no", "yes", "no")
    assert found["current_period_end"][0].endswith("UTC")
    assert found["current_period_end"][1] == "none"
    assert found[USER][1:] == ("u_other", "u_ada")

    invoice = latest_invoice(sub)
    by_sql("UPDATE billing_invoices SET status = 'open', paid_at = NULL, amount_paid = 0")
    found = differing(sides_of("invoice", invoice))
    assert set(found) == {"status", "paid_at", "amount_paid"}
    assert found["amount_paid"] == ("29.00 USD", "0.00 USD", "29.00 USD")


def test_what_sql_changed_is_no_lost_event(shop: Shop) -> None:
    sub = subscribed(shop)
    by_sql("UPDATE billing_subscriptions SET status = 'canceled'")
    sides = sides_of("subscription", sub)
    assert sides.cause is None
    assert "1 field differs from Stripe. Every event about it" in sides.verdict
    assert "our row was changed since then" in sides.verdict


def test_an_event_that_never_arrived_is_named(shop: Shop) -> None:
    """W1, S1: the renewal failed, and the notice of it is lost."""
    sub = subscribed(shop)
    shop.sandbox.story("past_due", subscription=sub)
    sides = sides_of("subscription", sub)
    assert field(sides, "status").ours == "active"
    assert sides.cause is not None
    assert sides.cause.type == UPDATED
    assert sides.cause.event_id in {event["id"] for event in events_of(shop.sandbox)}
    assert f"{UPDATED} should have changed it: it never arrived." in sides.verdict
    assert [e.created_at for e in sides.events] == sorted(
        (e.created_at for e in sides.events), reverse=True
    )


def test_an_event_that_failed_is_named_with_its_error(shop: Shop) -> None:
    """W8: it came, and was given up."""
    sub = subscribed(shop)
    before = {event["id"] for event in events_of(shop.sandbox)}
    shop.sandbox.story("past_due", subscription=sub)
    deliver(event for event in events_of(shop.sandbox) if event["id"] not in before)
    InboxEvent.objects.filter(status="pending").update(status="dead", reason="The disk was full")
    sides = sides_of("subscription", sub)
    assert sides.cause is not None
    assert sides.cause.in_words == (
        "was received and failed until it was given up: The disk was full"
    )
    assert "The disk was full" in sides.verdict


def test_a_status_set_by_hand_is_said_to_differ_on_purpose(shop: Shop) -> None:
    sub = subscribed(shop)
    by_sql("UPDATE billing_subscriptions SET status = 'canceled'")
    rows.override(sub, status="canceled", status_before="active", reason="Fraud is looked into")
    sides = sides_of("subscription", sub)
    assert "Its status was set by hand." in sides.verdict
    assert "differs on purpose: erin set it to canceled by hand" in sides.by_hand
    assert "Fraud is looked into" in sides.by_hand
    assert field(sides, "status").after == "active"


def test_what_is_not_here_yet_is_shown_as_a_sync_would_bring_it(shop: Shop) -> None:
    """W7: the endpoint was down when she subscribed."""
    sub = str(shop.subscribe()["subscription"])
    sides = sides_of("subscription", sub)
    assert sides.verdict.startswith("The subscription is at Stripe and not here.")
    assert "never arrived" in sides.verdict
    status = field(sides, "status")
    assert (status.stripe, status.ours, status.after) == ("active", NOT_HERE, "active")
    assert sides.row_as_dict() == {}
    assert not BillingSubscription.objects.exists()


def test_what_stripe_does_not_know_is_said_so(shop: Shop) -> None:
    """Deleted, or of the other mode."""
    rows.invoice("in_gone")
    sides = sides_of("invoice", "in_gone")
    assert sides.is_unknown
    assert sides.verdict.startswith("Stripe knows no invoice in_gone in this account and mode")
    assert field(sides, "status").ours == "paid"
    assert {(each.stripe, each.after) for each in sides.fields} == {(UNKNOWN, UNKNOWN)}
    assert differing(sides) == {}


def test_a_silent_stripe_leaves_our_own_row(shop: Shop, settings: Settings) -> None:
    sub = subscribed(shop)
    shop.sandbox.control("faults", path="/v1/*", status=500)
    sides = sides_of("subscription", sub)
    assert sides.verdict.startswith("Stripe did not answer: Stripe could not be reached")
    assert field(sides, "status").ours == "active"
    assert sides.events
    settings.STRIPE_SECRET_KEY = ""
    assert "STRIPE_SECRET_KEY is not set" in sides_of("subscription", sub).verdict


def test_a_stripe_that_lists_no_events_is_compared_all_the_same(shop: Shop) -> None:
    sub = subscribed(shop)
    by_sql("UPDATE billing_subscriptions SET status = 'canceled'")
    shop.sandbox.control("faults", path="/v1/events", status=500)
    sides = sides_of("subscription", sub)
    assert differing(sides) == {"status": ("active", "canceled", "active")}
    assert "Stripe did not list its events" in sides.unsaid


def test_nothing_is_written_and_a_sync_does_what_was_shown(shop: Shop) -> None:
    """Looking changes no table; the sync makes of our row what the third column said."""
    sub = subscribed(shop)
    shop.sandbox.story("past_due", subscription=sub)
    new = str(shop.subscribe(user_id="u_bea", email="bea@example.com")["subscription"])
    before = everything()
    shown = sides_of("subscription", sub)
    sides_of("subscription", new)
    assert everything() == before
    assert BillingSubscription.objects.get(stripe_subscription_id=sub).status == "active"

    SyncFromStripe(kind="subscription", id=sub, **BOB).apply()
    synced = sides_of("subscription", sub)
    assert [each.ours for each in synced.fields] == [each.after for each in shown.fields]
    assert not synced.differs


def test_it_takes_the_same_few_requests_however_much_there_is(shop: Shop) -> None:
    sub = subscribed(shop)
    by_sql("UPDATE billing_subscriptions SET status = 'canceled'")
    first = sides_of("subscription", sub)
    for _ in range(6):
        shop.sandbox.story("renew", subscription=sub)
    assert sides_of("subscription", sub).api_calls == first.api_calls == 2
    newest = shop.at_stripe(sub)["latest_invoice"]
    assert not BillingInvoice.objects.filter(stripe_invoice_id=newest).exists()
    assert sides_of("invoice", newest).api_calls <= 4
