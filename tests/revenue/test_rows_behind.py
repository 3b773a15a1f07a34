"""Every figure of every report opens the rows behind it, and these add up to the figure."""

import io
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from backoffice.demo_world import claim_leads
from billing.admin.cells import page_url
from billing.admin.finance.rendering import with_query
from billing.ingress import worker
from billing.models import BillingEvent, MonthClose, ReconciliationRun, RevenueEntry
from billing.operations.base import Actor
from billing.operations.closing import ReviewMonth, SignMonth
from billing.revenue import month_rows
from billing.revenue.asked import Asked
from billing.revenue.credits.figures import proof
from billing.revenue.months import Month
from billing.revenue.report import Drill, Report, Row, Table
from billing.revenue.reports import REPORTS
from tests.admin.conftest import log_in_as
from tests.sandbox.server import run_sandbox
from tests.support.databases import Database
from tests.support.environment import SECRET_KEY

Measure = Callable[[list[Row], Row], Any]  # of the rows behind, and the figure's own row


def add(name: str, sign: int = 1, less: str = "") -> Measure:
    return lambda rows, row: sign * sum((r[name] or 0) - (r[less] if less else 0) for r in rows)


def count(rows: list[Row], row: Row) -> int:
    return len(rows)


def by(name: str, of: Measure) -> Measure:
    """A share: of the rows, by another figure of the same row."""
    return lambda rows, row: of(rows, row) / row[name]


def average(name: str) -> Measure:
    """Rounded half up, as all averages of money are."""
    return lambda rows, row: (2 * sum(r[name] for r in rows) + len(rows)) // (2 * len(rows))


def left(rows: list[Row], row: Row) -> int:
    return sum(r["mrr"] > 0 for r in rows)


def same(column: str, measure: Measure, *names: str) -> dict[str, Measure]:
    return {f"{name}{column}": measure for name in names}


def revenue(amount: str, fee: str) -> dict[str, Measure]:
    taken = same("", add(amount, -1), "refunds", "disputes")
    given = same("", add(amount), "gross", "other", "out_of_band")
    return {**given, **taken, "fees": add(fee), "net": add(amount, less=fee), "tax": add("tax")}


def credits_at_their_price(rows: list[Row], row: Row) -> int:
    return (2 * sum(r["value"] for r in rows) + (n := sum(r["left"] for r in rows))) // (2 * n)


