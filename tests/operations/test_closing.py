"""A month is signed by one person, reviewed by another, frozen, and told what came since."""

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.models import (
    BridgeDay,
    ClosedEntry,
    FindingRecord,
    MonthClose,
    ReconciliationRun,
    RevenueEntry,
    acting_as,
)
from billing.operations.base import Actor, BlockedError, InvalidInputError, OperationError
from billing.operations.closing import CheckMonth, ReopenMonth, ReviewMonth, SignMonth
from billing.operations.registry import undo
from billing.revenue import closing, month_rows
from billing.revenue.asked import Asked
from billing.revenue.bridge_days import PARTS
from billing.revenue.checklist import checklist
from billing.revenue.closing_report import ClosingReport
from billing.revenue.months import Month
from tests.admin import rows as planted
from tests.operations.shop import audits
from tests.revenue.moving import NOVEMBER, OCTOBER, entered, paid_out, read_up_to, refunded, sold

pytestmark = pytest.mark.django_db

MONTH = Month(date(2025, 10, 1), "UTC")
NET = {"currency": "usd", "gross": 16_000, "refunds": 0, "disputes": 0, "fees": 500, "other": 0,
       "net": 15_500, "tax": 1000, "out_of_band": 0}  # fmt: skip


def by(name: str, reason: str = "Agrees with the bank") -> dict[str, Any]:
    return {"actor": Actor.cli(name), "reason": reason, "month": "2025-10"}


def trade() -> None:
    """October: two sales and a payout, read past its end, compared and bridged on every day."""
    sold("a", 11_000, fee=330, tax=1000, kind="subscription")
    sold("b", 5000, fee=170)
    paid_out("po_1", 15_500)
    RevenueEntry.objects.update(user_id="u_ada")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_balance_transactions SET payout_id = 'po_1' WHERE charge_id <> ''"
        )
    read_up_to(NOVEMBER)


def reconcile() -> None:
    """Runs that have compared every day, in two windows that meet, and every day's bridge."""
    middle = MONTH.since + timedelta(days=9, hours=5)
    for since, until in ((MONTH.since, middle), (middle, MONTH.until + timedelta(hours=5))):
        ReconciliationRun.objects.create(kind="daily", status="done", since=since, until=until)
    for day in MONTH.days.dates:
        for part in PARTS:
            BridgeDay.objects.create(day=day, zone="UTC", part=part, read_at=NOVEMBER)
    settled = {"charges": 16_000, "fees": -500, "net": 15_500, "remainder": 0}
    BridgeDay.objects.filter(day=OCTOBER.date(), part="settled").update(
        currency="usd", items=settled
    )


def signed(**more: Any) -> MonthClose:
    trade()
    reconcile()
    SignMonth(**by("sue"), **more).apply()
    return MonthClose.objects.get(state="signed")


def closed() -> MonthClose:
    signed()
    ReviewMonth(**by("rob")).apply()
    return MonthClose.objects.get(state="closed")


def open_points() -> set[str]:
    return {point.name for point in checklist(MONTH) if not point.done}


def test_the_checklist_names_what_is_missing_and_is_done_once_it_is_not() -> None:
    trade()
    read_up_to(OCTOBER)
    assert open_points() == {"reconciled", "bridged", "balance_read"}
    read_up_to(NOVEMBER)
    reconcile()
    assert open_points() == set()
    ReconciliationRun.objects.filter(since=MONTH.since).update(status="failed")
    [point] = [p for p in checklist(MONTH) if p.name == "reconciled"]
    assert point.said == (
        "Not compared with Stripe: 2025-10-01, 2025-10-02, 2025-10-03, 2025-10-04, 2025-10-05"
        " and 5 more."
    )


def test_what_does_not_add_up_is_open() -> None:
    trade()
    reconcile()
    entered("txn_none", 100)
    assert open_points() == {"added_up"}
    sold("c", 700)  # an accepted finding explains nothing of it: Stripe told another net
    assert open_points() == {"added_up", "copied"}


def test_a_remainder_is_explained_by_an_accepted_finding_of_its_cause() -> None:
    trade()
    reconcile()
    cause = {"id": "ch_x", "amount": 40, "why": "It is not here at all."}
    BridgeDay.objects.filter(day=OCTOBER.date(), part="collected").update(
        currency="usd", items={"charges": 40, "remainder": 40}, remainder=40, causes=[cause]
    )
    assert open_points() == {"explained"}
    with planted.writing():
        found = planted.finding(subject="ch_x")
    FindingRecord.objects.update(state="accepted")
    assert found.subject == "ch_x"
    assert open_points() == set()


