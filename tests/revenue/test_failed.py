"""Failed payments: what entered dunning, was recovered and was lost, by rows as they are."""

from datetime import date
from typing import Any

import pytest

from billing.models import BillingEvent, BillingInvoice, InvoiceDunning, acting_as
from billing.revenue import dunning
from billing.revenue.asked import InvalidReportError
from billing.revenue.failed import FailedPayments
from tests.revenue.failing import (
    DAY,
    YEAR,
    asked,
    at,
    behind,
    charge,
    failed,
    invoice,
    subscription,
    table,
)  # fmt: skip

pytestmark = pytest.mark.django_db
REPORT = FailedPayments()


def months(**more: Any) -> dict[str, dict[str, Any]]:
    dunning.refresh()
    given = asked(date(2026, 1, 1), date(2026, 4, 30), **more)
    return {row["date"][:7]: row for row in table(REPORT, given) if row["currency"] == "usd"}


def test_what_is_paid_after_a_failure_is_recovered_in_its_month() -> None:
    failed("early", at(1, 30), amount=900, paid_at=at(2, 3))
    failed("quick", at(2, 1), amount=100, paid_at=at(2, 3))
    invoice("good", at(2, 1), paid_at=at(2, 1))
    charge("good", at(2, 1), status="succeeded")
    rows = months()
    january, february = rows["2026-01"], rows["2026-02"]
    assert (january["entered"], january["in_dunning_amount"]) == (1, 900)
    assert january["recovery_rate"] is None
    assert (february["entered_amount"], february["recovered_amount"]) == (100, 1000)
    assert (february["recovery_rate"], february["in_dunning"]) == (1.0, 0)
    assert february["days_to_recover"] == 3.0
    assert behind(REPORT, YEAR, february, "recovered") == ["in_early", "in_quick"]
    assert behind(REPORT, YEAR, january, "in_dunning_amount") == ["in_early"]


def test_what_is_given_up_is_lost_and_paid_later_all_the_same_regained() -> None:
    failed("void", at(1, 5), voided_at=at(1, 20), status="void")
    failed("late", at(1, 5), uncollectible_at=at(2, 2), paid_at=at(3, 9))
    rows = months()
    assert [rows[f"2026-0{n}"]["lost"] for n in (1, 2, 3)] == [1, 1, 0]
    assert [rows[f"2026-0{n}"]["in_dunning"] for n in (1, 2, 3)] == [1, 0, 0]
    assert (rows["2026-03"]["recovered"], rows["2026-03"]["regained_amount"]) == (1, 1000)
    lost_by = dict(InvoiceDunning.objects.values_list("stripe_invoice_id", "lost_by"))
    assert lost_by == {"in_void": "void", "in_late": "uncollectible"}


def test_an_open_invoice_is_lost_with_its_subscription() -> None:
    subscription("gone", status="canceled", ended_at=at(2, 8))
    subscription("stuck", status="unpaid")
    subscription("owing", status="active")
    failed("gone", at(1, 25), stripe_subscription_id="sub_gone")
    failed("stuck", at(1, 25), stripe_subscription_id="sub_stuck")
    charge("stuck", at(2, 6))  # after which Stripe gave up, though no event tells us
    failed("owing", at(1, 25), stripe_subscription_id="sub_owing", paid_at=at(3, 20))
    with acting_as("test"):
        BillingEvent.objects.create(
            type="customer.subscription.updated",
            payload={"id": "sub_owing", "subscription": "sub_owing", "status": "unpaid"},
            created_at=at(2, 20),
        )
    rows = months()
    found = {row.pk: (row.lost_at, row.lost_by) for row in InvoiceDunning.objects.all()}
    assert found == {
        "in_gone": (at(2, 8), "canceled"),
        "in_stuck": (at(2, 6), "unpaid"),
        "in_owing": (at(2, 20), "unpaid"),
    }
    assert (rows["2026-02"]["lost"], rows["2026-02"]["in_dunning"]) == (3, 0)
    assert rows["2026-03"]["regained"] == 1