CHARGED = revenue("amount", "fee")
MOVED = {
    "opening": add("net"), "net": add("net"), "paid_out": add("amount"), "moved": add("net"),
    "returned": add("amount"), "payout_fees": add("fee", -1), "closing": add("net"),
}  # fmt: skip
LOST = {"contraction", "churned"}
ROLLED = {
    name: add("change", -1 if name in LOST else 1)
    for name in ("new", "expansion", "reactivated", "contraction", "churned")
}
LEFT = {name: add("change", -1) for name in ("churned", "voluntary", "involuntary")}
FAILED = ("entered", "recovered", "regained", "lost", "in_dunning")
DUNNING = {**same("", count, *FAILED), **same("_amount", add("amount"), *FAILED)}
FLOWS = {
    **same("", add("credits"), "packs", "subscriptions", "free", "returned"),
    **same("", add("credits", -1), "spent", "refunded", "disputed", "corrected"),
    "owed": add("owed"), "net": add("delta"), "outstanding": add("left"), "leads": count,
}  # fmt: skip
VALUES = {
    "sold": add("paid"), "returned": add("paid"), "spent_credits": add("credits"),
    **same("", add("value"), "spent", "clawed_back", "corrected", "liability"),
    "liability_credits": add("left"), "price_per_credit": credits_at_their_price,
}  # fmt: skip
MEASURES: Mapping[tuple[str, str], Mapping[str, Measure]] = {
    ("revenue", "rows"): CHARGED,
    ("revenue", "totals"): CHARGED,
    ("revenue", "settled"): {
        **revenue("settled_amount", "settled_fee"), "balance": add("net"),
    },
    ("subscriptions", "mrr"): {
        **ROLLED, "opening": add("mrr"), "closing": add("mrr"), "closing_customers": count,
        "arpa": average("mrr"),
    },
    ("subscriptions", "counts"): same("", count, "active", "past_due", "trialing"),
    ("subscriptions", "churn"): {
        **LEFT, **same("_customers", count, *LEFT), "opening": add("mrr"),
        "opening_customers": count, "churn_rate": by("opening_customers", count),
        "mrr_churn_rate": by("opening", LEFT["churned"]),
    },
    ("subscriptions", "trials"): {
        **same("", count, "started", "ended", "converted", "lost"),
        "conversion": by("ended", lambda rows, row: sum(r["trial"] == "converted" for r in rows)),
    },
    ("subscriptions", "cohorts"): {
        "size": count, **{f"customers_{n}": by("size", left) for n in range(12)},
    },
    ("subscriptions", "cohort_mrr"): {
        "mrr": add("first_mrr"), **{f"mrr_{n}": by("mrr", add("mrr")) for n in range(12)},
    },
    ("failed_payments", "failed_payments"): DUNNING,
    ("failed_payments", "by_reason"): DUNNING,
    ("failed_payments", "now"): {"invoices": count, "amount_remaining": add("amount_remaining")},
    ("ageing", "ageing"): {"invoices": count, "amount": add("amount")},
    ("credits", "credits"): FLOWS,
    ("credits", "totals"): VALUES,
    ("credits", "values"): VALUES,
    ("credits", "heaviest"): {
        "spent": add("credits"), "credits": add("credits"), "value": add("value"),
    },
    ("credits", "reconciliation"): {"balances": add("balance")},
    ("balance", "categories"): {
        "count": count, "amount": add("amount"), "fee": add("fee"), "net": add("net"),
    },
    ("balance", "payouts"): {"movements": count, "contents": add("net")},
    ("balance", "balance"): MOVED,
    ("journal", "journal"): {"debit": add("amount"), "credit": add("amount", -1)},
    ("closing", "months"): {
        "closed": add("amount", less="fee"), "changed": add("difference"),
        "concerning": add("amount"),
    },
}  # fmt: skip
NOT_ADDED_UP = {
    ("credits", "price_per_lead"),  # of leads, which are not among its rows
    ("balance", "payout"),  # an id
}
TODAY = datetime.now(UTC).date()
QUARTER = {"from": str(TODAY - timedelta(days=90)), "to": str(TODAY)}
TEN_DAYS = {"from": str(TODAY - timedelta(days=10)), "to": str(TODAY)}
ASKED: tuple[dict[str, str], ...] = (
    {**QUARTER, "by": "month"},
    {
        **QUARTER,
        "by": "week",
        "timezone": "America/New_York",
        "currency": "eur",
        "split": "country",
    },
    {**TEN_DAYS, "by": "day", "timezone": "Asia/Tokyo", "against": "year", "reporting": "usd"},
    {**QUARTER, "by": "month", "split": "product", "kind": "subscription"},
)


@pytest.fixture
def market(real_database: Database, tmp_path: Path, settings: Settings) -> Iterator[None]:
    """Months of a marketplace at the sandbox, all of it here; one of them is closed."""
    arguments = ["--payouts", "daily"]
    with run_sandbox(tmp_path / "s.sqlite3", customers=40, extra_args=arguments) as running:
        settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = running.url
        settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = SECRET_KEY
        pack = running.story("buy_pack", email="ines@example.com", user_id="u_ines")
        running.story("refund", charge=pack["charge"], amount=1000)
        call_command(
            "sync_from_stripe", all=True, reason="All of it", verbosity=0, stdout=io.StringIO()
        )
        worker.drain()
        claim_leads(random.Random(1))
        call_command("sync_balance", verbosity=0, stdout=io.StringIO())
        call_command("finance_facts", "refresh", verbosity=0, stdout=io.StringIO())
        ReconciliationRun.objects.create(
            kind="daily",
            status="done",
            until=timezone.now(),
            finished_at=timezone.now(),
            actor="worker",
            measures={"credits": proof()},
        )
        close_last_month()
        yield


