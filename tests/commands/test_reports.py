"""`manage.py revenue_bridge` and `credit_usage`: the weekly reports of finance (R3, R4)."""

import csv
from datetime import UTC, datetime, timedelta

import pytest

from billing.management.report import in_units, window
from billing.models import BillingEvent, LeadClaim, Purchase, RevenueEntry, acting_as
from billing.revenue.asked import InvalidReportError
from tests.commands.conftest import Run
from tests.operations.shop import Shop

pytestmark = pytest.mark.django_db

TODAY = datetime.now(UTC).date()
DAYS = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY + timedelta(days=1)))


def test_the_bridge_is_told_to_people_to_spreadsheets_and_to_programs(run: Run, shop: Shop) -> None:
    bought = shop.buy()
    shop.sandbox.story("refund", charge=bought["charge"], amount=1000)
    shop.deliver()
    ran = run("revenue_bridge", *DAYS)
    assert (ran.code, ran.error) == (0, "")
    assert "packs 45.00 USD, = charges 45.00 USD" in ran.stdout
    assert "charges 45.00 USD, refunds -10.00 USD, fees -1.60 USD, = net 33.40 USD" in ran.stdout

    rows = list(csv.DictReader(run("revenue_bridge", *DAYS, "--csv").stdout.splitlines()))
    [refunds] = [row for row in rows if row["item"] == "refunds"]
    assert (refunds["part"], refunds["minor_units"], refunds["amount"]) == (
        "settled", "-1000", "-10.00",
    )  # fmt: skip
    assert {row["minor_units"] for row in rows if row["item"] == "remainder"} == {"0"}

    with acting_as("test"):
        Purchase.objects.all().delete()
    ran = run("revenue_bridge", *DAYS)
    assert ran.code == 1
    assert ran.error.endswith("a remainder is left on 1 day and currency.")
    assert f"{bought['charge']}: No invoice and no purchase here explains it." in ran.stdout
    ran = run("revenue_bridge", *DAYS, "--json")
    assert (ran.code, ran.document["status"]) == (1, "attention")
    assert ran.document["totals"]["collected"]["usd"]["remainder"] == 4500


def test_usage_is_told_in_the_same_ways(run: Run) -> None:
    with acting_as("test"):
        for back in range(5):
            at = datetime.now(UTC) - timedelta(days=3 * back)
            LeadClaim.objects.create(
                user_id="u_ada", credits_spent=1 if back else 80, claimed_at=at
            )
    ran = run("credit_usage", *DAYS)
    assert ran.code == 0
    assert (
        "Credits: 80, in the period before 1. Claims: 1, and 0 that failed. Users: 1." in ran.stdout
    )
    assert "  u_ada: 80 credits in 1 claim, usually 1.0, MORE" in ran.stdout
    [row] = csv.DictReader(run("credit_usage", *DAYS, "--csv").stdout.splitlines())
    assert (row["user_id"], row["credits"], row["direction"]) == ("u_ada", "80", "more")
    assert run("credit_usage", *DAYS, "--json").document["outliers_found"] == 1


@pytest.mark.parametrize("command", ["revenue_bridge", "credit_usage"])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--from", "yesterday"), "“yesterday” is no date: write it like 2026-11-01."),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "The first day must not be after"),
        (("--from", "2020-01-01", "--to", "2026-11-01"), "A report has at most 400 days."),
        (("--timezone", "Mars/Olympus"), "“Mars/Olympus” is no time zone"),
        (("--timezone", "/etc/passwd"), "“/etc/passwd” is no time zone"),
        (("--to", "0001-01-01"), "The year must be from 2000 to 2100."),
        (("--json", "--csv"), "Ask for --json or for --csv."),
    ],
)
def test_what_is_no_window_is_refused(
    run: Run, command: str, wrong: tuple[str, ...], sentence: str
) -> None:
    ran = run(command, *wrong)
    assert ran.code == 2
    assert ran.error.startswith(sentence)


def test_the_days_are_whole_ones_of_the_zone() -> None:
    named = {"first": "2026-10-25", "last": "2026-10-25", "timezone": "Europe/Berlin"}
    days = window(named)
    assert days["until"] - days["since"] == timedelta(hours=25)
    week = window(named | {"first": None, "last": None})
    assert week["until"] <= datetime.now(UTC)
    assert window(named | {"first": None})["since"] == datetime(2026, 10, 18, 22, tzinfo=UTC)
    with pytest.raises(InvalidReportError):
        window(named | {"timezone": ""})


def test_amounts_for_spreadsheets() -> None:
    assert [in_units(-5, "usd"), in_units(1500, "jpy"), in_units(1, "kwd")] == [
        "-0.05", "1500", "0.001",
    ]  # fmt: skip


def test_revenue_is_told_to_people_to_spreadsheets_and_to_programs(run: Run) -> None:
    RevenueEntry.objects.create(
        source="txn_1", line=0, at=datetime(2026, 3, 31, 22, tzinfo=UTC), item="gross",
        currency="eur", amount=1900, fee=60, settled_currency="eur", settled_amount=1900,
        settled_fee=60, tax=303, kind="pack",
    )  # fmt: skip
    april = ("--from", "2026-04-01", "--to", "2026-04-30", "--timezone", "Europe/Berlin",
             "--by", "month")  # fmt: skip
    [row] = run("revenue", *april, "--json").document["rows"]
    assert row == {
        "date": "2026-04-01", "currency": "eur", "gross": 1900, "refunds": 0, "disputes": 0,
        "fees": 60, "other": 0, "net": 1840, "tax": 303, "out_of_band": 0,
    }  # fmt: skip
    [row] = csv.DictReader(run("revenue", *april, "--csv").stdout.splitlines())
    assert (row["gross"], row["net"]) == ("19.00", "18.40")
    assert BillingEvent.objects.filter(type="manual.export").exists()
    said = run("revenue", *april, "--split", "kind").stdout
    assert "pack" in said
    assert "Nothing in these days." in run("revenue", "--from", "2020-01-01", "--to",
                                            "2020-01-31", "--table", "totals").stdout  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--csv", "--json"), "Ask for --json or for --csv."),
        (("--table", "moon"), "There are these tables: rows, totals, settled."),
        (("--split", "moon"), "It can be split by: product, price, kind, country."),
        (("--by", "moon"), "“moon” is no period. There are: day, week, month."),
    ],
)
def test_what_revenue_cannot_be_asked_says_what_can(
    run: Run, wrong: tuple[str, ...], sentence: str
) -> None:
    ran = run("revenue", *wrong)
    assert (ran.code, ran.error) == (2, sentence)
