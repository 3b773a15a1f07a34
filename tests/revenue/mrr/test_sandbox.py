"""Weeks of a marketplace: at the end of each part MRR is what the sandbox itself had then."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor

import pytest

from billing.revenue.mrr import behind, facts
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database
from tests.support.events import deliver_and_drain, events_of
from tests.year import marketplace

PARTS = 4
DAYS = 20  # of one part: Stripe lists its events for thirty


def standing(sandbox: SandboxProcess) -> tuple[datetime, Counter[str], Counter[tuple[str, str]]]:
    """The moment there, MRR by currency, and subscriptions by currency and status."""
    now = datetime.fromtimestamp(sandbox.control("clock", http="GET")["now"], UTC)
    page = sandbox.get("/v1/subscriptions", status="all", limit=100).json()
    assert not page["has_more"]
    mrr, statuses = Counter[str](), Counter[tuple[str, str]]()
    for subscription in page["data"]:
        currency, status = subscription["currency"], subscription["status"]
        statuses[currency, status] += 1
        if status in ("active", "past_due"):
            exact = sum(map(monthly, subscription["items"]["data"]))
            mrr[currency] += floor(exact + Fraction(1, 2))
    return now, mrr, statuses


def monthly(item: dict[str, dict[str, dict[str, str]]]) -> Fraction:
    price = item["price"]
    months = 12 if price["recurring"]["interval"] == "year" else 1
    return Fraction(int(price["unit_amount"]) * int(item["quantity"]), months)  # type: ignore[call-overload]


def test_every_end_is_as_the_sandbox_had_it(
    real_database: Database, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marketplace, "MONTH", DAYS * marketplace.DAY)
    market = marketplace.Marketplace(sandbox, customers=16, seed=5)
    seen, told = [], {}
    for _ in range(PARTS):
        market.live()
        sandbox.advance(seconds=2)
        seen.append(standing(sandbox))
        sandbox.advance(seconds=2)
        told |= {event["id"]: event for event in events_of(sandbox)}
    tally = deliver_and_drain(told.values())
    assert not tally.needs_attention, tally
    assert facts.refresh() > 0
    for at, mrr, statuses in seen:
        moment = at + timedelta(seconds=1)
        listed = sorted({status for _, status in statuses})
        found = [
            row
            for currency in marketplace.CURRENCIES
            for row in behind.subscriptions(moment, currency, listed)
        ]
        assert Counter((row["currency"], row["status"]) for row in found) == statuses
        for currency in marketplace.CURRENCIES:
            of_it = [row["mrr"] for row in found if row["currency"] == currency]
            customers = behind.customers(moment, currency)
            assert sum(of_it) == sum(row["mrr"] for row in customers) == mrr[currency]
        assert len(+mrr) == len(marketplace.CURRENCIES)
    assert facts.refresh() == facts.rebuild() == 0
    assert list(facts.check()) == []