def test_an_open_finding_seen_in_the_month_is_named() -> None:
    trade()
    reconcile()
    with planted.writing():
        planted.finding(subject="ch_y", rank=1)
    FindingRecord.objects.update(first_seen_at=OCTOBER, last_seen_at=OCTOBER)
    assert open_points() == {"grave_findings"}
    FindingRecord.objects.update(rank=2, severity="warning")
    assert open_points() == {"other_findings"}
    FindingRecord.objects.update(first_seen_at=NOVEMBER, last_seen_at=NOVEMBER, run=None)
    assert open_points() == set()


def test_two_people_close_a_month_and_its_rows_are_frozen() -> None:
    row = signed()
    assert row.figures["revenue"] == [NET]
    with pytest.raises(BlockedError, match="another person"):
        ReviewMonth(**by("sue")).apply()
    said = ReviewMonth(**by("rob", "Checked against the bank")).apply()
    assert said.summary == "2025-10 is closed: 2 entries are frozen."
    row.refresh_from_db()
    assert (row.state, row.signed_by, row.reviewed_by) == ("closed", "cli:sue", "cli:rob")
    assert (row.reviewed_word, row.entries) == ("Checked against the bank", 2)
    frozen = ClosedEntry.objects.order_by("source").values(*closing.COLUMNS)
    assert list(frozen) == list(RevenueEntry.objects.order_by("source").values(*closing.COLUMNS))
    assert closing.is_intact(row)
    [audit] = audits("manual.month_closed")
    assert (audit["hash"], audit["signed_by"]) == (row.hash, "cli:sue")
    for again in (SignMonth, ReviewMonth):
        with pytest.raises(BlockedError, match="is closed, by cli:sue and cli:rob"):
            again(**by("ann")).apply()


def test_open_points_must_be_explained_and_the_reviewer_reads_it() -> None:
    trade()
    with pytest.raises(BlockedError, match="Every day is reconciled: Not compared"):
        SignMonth(**by("sue")).apply()
    SignMonth(**by("sue"), explanation="Stripe was down").apply()
    plan = ReviewMonth(**by("rob")).plan()
    assert any(said.endswith("cli:sue: Stripe was down") for said in plan.warnings)


def test_figures_that_changed_after_the_signature_are_signed_again() -> None:
    signed()
    sold("c", 1000)
    with pytest.raises(BlockedError, match="changed since cli:sue signed them"):
        ReviewMonth(**by("rob")).apply()
    assert not ClosedEntry.objects.exists()
    BridgeDay.objects.filter(currency="usd").update(items={"net": 16_500})
    paid_out("po_2", 1000, automatic=False)
    SignMonth(**by("sue")).apply()
    ReviewMonth(**by("rob")).apply()
    assert ClosedEntry.objects.count() == 3


@pytest.mark.parametrize("month", ["2099-01", "2025-13", "October", ""])
def test_a_month_that_is_not_over_or_is_none_cannot_be_signed(month: str) -> None:
    with pytest.raises((BlockedError, InvalidInputError), match=r"not over yet|is no month"):
        SignMonth(**{**by("sue"), "month": month}).apply()
    assert not MonthClose.objects.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_closed_entries SET amount = 0",
        "DELETE FROM billing_closed_entries",
        "TRUNCATE billing_closed_entries",
        "UPDATE billing_month_closes SET figures = '{}'",
        "UPDATE billing_month_closes SET state = 'open'",
        "UPDATE billing_month_closes SET reviewed_by = 'sue'",
        "DELETE FROM billing_month_closes",
    ],
)
def test_what_was_closed_cannot_be_changed(statement: str) -> None:
    row = closed()
    with transaction.atomic(), acting_as("test"), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with (
            pytest.raises(DatabaseError, match=r"append-only|stays as it was signed"),
            transaction.atomic(),
        ):
            cursor.execute(statement)
    assert closing.is_intact(row)


