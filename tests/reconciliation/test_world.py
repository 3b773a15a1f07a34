"""The world itself: in order before anything is planted, and each seed is one difference."""

from collections.abc import Iterable
from random import Random
from typing import Any

from django.db import connection
from django.db.models import Model

from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Person
from billing.diagnosis.findings import Finding
from billing.diagnosis.kinds import RECONCILED, Kind
from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    InboxEvent,
    PaymentReversal,
    Purchase,
)
from billing.projection.purchases import is_paid_pack, is_paid_period
from billing.reconciliation.adopted import KINDS as OF_ADOPTED
from tests.diagnosis.planting import person_of
from tests.reconciliation.planting import CAUSES
from tests.reconciliation.town import Expected, Town
from tests.reconciliation.world import World, everything

SAMPLE = 25
# What no customer notices, or what a person's page does not list all of.
NEEDS_A_RUN = frozenset(
    {
        Kind.EVENT_NOT_RECEIVED,
        Kind.EVENT_UNKNOWN,
        Kind.PAYMENT_DIFFERS,
        Kind.PAYMENT_UNEXPLAINED,
        Kind.REVERSAL_DIFFERS,
    }
)


def ids(rows: Iterable[Any], name: str = "id") -> set[str]:
    return {row[name] for row in rows}


def column(model: type[Model], name: str, **wanted: Any) -> set[str]:
    return set(model._default_manager.filter(**wanted).values_list(name, flat=True))


def test_everything_is_in_order(small_world: World) -> None:
    """Identities of every kind, both ways; and everything that was paid was granted once."""
    listed = {
        path: list(everything(small_world.sandbox, f"/v1/{path}"))
        for path in ("invoices", "charges", "checkout/sessions", "refunds", "disputes", "events")
    }
    subscriptions = everything(small_world.sandbox, "/v1/subscriptions", status="all")
    assert ids(subscriptions) == column(BillingSubscription, "stripe_subscription_id")
    assert ids(listed["invoices"]) == column(BillingInvoice, "stripe_invoice_id")
    assert ids(listed["charges"]) == column(BillingPayment, "stripe_charge_id")
    reversals = ids(listed["refunds"]) | ids(listed["disputes"])
    assert reversals == column(PaymentReversal, "stripe_id")
    assert ids(listed["events"]) == column(InboxEvent, "stripe_event_id")
    bought = {each["id"] for each in listed["checkout/sessions"] if is_paid_pack(each)}
    bought |= {each["id"] for each in listed["invoices"] if is_paid_period(each)}
    assert bought == column(Purchase, "source", status="granted")
    assert not Purchase.objects.exclude(status="granted").exists()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lead_credits c JOIN (SELECT user_id, sum(delta) AS balance,"
            " sum(owed_delta) AS owed FROM credit_entries GROUP BY user_id) e USING (user_id)"
            " WHERE (c.balance, c.owed) <> (e.balance, e.owed)"
        )
        assert cursor.fetchone() == (0,)
    nobody_has_a_finding()


def nobody_has_a_finding() -> None:
    """Nor do the checks of a person's page say otherwise, of some."""
    everybody = list(BillingCustomer.objects.order_by("id"))
    for customer in Random(1).sample(everybody, SAMPLE):
        _, report = examine(Person.of_customer(customer), ask_stripe=True)
        assert not report.silence
        assert not [f for f in report.findings if f.kind in RECONCILED], customer


def differences_about(seed: Expected) -> list[Finding]:
    """What is found about the seed's person, the mere states of a customer left out."""
    if seed.who.startswith("cus_"):
        person = person_of(seed.who)
    else:
        person = Person.of_user(seed.who) if seed.who else Person(None, ())
    about = [] if seed.who else [seed.subject]
    _, report = examine(person, ask_stripe=True, about=about)
    assert not report.silence, report.silence
    return [finding for finding in report.findings if finding.kind in RECONCILED]


def brings(fix: str | None) -> str | None:
    """A sync and a replay are one thing: the page finds a lost event only where few came since."""
    return "replay_events" if fix == "sync_from_stripe" else fix


def test_each_seed_is_one_difference(small_world: World) -> None:
    """Of every cause one is planted; examining its person finds it, and nothing else."""
    town = Town(small_world, 1)
    planted = [(cause.__name__, cause(town)) for cause in CAUSES]
    assert {str(seed.kind) for _, seed in planted} == RECONCILED - OF_ADOPTED
    for name, seed in planted:
        found = differences_about(seed)
        if seed.kind in NEEDS_A_RUN:
            assert found == [], name
        else:
            told = [(f.kind, f.subject, brings(f.fix.operation if f.fix else None)) for f in found]
            assert told == [(seed.kind, seed.subject, brings(seed.fix))], name
