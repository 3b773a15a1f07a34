"""The journal: double entry of whatever happened, that balances to zero."""

import csv
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pytest_django import Settings

from billing.revenue.journal import JournalBy, Line, journal
from tests.revenue.moving import OCTOBER, entered, moved, paid_out, refunded, sold

pytestmark = pytest.mark.django_db

SINCE, UNTIL = datetime(2025, 10, 1, tzinfo=UTC), datetime(2025, 11, 1, tzinfo=UTC)
AMOUNTS = st.integers(min_value=-(10**12), max_value=10**12)
ENTRY = st.fixed_dictionaries(
    {
        "amount": AMOUNTS,
        "fee": AMOUNTS,
        "settled_amount": AMOUNTS,
        "settled_fee": AMOUNTS,
        "tax": AMOUNTS,
        "item": st.sampled_from(["gross", "refunds", "disputes", "other", "out_of_band"]),
        "kind": st.sampled_from(["subscription", "pack", "other"]),
        "settled_currency": st.sampled_from(["usd", "jpy"]),
        "currency": st.sampled_from(["usd", "eur", "jpy"]),
        "hours": st.integers(min_value=-2000, max_value=2000),
    }
).map(lambda entry: entry | {"tax": entry["tax"] % (abs(entry["amount"]) + 1)})  # a part of it
PAYOUT = st.fixed_dictionaries(
    {
        "amount": AMOUNTS,
        "fee": AMOUNTS,
        "category": st.sampled_from(["payout", "payout_reversal", "topup",
                                     "payout_minimum_balance_hold"]),
    }
)  # fmt: skip


def lines_of(by: JournalBy = "transaction", zone: str = "UTC", **more: Any) -> list[Line]:
    return list(journal(SINCE, UNTIL, zone, by=by, **more))


def sums(lines: list[Line]) -> Counter[tuple[str, str]]:
    """Debits less credits by reference and currency."""
    totals: Counter[tuple[str, str]] = Counter()
    for line in lines:
        totals[line.reference, line.currency] += line.debit - line.credit
    return totals


def october() -> None:
    sold("a", 11_900, fee=400, tax=1900, kind="subscription")
    sold("b", 5000, fee=175)
    refunded("r", 1000, of="a", at=OCTOBER)
    paid_out("po_1", 15_000, at=OCTOBER + timedelta(days=1))
    moved("txn_hold", -50, category="payout_minimum_balance_hold")
    entered("in_1", 2380, item="out_of_band", tax=380, kind="subscription")
    entered(
        "txn_e", 11_900, fee=300, tax=1900, currency="eur",
        settled_currency="usd", settled_amount=12_852, settled_fee=324,
    )  # fmt: skip


def test_each_movement_is_one_reference_of_two_sides(settings: Settings) -> None:
    october()
    settings.JOURNAL_ACCOUNTS = {**settings.JOURNAL_ACCOUNTS, "balance": "1360 Stripe"}
    by_reference: dict[str, list[tuple[str, int, int]]] = {}
    for line in lines_of(names=settings.JOURNAL_ACCOUNTS):
        by_reference.setdefault(line.reference, []).append((line.account, line.debit, line.credit))
    assert by_reference["txn_a"] == [
        ("1360 Stripe", 11_500, 0),
        ("Stripe fees", 400, 0),
        ("Revenue from subscriptions", 0, 10_000),
        ("Tax payable", 0, 1900),
    ]
    assert by_reference["txn_r"] == [("Refunds", 1000, 0), ("1360 Stripe", 0, 1000)]
    assert by_reference["txn_po_1"] == [("Bank", 15_000, 0), ("1360 Stripe", 0, 15_000)]
    assert by_reference["txn_hold"] == [("Held back by Stripe", 50, 0), ("1360 Stripe", 0, 50)]
    assert ("Paid outside Stripe, to be cleared", 2380, 0) in by_reference["in_1"]
    assert by_reference["txn_e"][-2:] == [
        ("Revenue from credit packs", 0, 10_800), ("Tax payable", 0, 2052),
    ]  # fmt: skip


def test_by_day_it_says_the_same_as_by_transaction() -> None:
    october()
    for zone in ("UTC", "Pacific/Auckland"):
        accounts = [Counter[tuple[str, str]](), Counter[tuple[str, str]]()]
        for each, by in zip(accounts, ("day", "transaction"), strict=True):
            for line in journal(SINCE, UNTIL, zone, by=by):  # type: ignore[arg-type]
                each[line.account, line.currency] += line.debit - line.credit
        assert accounts[0] == accounts[1]
    assert {line.reference for line in lines_of("day")} == {
        "stripe-2025-10-10-usd", "stripe-2025-10-11-usd",
    }  # fmt: skip


@limits(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRY, max_size=6), payouts=st.lists(PAYOUT, max_size=3))
def test_whatever_happened_every_reference_adds_up_to_zero(
    entries: list[dict[str, Any]], payouts: list[dict[str, Any]]
) -> None:
    with transaction.atomic():
        for number, given_ in enumerate(entries):
            at = OCTOBER + timedelta(hours=given_.pop("hours"))
            entered(f"txn_{number}", at=at, **given_)
        for number, given_ in enumerate(payouts):
            moved(f"txn_p{number}", **given_)
        for by in ("day", "transaction"):
            lines = lines_of(by)  # type: ignore[arg-type]
            assert not any(sums(lines).values())
            assert all((line.debit > 0) != (line.credit > 0) for line in lines)
        transaction.set_rollback(True)


def test_the_command_writes_it_for_a_ledger_and_for_programs() -> None:
    october()
    days = {"first": "2025-10-01", "last": "2025-10-31"}
    as_csv, as_json, as_text = StringIO(), StringIO(), StringIO()
    call_command("journal", as_csv=True, stdout=as_csv, **days)
    call_command("journal", as_json=True, by="transaction", stdout=as_json, **days)
    call_command("journal", stdout=as_text, **days)
    rows = list(csv.DictReader(StringIO(as_csv.getvalue())))
    assert {

        "date": "2025-10-10", "account": "Paid outside Stripe, to be cleared", "debit": "23.80",
        "credit": "0.00", "currency": "USD", "reference": "stripe-2025-10-10-usd",
    } in rows  # fmt: skip
    said = json.loads(as_json.getvalue())
    assert (said["status"], said["timezone"], said["by"]) == ("done", "UTC", "transaction")
    assert sum(row["debit"] - row["credit"] for row in said["rows"]) == 0
    assert "Bank: debit 150.00 USD" in as_text.getvalue()
