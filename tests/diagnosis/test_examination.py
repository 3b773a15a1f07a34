"""A person is examined: in constant cost, whether or not Stripe answers, gravest first."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from billing.diagnosis.checks.subscriptions import GOOD, LIVE, OVER, UNPAID, kind_of
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Person, gather
from billing.diagnosis.findings import Severity
from billing.diagnosis.kinds import Kind
from billing.models import CreditEntry, LeadClaim, acting_as
from billing.operations.credits import GrantCredits
from billing.projection import ledger
from billing.projection.ledger import Entry
from tests.diagnosis.planting import kinds, person_of, report_on
from tests.operations.shop import BOB, Shop

STATUSES = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete",
            "incomplete_expired", "canceled")  # fmt: skip


def spend(user_id: str, amount: int) -> None:
    """The marketplace claims a lead for a user."""
    with acting_as("marketplace"):
        LeadClaim.objects.create(user_id=user_id, lead_id="lead_1", credits_spent=amount)
        ledger.post([Entry(user_id, -amount, CreditEntry.Kind.CLAIM)])


@pytest.mark.django_db
def test_who_buys_renews_claims_and_is_refunded_in_order_has_no_finding(shop: Shop) -> None:
    subscribed = shop.subscribe()
    for _ in range(3):
        shop.sandbox.story("renew", subscription=subscribed["subscription"])
    first, second = (shop.buy(customer=subscribed["customer"]) for _ in range(2))
    shop.sandbox.story("refund", payment_intent=first["payment_intent"], amount=1000)
    disputed = shop.sandbox.story("dispute", payment_intent=second["payment_intent"])
    shop.deliver()
    shop.sandbox.story("close_dispute", dispute=disputed["dispute"], won=True)
    shop.deliver()
    spend("u_ada", 5)
    GrantCredits(
        user_id="u_ada", amount=50, **{**BOB, "reason": "An apology"}, reason_code="goodwill"
    ).apply()

    assert kinds("u_ada") == []
    assert kinds("u_ada", ask_stripe=False) == []


@pytest.mark.django_db
def test_a_stranger_has_none_either(shop: Shop) -> None:
    assert kinds("nobody") == []


@pytest.mark.django_db
def test_when_stripe_is_silent_our_own_rows_speak(shop: Shop) -> None:
    """F3: the decline is known here; that Stripe was not asked is said."""
    subscribed = shop.subscribe()
    shop.sandbox.story("past_due", subscription=subscribed["subscription"])
    shop.deliver()
    shop.sandbox.control("faults", path="/v1/*", status=500)
    report = report_on("u_ada")
    assert "Stripe could not be reached" in report.silence
    assert report.asked_at is None
    assert [finding.kind for finding in report.findings] == [Kind.PAST_DUE]


@pytest.mark.django_db
def test_without_a_key_it_says_so(shop: Shop, settings: Settings) -> None:
    shop.subscribe()
    shop.deliver()
    settings.STRIPE_SECRET_KEY = ""
    report = report_on("u_ada")
    assert "STRIPE_SECRET_KEY is not set" in report.silence
    assert report.findings == []


@pytest.mark.django_db
def test_it_costs_the_same_however_much_there_is(shop: Shop) -> None:
    """No check calls Stripe, or the database, more often for a customer with more."""
    subscribed = shop.subscribe()
    shop.deliver()

    def cost() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as statements:
            _, report = examine(Person.of_user("u_ada"), ask_stripe=True)
        assert not report.silence
        return len(statements), report.api_calls

    with_little = cost()
    for number in range(12):
        shop.subscribe(customer=subscribed["customer"])
        shop.sandbox.story("renew", subscription=subscribed["subscription"])
        if number % 2:
            shop.deliver()
    with_much = cost()
    assert with_much[0] <= with_little[0] + 4, "statements"
    assert with_much[1] <= 10, "requests"
    assert with_much[1] - with_little[1] <= 3, "one for each of three objects that differ"


@pytest.mark.django_db
def test_gathering_takes_few_statements(shop: Shop) -> None:
    subscribed = shop.subscribe()
    shop.deliver()
    person = person_of(subscribed["customer"])
    with CaptureQueriesContext(connection) as statements:
        gather(person)
    assert len(statements) <= 18


def test_the_gravest_come_first() -> None:
    assert [each.rank for each in Severity] == sorted(each.rank for each in Severity)
    assert Severity.ACCESS.rank < Severity.MONEY.rank < Severity.WARNING.rank < Severity.INFO.rank


@given(
    theirs=st.sampled_from(STATUSES),
    ours=st.sampled_from(("", *STATUSES)),
    fields=st.sets(st.sampled_from(["cancel_at", "price_id", "current_period_end", "trial_end"])),
    is_paid=st.booleans(),
)
def test_of_several_kinds_the_gravest_fits(
    theirs: str, ours: str, fields: set[str], is_paid: bool
) -> None:
    """S1, S4: what gives or takes access goes before any other field that differs."""
    kind = kind_of(theirs, ours, fields, is_paid=is_paid)
    by_status: dict[Any, bool] = {
        Kind.PAID_NOT_ACTIVE: theirs in GOOD and (not ours or (ours in UNPAID and is_paid)),
        Kind.ACTIVE_ONLY_AT_STRIPE: theirs in LIVE and ours in OVER,
        Kind.ACTIVE_ONLY_HERE: theirs not in LIVE and ours in LIVE,
    }
    fitting = [each for each, fits in by_status.items() if fits]
    if fitting:
        assert kind == fitting[0]
    elif ours and theirs != ours:
        assert kind == Kind.STATUS_DIFFERS
    elif ours:
        first = next(
            (f for f in ("cancel_at", "price_id", "current_period_end") if f in fields), ""
        )
        assert kind == {
            "cancel_at": Kind.CANCELLATION_DIFFERS,
            "price_id": Kind.PRICE_DIFFERS,
            "current_period_end": Kind.PERIOD_DIFFERS,
        }.get(first, Kind.SUBSCRIPTION_DIFFERS)
