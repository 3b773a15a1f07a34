"""A run's charts: its events on both sides, and its measures beside those of earlier runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.template.loader import render_to_string

from billing.admin.charts import Chart
from billing.admin.run_charts import run_charts
from billing.models import ReconciliationRun
from tests.admin.conftest import count_queries

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def run(day: int, **more: Any) -> ReconciliationRun:
    fields = {"kind": "daily", "status": "done", "actor": "worker", **more}
    at = START + day * DAY
    return ReconciliationRun.objects.create(started_at=at, until=at, **fields)


def measured(share: float, median: float, worst: float, hours: int = 48) -> dict[str, Any]:
    return {
        "completeness": {
            "count": {"stripe": 100, "here": 99, "share": share},
            "money": {"usd": {"share": share}, "eur": {"share": share - 0.25}},
        },
        "clearing": {"count": {"share": share}},
        "timeliness": {"median": median, "worst": {"seconds": worst, "event": "evt_1"}},
        "events_by_hour": [
            [(START + timedelta(hours=i)).isoformat(), 5, 4 if i == 30 else 5] for i in range(hours)
        ],
    }


def charts(of: ReconciliationRun) -> dict[str, Chart]:
    return {chart.title: chart for chart in run_charts(of)}


def written(chart: Chart) -> list[str]:
    return [chart.written(value) for value in chart.series[0].values]


def test_runs_of_a_kind_are_compared_up_to_the_one_that_is_looked_at() -> None:
    run(0, measures=measured(1, 2, 30), differences={"event_failed": 4})
    run(0, kind="weekly", differences={"event_failed": 40})
    run(1, status="failed")
    run(1, differences={"event_failed": 3, "raw_sql": 2})  # it measured nothing
    looked_at = run(2, measures=measured(0.98, 3, 7200))
    run(3, differences={"event_failed": 50})
    shown = charts(looked_at)
    assert list(shown["Differences by run"].series[0].values) == [4, 5, 0]
    assert written(shown["Completeness: what was missing"]) == ["0 %", "–", "2 %"]
    _, money = shown["Completeness: what was missing"].series
    assert list(money.values) == [25, None, 27]
    assert written(shown["Clearing: what was unexplained"]) == ["0 %", "–", "2 %"]
    assert written(shown["Timeliness: median delay"]) == ["2.0 seconds", "–", "3.0 seconds"]
    assert written(shown["Timeliness: worst delay"]) == ["0.0 hours", "–", "2.0 hours"]
    assert shown["Differences by run"].links[-1].endswith(f"/{looked_at.pk}/change/")


def test_events_are_shown_by_the_day_and_at_last_by_the_hour() -> None:
    chart = charts(run(2, measures=measured(1, 1, 1)))["Events by hour"]
    at_stripe, here = chart.series
    assert (at_stripe.values[30], here.values[30]) == (5, 4)
    assert "created_at__gte=2026-03-02T06%3A00%3A00Z" in chart.links[30]
    week = charts(run(9, measures=measured(1, 1, 1, hours=24 * 7)))
    assert [series.values[1] for series in week["Events by day"].series] == [120, 119]
    assert len(week["Events by day"].labels) == 7
    assert len(week["Events by hour"].labels) == 48
    # An hour without any event has its place, too.
    gap = [["2026-03-01T10:00:00+00:00", 9, 8], ["2026-03-01T13:00:00+00:00", 1, 1]]
    chart = charts(run(10, measures={"events_by_hour": gap}))["Events by hour"]
    assert [list(series.values) for series in chart.series] == [[9, 0, 0, 1], [8, 0, 0, 1]]


def test_a_run_that_measured_nothing_says_so() -> None:
    page = render_to_string(
        "admin/billing/run_charts.html", {"charts": run_charts(run(0, status="running"))}
    )
    assert page.count("No run has measured it yet.") == 5
    assert "This run compared no events." in page
    assert "<svg" not in page


def test_it_costs_one_statement() -> None:
    last = run(0)
    assert count_queries(lambda: charts(last)) == 1
    for day in range(1, 40):
        last = run(day, measures=measured(1, 1, 1))
    assert count_queries(lambda: charts(last)) == 1
    assert len(charts(last)["Differences by run"].labels) == 30