def test_currencies_are_apart_and_reasons_too() -> None:
    failed("one", at(2, 1), amount=500, reason="expired_card", paid_at=at(2, 4))
    failed("two", at(2, 1), amount=300, reason="expired_card", voided_at=at(2, 9), status="void")
    failed("yen", at(2, 1), amount=7000, currency="jpy")
    dunning.refresh()
    reasons = table(REPORT, YEAR, "by_reason")
    assert [(r["currency"], r["decline_reason"], r["entered_amount"]) for r in reasons] == [
        ("jpy", "insufficient_funds", 7000),
        ("usd", "expired_card", 800),
    ]
    assert reasons[1]["recovery_rate"] == pytest.approx(500 / 800)
    assert behind(REPORT, YEAR, reasons[1], "lost", "by_reason") == ["in_two"]
    assert {row["currency"] for row in table(REPORT, YEAR)} == {"jpy", "usd"}
    yen = asked(YEAR.first, YEAR.last, currency="jpy")
    assert {row["currency"] for row in table(REPORT, yen)} == {"jpy"}
    expired = asked(YEAR.first, YEAR.last, more={"reason": "expired_card"})
    assert {row["currency"] for row in table(REPORT, expired)} == {"usd"}


def test_a_month_is_that_of_the_zone() -> None:
    failed("late", at(1, 31, hour=23))
    assert months()["2026-01"]["entered"] == 1
    assert months(zone="Europe/Berlin")["2026-02"]["entered"] == 1


def test_the_list_has_what_is_in_dunning_now_the_largest_first() -> None:
    failed("small", at(1, 1), amount=5)
    failed("large", at(1, 2), amount=50, attempt_count=2, next_payment_attempt=at(1, 9))
    failed("paid", at(1, 1), paid_at=at(1, 4))
    invoice("other", at(1, 1))
    dunning.refresh()
    large, small = table(REPORT, YEAR, "worklist")
    (now,) = table(REPORT, YEAR, "now")
    assert (large["invoice_id"], small["invoice_id"]) == ("in_large", "in_small")
    assert (large["attempts"], large["next_attempt"]) == (2, at(1, 9))
    assert large["decline_reason"] == "insufficient_funds"
    assert behind(REPORT, YEAR, now, "amount_remaining", "now") == ["in_large", "in_small"]
    with pytest.raises(InvalidReportError):
        REPORT.behind(YEAR, {"what": "else"})


def test_a_failure_without_a_charge_is_known_by_its_event() -> None:
    invoice("bare", at(1, 1))
    with acting_as("test"):
        BillingEvent.objects.create(
            type="invoice.payment_failed", payload={"id": "in_bare"}, created_at=at(1, 2)
        )
    dunning.refresh()
    row = InvoiceDunning.objects.get()
    assert (row.entered_at, row.charge_id, row.decline_reason) == (at(1, 2), "", "")
    assert table(REPORT, YEAR, "by_reason")[0]["decline_reason"] == "not_known"


def test_what_has_changed_is_taken_in_and_a_rebuild_agrees() -> None:
    failed("first", at(1, 10))
    assert dunning.refresh() == 1
    charge("first", at(1, 8), decline_reason="expired_card")  # told of later, though earlier
    failed("second", at(1, 11))
    assert dunning.refresh() == 2
    with acting_as("test"):
        BillingInvoice.objects.filter(stripe_invoice_id="in_second").update(
            status="paid", paid_at=at(1, 12)
        )
    assert dunning.refresh() == 1
    assert dunning.rebuild() == 0
    assert dunning.check() == []
    first = InvoiceDunning.objects.get(pk="in_first")
    assert (first.entered_at, first.decline_reason) == (at(1, 8), "expired_card")


def test_the_check_finds_what_was_planted() -> None:
    for name in ("first", "second"):
        failed(name, at(1, 10))
    dunning.refresh()
    InvoiceDunning.objects.filter(pk="in_first").update(amount=1)
    InvoiceDunning.objects.filter(pk="in_second").update(stripe_invoice_id="in_third")
    first, second, third = dunning.check()
    assert (first["fact"], first["here"]["amount"], first["derived"]["amount"]) == (
        "in_first",
        1,
        1000,
    )
    assert (second["fact"], second["here"]) == ("in_second", None)
    assert (third["fact"], third["derived"]) == ("in_third", None)
    assert dunning.rebuild() == 3
    assert dunning.check() == []


def test_the_days_until_it_was_paid_are_a_median() -> None:
    for name, days in (("a", 1), ("b", 2), ("c", 30)):
        failed(name, at(1, 1), paid_at=at(1, 1) + days * DAY)
    assert months()["2026-01"]["days_to_recover"] == 2.0
