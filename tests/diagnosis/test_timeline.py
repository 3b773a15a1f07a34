"""Everything that happened to a person: all of it, the newest first, a page at a time."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Person, gather
from billing.diagnosis.timeline import Entry, Kind, Place, timeline
from billing.ingress import worker
from billing.models import CreditEntry, InboxEvent, LeadClaim, acting_as
from billing.operations.credits import GrantCredits
from billing.operations.notes import AddNote
from billing.projection import ledger
from billing.projection.ledger import Entry as LedgerEntry
from tests.operations.shop import BOB, Shop
from tests.support.events import deliver, events_of


def of_ada(*kinds: str, **options: object) -> list[Entry]:
    return timeline(gather(Person.of_user("u_ada")), kinds=kinds, **options).entries  # type: ignore[arg-type]


@pytest.mark.django_db
def test_it_tells_what_happened_whatever_kind_it_is(shop: Shop) -> None:
    """F4, F5, S5, C5, C6: events, credits, claims, operations, notes and raw SQL in one list."""
    shop.subscribe()
    shop.deliver()
    GrantCredits(user_id="u_ada", amount=5, **BOB).apply()
    AddNote(about="u_ada", text="She called <b>twice</b>", **BOB).apply()
    with acting_as("marketplace"):
        LeadClaim.objects.create(
            user_id="u_ada", lead_id="lead_7", status="failed", failure_reason="Gone"
        )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_invoices SET number = 'X-1'")
        cursor.execute(
            "INSERT INTO billing_events (type, payload) VALUES ('manual.credit_adjustment',"
            """ '{"user_id": "u_ada", "amount": 50, "admin": "admin-email"}')"""
        )

    everything = of_ada()
    assert {entry.place.kind for entry in everything} == {
        Kind.EVENT, Kind.LEDGER, Kind.CLAIM, Kind.OPERATION, Kind.NOTE, Kind.AUDIT,
    }  # fmt: skip
    assert [entry.place for entry in everything] == sorted(
        (entry.place for entry in everything), reverse=True
    )
    said = {entry.title: entry.detail for entry in everything}
    assert "processed" in said["invoice.paid"]
    assert said["Granted by hand: +5 credits, 25 then"] == "The customer called. By cli:bob."
    assert said["Lead lead_7 failed, 1 credits"] == "Gone"
    assert said["Grant credits, applied"].startswith("By cli:bob: The customer called.")
    assert said["Note by cli:bob"] == "She called <b>twice</b>"
    assert said["sql.billing_invoices.update"].startswith("By sql:")
    assert said["manual.credit_adjustment"].startswith("By sql:")  # the runbook's own statement
    assert all(entry.model for entry in everything)


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["at", "data"])
def test_columns_that_an_adopted_table_has_besides_are_not_taken_for_ours(
    shop: Shop, column: str
) -> None:
    shop.subscribe()
    shop.deliver()
    before = of_ada()
    with connection.cursor() as cursor:
        for table in ("billing_events", "lead_claims"):
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {column} text DEFAULT 'theirs'")
    assert of_ada() == before


@pytest.mark.django_db
def test_nobody_elses(shop: Shop) -> None:
    shop.subscribe()
    shop.buy(email="eve@example.com", user_id="u_eve")
    shop.deliver()
    mine, theirs = of_ada(), timeline(gather(Person.of_user("u_eve"))).entries
    assert theirs
    assert not {entry.place for entry in mine} & {entry.place for entry in theirs}
    assert timeline(gather(Person.of_user("nobody"))).entries == []


@pytest.mark.django_db
def test_it_is_read_page_by_page_without_a_gap_or_a_repetition(shop: Shop) -> None:
    """Also where a hundred things happened in the same second."""
    shop.subscribe()
    shop.deliver()
    moment = timezone.now()
    with acting_as("marketplace"):
        LeadClaim.objects.bulk_create(
            LeadClaim(user_id="u_ada", lead_id=f"lead_{n}", claimed_at=moment) for n in range(60)
        )
        for n in range(60):
            ledger.post([LedgerEntry("u_ada", 1, CreditEntry.Kind.GRANT, f"test:{n}")])
    facts = gather(Person.of_user("u_ada"))
    whole = timeline(facts, most=1000)
    assert whole.older is None
    for most in (7, 50):
        seen, before = [], None
        while True:
            page = timeline(facts, before=before, most=most)
            seen += page.entries
            if page.older is None:
                break
            before = Place.read(str(page.older))
        assert seen == whole.entries


@pytest.mark.django_db
def test_one_kind_is_shown_by_itself(shop: Shop) -> None:
    shop.subscribe()
    shop.deliver()
    assert {entry.place.kind for entry in of_ada(Kind.LEDGER)} == {Kind.LEDGER}
    assert {entry.place.kind for entry in of_ada(Kind.EVENT)} == {Kind.EVENT}
    assert of_ada(Kind.NOTE) == []


@pytest.mark.django_db
def test_deliveries_that_failed_came_late_or_never(shop: Shop) -> None:
    """W4: with the error, the delay, and what Stripe sent in vain."""
    subscribed = shop.subscribe()
    shop.deliver()
    InboxEvent.objects.filter(type="invoice.paid").update(
        received_at=timezone.now() + timedelta(hours=3)
    )
    [late] = [entry for entry in of_ada() if entry.title == "invoice.paid"]
    assert "It arrived 3 hours late." in late.detail
    assert late.tone == "warning"

    shop.sandbox.control("faults", path="/v1/checkout/sessions/*", status=403)
    bought = shop.buy(customer=subscribed["customer"])
    known = set(InboxEvent.objects.values_list("stripe_event_id", flat=True))
    deliver(event for event in events_of(shop.sandbox) if event["id"] not in known)
    worker.drain()
    shop.sandbox.control("faults", http="DELETE")
    [dead] = of_ada(Kind.DELIVERY)
    assert dead.title == "checkout.session.completed"
    assert "Dead, needs a person after" in dead.detail
    assert bought["checkout_session"]

    shop.buy(customer=subscribed["customer"])  # whose events Stripe sends in vain
    facts, _ = examine(Person.of_user("u_ada"), ask_stripe=True)
    lost = [entry for entry in timeline(facts, kinds=[Kind.DELIVERY]).entries if not entry.model]
    assert [entry.title for entry in lost] == ["checkout.session.completed"]
    assert "never arrived here" in lost[0].detail


@given(st.text(max_size=60))
def test_a_place_in_an_address_may_be_anything(text: str) -> None:
    place = Place.read(text)
    assert place is None or Place.read(str(place)) == place