def close_last_month() -> None:
    """By two people; a sale of it comes to light, and a refund of it afterwards."""
    month_rows.open_months("UTC", timezone.now())
    month = str(MonthClose.objects.order_by("month").last())
    said = {"reason": "For the books", "month": month}
    SignMonth(**said, actor=Actor.cli("sue"), explanation="Not compared with Stripe").apply()
    ReviewMonth(**said, actor=Actor.cli("rob")).apply()
    until = Month.parsed(month, "UTC").until
    sold = RevenueEntry.objects.filter(item="gross", at__lt=until).order_by("at").last()
    assert sold is not None
    sold.pk, sold.source = None, "txn_late"
    sold.save()
    month_rows.see_what_came_since()


def asked_of(report: Report, given: Mapping[str, str]) -> Asked:
    names = [each.name for each in report.filters]
    return Asked.of({"by": report.by, **given}, names=names, zone="UTC", now=timezone.now())


def figures_of(table: Table) -> Iterator[tuple[Row, str, Drill]]:
    """The figures of a table that open rows."""
    for row in table.rows:
        for column in table.columns:
            if table.drill and row.get(column.name):
                drill = table.drill(row, column.name)
                if drill:
                    yield row, column.name, drill


def wrong_of(report: Report, asked: Asked, seen: set[tuple[str, str]]) -> Iterator[str]:
    """What the rows behind the figures do not add up to."""
    for table in report.view(asked).tables:
        for row, column, drill in figures_of(table):
            behind = report.behind(asked_of(report, {**asked.params(), **drill}), drill)
            rows = list(behind.rows)
            missing = [each.name for each in behind.columns if rows and each.name not in rows[0]]
            assert missing == [], f"{report.name} {behind.name}"
            if (report.name, column) in NOT_ADDED_UP:
                continue
            found = MEASURES[report.name, table.name][column](rows, row)
            if found != pytest.approx(row[column], abs=1e-9):
                yield f"{report.name} {table.name} {column}: {row[column]}, behind it {found}"
            seen.add((table.name, column))


def test_the_rows_behind_each_figure_add_up_to_it(market: None) -> None:
    wrong, seen = [], set()
    for report in REPORTS:
        for given in ASKED[: 4 if report.name == "revenue" else 3]:
            wrong += wrong_of(report, asked_of(report, given), seen)
    assert wrong == []
    assert len(seen) > 70  # the market is busy enough for most figures not to be 0
    every_page_opens(log_in_as("finance"))


def every_page_opens(client: Client) -> None:
    """Each report, its months and the first rows behind each table; each of them as a file."""
    for report in REPORTS:
        where, asked = f"/admin/finance/{report.name}/", asked_of(report, ASKED[0])
        page = client.get(with_query(where, asked.params())).content.decode()
        for table in report.view(asked).tables:
            assert f'id="table-{table.name}"' in page
            read(client, f"{where}file.xlsx", {**asked.params(), "table": table.name})
            for _, _, drill in islice(figures_of(table), 1):
                asked_for = {**asked.params(), **drill}
                assert with_query("rows/", asked_for).replace("&", "&amp;") in page
                assert client.get(with_query(f"{where}rows/", asked_for)).status_code == 200
                read(client, f"{where}file.csv", {**asked_for, "table": "behind"})
    for month in MonthClose.objects.all():
        assert client.get(page_url(month)).status_code == 200


def read(client: Client, path: str, query: dict[str, str]) -> None:
    """Takes a file away: it is whole, says what it is, and leaves an audit event."""
    before = BillingEvent.objects.filter(type="manual.export").count()
    answer: Any = client.get(with_query(path, query))
    content = b"".join(answer.streaming_content)
    if path.endswith("csv"):
        assert content.startswith(b"# "), query
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            sheets = [book.read(name) for name in book.namelist() if "sheet" in name]
        assert b"Filter: from" in sheets[0]
        assert not any(b"<f>" in sheet for sheet in sheets)
    assert BillingEvent.objects.filter(type="manual.export").count() == before + 1
