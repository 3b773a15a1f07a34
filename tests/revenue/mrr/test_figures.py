"""The figures of subscriptions: they add up, and the rows behind them are those they count."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.ingress import log
from billing.models import MrrChange, SubscriptionsRead, SubscriptionState
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.mrr import facts
from billing.revenue.mrr.report import Subscriptions
from billing.revenue.report import Row, Table
from tests.revenue.mrr.events import DAY, START, Told, items, price

pytestmark = pytest.mark.django_db

REPORT = Subscriptions()
BERLIN = "Europe/Berlin"


def asked(first: date, last: date, zone: str = "UTC", **more: Any) -> Asked:
    return Asked(first, last, zone, **{"by": "month", **more})


def tables(of: Asked) -> dict[str, Table]:
    facts.refresh()
    return as_it_is(of)


def as_it_is(of: Asked) -> dict[str, Table]:
    """Without deriving what is new."""
    return {table.name: table for table in REPORT.view(of).tables}


def rows_of(table: Table) -> list[Row]:
    return list(table.rows)


def behind(of: Asked, table: Table, row: Row, column: str) -> list[Row]:
    """The rows behind a figure, which its table names."""
    assert table.drill
    drill = table.drill(row, column)
    assert drill is not None, column
    return list(REPORT.behind(of, drill).rows)


def told_year() -> None:
    """January: two customers, one in a trial. February: converted; upgraded. March: churned."""
    ada, bob, eva = Told("sub_a", "cus_a"), Told("sub_b", "cus_b"), Told("sub_c", "cus_c")
    ada.tell(0, "created")
    bob.tell(0, "created", status="trialing")
    eva.tell(1, "created", status="trialing")
    eva.cancel(15)
    bob.tell(30, status="active")
    ada.tell(35, items=items((price(3000), 1)))
    bob.tell(45, status="past_due")
    ada.cancel(70)
    bob.tell(75, "deleted", status="canceled", cancellation_details={"reason": "payment_failed"})
    again = Told("sub_d", "cus_a")
    again.tell(90, "created", items=items((price(500), 1)))


STATUSES = ("active", "active", "past_due", "trialing", "unpaid", "canceled", "incomplete")
FOUR_MONTHS = (date(2026, 1, 1), date(2026, 4, 30))


def test_a_roll_forward_by_month() -> None:
    told_year()
    said = tables(asked(*FOUR_MONTHS))
    names = ("opening", "new", "expansion", "contraction", "churned", "reactivated", "closing")
    assert [tuple(row[name] for name in names) for row in rows_of(said["mrr"])] == [
        (0, 1000, 0, 0, 0, 0, 1000),
        (1000, 1000, 2000, 0, 0, 0, 4000),
        (4000, 0, 0, 0, 4000, 0, 0),
        (0, 0, 0, 0, 0, 500, 500),
    ]
    figures = [(row["closing_customers"], row["arpa"]) for row in rows_of(said["mrr"])]
    assert figures == [(1, 1000), (2, 2000), (0, None), (1, 500)]
    counted = [(r["active"], r["past_due"], r["trialing"]) for r in rows_of(said["counts"])]
    assert counted == [(1, 0, 1), (1, 1, 0), (0, 0, 0), (1, 0, 0)]
    march = rows_of(said["churn"])[2]
    assert (march["opening_customers"], march["churned_customers"]) == (2, 2)
    assert (march["voluntary_customers"], march["involuntary_customers"]) == (1, 1)
    assert (march["voluntary"], march["involuntary"]) == (3000, 1000)
    assert (march["churn_rate"], march["mrr_churn_rate"]) == (1.0, 1.0)
    assert rows_of(said["trials"]) == [
        {"date": "2026-01-01", "currency": "usd", "started": 2, "ended": 1, "converted": 0,
         "lost": 1, "conversion": 0.0},
        {"date": "2026-02-01", "currency": "usd", "started": 0, "ended": 1, "converted": 1,
         "lost": 0, "conversion": 1.0},
    ]  # fmt: skip


def test_cohorts_of_customers_and_of_their_revenue() -> None:
    told_year()
    of = asked(*FOUR_MONTHS)
    said = tables(of)
    cohorts = rows_of(said["cohorts"])
    assert [(row["date"], row["size"], row["mrr"]) for row in cohorts] == [
        ("2026-01-01", 1, 1000), ("2026-02-01", 1, 1000),
    ]  # fmt: skip
    assert [cohorts[0][f"customers_{age}"] for age in range(4)] == [1.0, 1.0, 0.0, 1.0]
    assert [cohorts[0][f"mrr_{age}"] for age in range(4)] == [1.0, 3.0, 0.0, 0.5]
    assert [cohorts[1][f"customers_{age}"] for age in range(4)] == [1.0, 0.0, 0.0, None]
    members = behind(of, said["cohort_mrr"], cohorts[0], "mrr_3")
    assert [(row["customer_id"], row["first_mrr"], row["mrr"]) for row in members] == [
        ("cus_a", 1000, 500)
    ]
    only_march = tables(asked(date(2026, 3, 1), date(2026, 3, 31)))
    assert len(rows_of(only_march["cohorts"])) == 2  # of the last twelve months


def test_the_rows_behind_every_figure_add_up_to_it() -> None:
    told_year()
    of = asked(*FOUR_MONTHS)
    said = tables(of)
    looked_at = 0
    for name in ("mrr", "churn", "counts", "trials"):
        for row in rows_of(said[name]):
            for column in said[name].columns:
                value, found = row[column.name], None
                if column.name in ("date", "currency") or value is None:
                    continue
                found = behind(of, said[name], row, column.name)
                looked_at += 1
                if column.kind == "number":
                    assert len(found) == value, (name, row["date"], column.name)
                elif column.name in ("opening", "closing"):
                    assert sum(each["mrr"] for each in found) == value
                elif column.kind == "money" and column.name != "arpa":
                    assert sum(abs(each["change"]) for each in found) == value
    assert looked_at == 4 * 9 + 4 * 10 - 4 + 4 * 3 + 2 * 5 - 1


@pytest.mark.parametrize(
    "drill",
    [
        {}, {"of": "mrr", "column": "date", "date": "2026-01-01"},
        {"of": "mrr", "column": "new", "date": "2026-01-02", "currency": "usd"},
        {"of": "mrr", "column": "new"},
        {"of": "cohorts", "column": "customers_9", "date": "2026-01-01", "currency": "usd"},
        {"of": "cohorts", "column": "mrr_1", "date": "2026-01-01", "currency": "usd"},
    ],
)  # fmt: skip
def test_what_no_figure_has_is_refused(drill: dict[str, str]) -> None:
    with pytest.raises(InvalidReportError):
        REPORT.behind(asked(*FOUR_MONTHS), drill)


def test_currencies_are_apart_and_one_can_be_asked_for() -> None:
    Told("sub_u", "cus_u").tell(0, "created")
    Told("sub_j", "cus_j", "jpy").tell(0, "created", items=items((price(500), 2)))
    january = (date(2026, 1, 1), date(2026, 1, 31))
    both = rows_of(tables(asked(*january))["mrr"])
    assert [(row["currency"], row["closing"]) for row in both] == [("jpy", 1000), ("usd", 1000)]
    yen = tables(asked(*january, currency="jpy"))
    for name in ("mrr", "counts", "churn", "cohorts"):
        assert [row["currency"] for row in rows_of(yen[name])] == ["jpy"]


def test_days_are_those_of_the_zone_also_when_its_clocks_change() -> None:
    """The 29th of March has 23 hours in Berlin: from 23:00 on the 28th to 22:00 UTC."""
    moments = [
        datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC),
    ]  # fmt: skip
    for number, at in enumerate(moments):
        Told(f"sub_{number}", f"cus_{number}").tell((at - START) / DAY, "created")
    of = asked(date(2026, 3, 28), date(2026, 3, 30), BERLIN, by="day")
    found = rows_of(tables(of)["mrr"])
    assert [(row["date"], row["new"], row["closing"]) for row in found] == [
        ("2026-03-28", 1000, 1000), ("2026-03-29", 2000, 3000), ("2026-03-30", 1000, 4000),
    ]  # fmt: skip


def chance_life(random: Random, number: int) -> list[dict[str, Any]]:
    """The events of one subscription, whatever they are, in the order of their time."""
    told = Told(f"sub_{number}", f"cus_{number % 7}", random.choice(("usd", "eur")))
    at = random.uniform(0, 100)
    events = []
    for turn in range(random.randint(1, 8)):
        change: dict[str, Any] = {"status": random.choice(STATUSES)}
        if random.random() < 0.5:
            change["items"] = items((price(random.choice((0, 700, 900))), random.randint(1, 3)))
        events.append(told.event(at, "updated" if turn else "created", **change))
        at += random.choice((0, 1 / 24, random.uniform(0, 40)))
    return events


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_it_adds_up(seed: int) -> None:
    """Opening and closing are the sums of the states; what moved explains them, in any zone."""
    random = Random(seed)
    events = [event for number in range(25) for event in chance_life(random, number)]
    random.shuffle(events)
    for part in (events[:30], events[30:]):  # the second brings the past as well
        log.write(part)
        facts.refresh()
    assert list(facts.check()) == []
    zone = random.choice((BERLIN, "UTC", "Asia/Kathmandu", "America/Los_Angeles"))
    by = random.choice(("day", "week", "month"))
    of = asked(date(2026, 1, 5), date(2026, 6, 20), zone, by=by)
    stale = SubscriptionsRead.objects.filter(pk=1)
    said = tables(of)
    first, counted = rows_of(said["mrr"]), rows_of(said["counts"])
    stale.update(stale_from=START + timedelta(days=60))  # not yet added up: read from the facts
    assert rows_of(as_it_is(of)["mrr"]) == first
    ends = dict(zip([of.periods.label(n) for n in range(of.periods.count)], of.periods.ends,
                    strict=True))  # fmt: skip
    before: dict[str, Row] = {}
    for row, numbers in zip(first, counted, strict=True):
        came = row["new"] + row["expansion"] + row["reactivated"]
        assert row["opening"] + came - row["contraction"] - row["churned"] == row["closing"]
        assert row["voluntary"] + row["involuntary"] == row["churned"]
        if row["currency"] in before:
            assert before[row["currency"]]["closing"] == row["opening"]
        before[row["currency"]] = row
        standing = [
            state for state in SubscriptionState.objects.filter(currency=row["currency"])
            if state.at < ends[row["date"]] <= (state.until or ends[row["date"]])
        ]  # fmt: skip
        assert row["closing"] == sum(state.mrr for state in standing)
        assert row["closing_customers"] == len({s.customer_id for s in standing if s.mrr})
        for status in ("active", "past_due", "trialing"):
            assert numbers[status] == sum(state.status == status for state in standing)
    zones = ZoneInfo(zone)
    months = {change.first_at.astimezone(zones).strftime("%Y-%m-01")
              for change in MrrChange.objects.filter(first_at__gte=of.since)}  # fmt: skip
    assert months >= {row["date"] for row in rows_of(said["cohorts"])} - {"2026-01-01"}


def test_a_view_asks_the_database_three_times() -> None:
    told_year()
    facts.refresh()
    with CaptureQueriesContext(connection) as statements:
        as_it_is(asked(date(2025, 7, 1), date(2026, 6, 30), BERLIN))
    assert len(statements.captured_queries) == 3