def test_a_later_refund_goes_to_its_own_month_and_is_marked() -> None:
    row = closed()
    assert closing.later(row) == {"changed": [], "concerning": []}
    refunded("r", 4000, of="a", at=NOVEMBER)
    refunded("other", 10, of="nothing", at=NOVEMBER)
    month_rows.see_what_came_since()
    row.refresh_from_db()
    assert row.later == {
        "changed": [], "concerning": [{"currency": "usd", "count": 1, "amount": -4000}],
    }  # fmt: skip
    [marked] = closing.marked(row)
    assert marked["mark"] == "booked in 2025-11, concerns 2025-10"
    assert closing.figures(MONTH)["revenue"] == [NET]
    november = closing.figures(Month(date(2025, 11, 1), "UTC"))["revenue"]
    assert november[0]["refunds"] == 4010


def test_facts_that_come_late_or_change_are_marked_and_change_nothing_that_is_closed() -> None:
    row = closed()
    sold("late", 700, fee=20)
    RevenueEntry.objects.filter(source="txn_b").update(amount=5100)
    RevenueEntry.objects.filter(source="txn_a").update(user_id="u_eva")  # no figure's matter
    found = {each["source"]: (each["mark"], each["difference"]) for each in closing.changed(row)}
    assert found == {"txn_late": ("came later", 680), "txn_b": ("differs", 100)}
    RevenueEntry.objects.filter(source="txn_a").delete()
    assert {e["source"]: e["mark"] for e in closing.changed(row)}["txn_a"] == "is gone"
    month_rows.see_what_came_since()
    asked = Asked(date(2025, 10, 1), date(2025, 10, 31), "UTC", by="month")
    [table] = ClosingReport().view(asked).tables
    [shown] = table.rows
    assert (shown["closed"], shown["changed"], shown["concerning"]) == (15_500, 780 - 10_670, 0)
    for column, count in (("closed", 2), ("changed", 3), ("concerning", 0)):
        assert table.drill
        drill = table.drill(shown, column)
        assert drill
        assert len(list(ClosingReport().behind(asked, drill).rows)) == count
    assert closing.is_intact(MonthClose.objects.get())


def test_a_reopened_month_keeps_what_was_closed_and_is_closed_anew() -> None:
    row = closed()
    sold("late", 700)
    ReopenMonth(**by("ann", "A sale was missing")).apply()
    with pytest.raises(BlockedError, match="open already"):
        ReopenMonth(**by("ann")).apply()
    row.refresh_from_db()
    assert (row.state, row.reopened_word) == ("reopened", "A sale was missing")
    assert closing.is_intact(row)
    SignMonth(**by("sue"), explanation="A sale came late").apply()
    said = ReviewMonth(**by("rob")).apply()
    anew = MonthClose.objects.get(state="closed")
    assert (anew.pk != row.pk, anew.entries, row.entries) == (True, 3, 2)
    assert ClosedEntry.objects.count() == 5
    assert said.details["entries"] == 3
    record = planted.OperationRecord.objects.filter(name="review_month").latest("id")
    undo(record, actor=Actor.cli("rob"), reason="Once more").apply()
    assert MonthClose.objects.get(state="open").month == MONTH.first


def test_the_worker_opens_the_months_that_are_over() -> None:
    sold("a", 100)
    now = datetime(2025, 12, 15, tzinfo=UTC)
    assert month_rows.open_months("UTC", now) == 2
    assert month_rows.open_months("UTC", now) == 0
    assert [str(row) for row in MonthClose.objects.order_by("month")] == ["2025-10", "2025-11"]


def test_a_check_waits_for_the_worker_once() -> None:
    CheckMonth(**by("sue")).apply()
    [job] = ProcrastinateJob.objects.filter(task_name="billing.check_month")
    assert job.args == {"close_id": MonthClose.objects.get().pk}
    with pytest.raises(BlockedError, match="waits for the worker"):
        CheckMonth(**by("sue")).apply()


def test_the_commands_sign_review_and_reopen() -> None:
    trade()
    reconcile()

    def run(name: str, actor: str, **more: Any) -> Any:
        said = StringIO()
        call_command(name, "2025-10", actor=actor, reason="So it is", as_json=True, stdout=said,
                     stderr=StringIO(), **more)  # fmt: skip
        return json.loads(said.getvalue())

    assert run("sign_month", "sue", dry_run=True)["dry_run"] is True
    run("sign_month", "sue")
    with pytest.raises(CommandError, match="another person"):
        run("review_month", "sue")
    assert run("review_month", "rob")["result"]["details"]["entries"] == 2
    run("reopen_month", "ann")
    run("check_month", "ann")
    with pytest.raises(OperationError, match="Nobody has signed"):
        ReviewMonth(**by("rob")).apply()
