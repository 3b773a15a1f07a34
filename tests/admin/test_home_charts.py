"""The home page's alerts, findings, runs and charts: what they say, and the rows they lead to."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from billing.admin.charts import Chart
from billing.admin.filters import span_words
from billing.models import (
    Alert,
    BillingPayment,
    CreditEntry,
    InboxEvent,
    ReconciliationRun,
)
from tests.admin import rows
from tests.admin.conftest import LogIn, Settings, count_queries

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 11, 12, 30, tzinfo=UTC)  # a Wednesday
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def run(**more: Any) -> ReconciliationRun:
    """One of an hour ago that was complete."""
    complete = {"completeness": {"count": {"stripe": 9, "here": 9, "share": 1.0}}}
    at = more.pop("started_at", NOW - HOUR)
    return rows.run(**{"started_at": at, "until": at, "measures": complete, **more})


def alert(key: str, **more: Any) -> Alert:
    fields = {"rule": "flow", "severity": "danger", "title": f"Alert {key}", **more}
    return Alert.objects.create(key=key, opened_at=NOW - HOUR, **fields)


@pytest.fixture
def page(support: Client) -> Any:
    """Asks for the home page at NOW; its context, or its text."""

    def ask(*, text: bool = False) -> Any:
        with time_machine.travel(NOW, tick=False):
            response = support.get(reverse("admin:index"))
        assert response.status_code == 200
        return response.content.decode() if text else response.context

    support.get(reverse("admin:index"))  # so that no session is renewed at another time
    return ask


def charts(context: Any) -> dict[str, Chart]:
    return {chart.title: chart for section in context["sections"] for chart in section.charts}


def section(context: Any, title: str) -> Any:
    return next(one for one in context["sections"] if one.title == title)


def numbers(chart: Chart) -> dict[str, list[float]]:
    return {series.name: [value or 0 for value in series.values] for series in chart.series}


def listed(client: Client, url: str) -> Sequence[Any]:
    with time_machine.travel(NOW, tick=False):
        response = client.get(url)
    assert response.status_code == 200, url
    return list(response.context["cl"].result_list)


def test_open_alerts_stand_above_all(page: Any) -> None:
    assert "Open alerts" not in page(text=True)
    alert("quiet", severity="warning", title="No event for an hour", page="/admin/")
    alert("worker", title="No worker runs", detail="The last was seen 5 minutes ago.")
    alert("abroad", page="//evil.example/", title=rows.HOSTILE, detail=rows.HOSTILE)
    alert("over", title="It is over", resolved_at=NOW)
    shown = page()["alerts"].shown
    assert [one.alert.key for one in shown] == ["worker", "abroad", "quiet"]
    assert [one.age for one in shown] == ["1 hour ago"] * 3
    text = page(text=True)
    for words in ("Open alerts", "The last was seen 5 minutes ago.", "since 2026-03-11 11:30 UTC"):
        assert words in text
    assert "It is over" not in text
    assert "evil.example" not in text
    assert rows.HOSTILE not in text


def test_findings_are_counted_by_kind_and_never_summed_across_currencies(
    page: Any, support: Client
) -> None:
    rows.finding("cs_1")
    rows.finding("cs_2", amount=300, currency="jpy", credits=None)
    rows.finding("cs_3", state="snoozed", snoozed_until=NOW)  # its time has come
    rows.finding("cs_4", state="snoozed", snoozed_until=NOW + 36_500 * DAY)
    rows.finding("cs_5", state="accepted")
    rows.finding("cs_6", state="resolved")
    rows.finding(
        "evt_1", kind="event_waiting", severity="warning", rank=2, amount=None, credits=None
    )
    rows.finding("x", kind="of_tomorrow", severity="warning", rank=2, amount=None, credits=None)
    found = section(page(), "Findings")
    assert found.answer == "Some need you"
    assert [(figure.title, figure.value, figure.tone) for figure in found.figures] == [
        ("Access at stake", "3", "danger"),
        ("Money at stake", "0", "success"),
        ("Worth a look", "2", "warning"),
    ]
    assert found.figures[0].verdict == "300 JPY, 90.00 USD, 100 credits at stake."
    assert [cells[:3] for _, cells in found.table.rows] == [
        ["Pack paid, not granted", "3", "300 JPY, 90.00 USD, 100 credits"],
        ["Event waits to be processed", "1", "–"],
        ["of tomorrow", "1", "–"],
    ]
    for url, count in [(found.table.rows[0][0], 3), (found.figures[2].url, 2)]:
        assert len(listed(support, url)) == count
    # What needs a person comes first.
    assert page()["sections"][0].title == "Findings"


def test_without_findings_it_says_so(page: Any) -> None:
    found = section(page(), "Findings")
    assert (found.answer, found.table) == ("No difference is open", None)


def test_events_are_counted_by_the_minute_and_by_the_hour(page: Any, support: Client) -> None:
    for i, (ago, status) in enumerate(
        [
            (timedelta(seconds=20), "processed"),
            (timedelta(minutes=5), "dead"),
            (timedelta(minutes=5), "pending"),
            (timedelta(minutes=59), "processed"),
            (timedelta(hours=3), "failed"),
            (timedelta(hours=30), "processed"),
        ]
    ):
        rows.inbox_event(f"evt_{i}", status=status, received_at=NOW - ago)
    rows.inbox_event("evt_api", source="api", received_at=NOW)  # nobody delivered it
    shown = charts(page())
    by_minute = numbers(shown["Events per minute"])
    assert len(by_minute["failed or dead"]) == 60
    assert sum(by_minute["received in order"]) == 3
    assert (by_minute["received in order"][-6], by_minute["failed or dead"][-6]) == (1, 1)
    assert (by_minute["received in order"][-1], by_minute["received in order"][0]) == (0, 1)
    by_hour = numbers(shown["Events per hour"])
    assert by_hour["failed or dead"] == [0] * 20 + [1, 0, 0, 1]
    assert by_hour["received in order"][-2:] == [1, 2]
    # A column leads to the very rows it counts.
    chart = shown["Events per minute"]
    assert {row.stripe_event_id for row in listed(support, chart.links[-6])} == {"evt_1", "evt_2"}
    text = support.get(chart.links[-6]).content.decode()
    assert "Inbox, from 2026-03-11 12:25:00 UTC to 2026-03-11 12:26:00 UTC" in text
    assert "Nothing was delivered" not in page(text=True)
    InboxEvent.objects.all().delete()
    assert "Nothing was delivered in the past hour." in page(text=True)


def entry(delta: int, kind: str, ago: timedelta) -> None:
    CreditEntry.objects.create(
        user_id="u_ada", delta=delta, kind=kind, balance_after=0, created_at=NOW - ago
    )


def test_credits_granted_and_spent_by_day(page: Any, support: Client) -> None:
    for delta, kind, ago in [
        (50, "pack", HOUR),
        (20, "grant", 2 * HOUR),
        (-3, "claim", HOUR),
        (-1, "sql", HOUR),
        (-50, "refund", HOUR),
        (30, "subscription", 13 * DAY),
        (99, "pack", 15 * DAY),
    ]:
        entry(delta, kind, ago)
    chart = charts(page())["Credits by day"]
    assert chart.labels[0] == "2026-02-26"
    assert numbers(chart) == {
        "granted": [30, *[0] * 12, 70],
        "spent": [*[0] * 13, 4],
        "taken back": [*[0] * 13, 50],
    }
    assert len(listed(support, chart.links[-1])) == 5
    assert "No credits came or went" not in page(text=True)


def pay(id_: str, amount: int, ago: timedelta, **more: Any) -> BillingPayment:
    return rows.payment(id_, amount=amount, created_at=NOW - ago, **more)


def test_revenue_is_compared_with_the_week_before(page: Any, support: Client) -> None:
    assert "Nothing was paid or refunded in the past 14 days." in page(text=True)
    pay("ch_1", 10_000, HOUR)
    pay("ch_2", 5_000, 2 * DAY)
    pay("ch_3", 12_000, 7 * DAY + HOUR)  # by this time a week ago
    pay("ch_4", 99_000, 7 * DAY - HOUR)  # that day, later
    pay("ch_5", 7_000, HOUR, status="failed")
    pay("ch_6", 2_000, HOUR, currency="jpy")
    pay("ch_7", 1, 15 * DAY)
    rows.reversal("re_1", amount=4_000, created_at=NOW - HOUR)
    rows.reversal("re_2", amount=4_000, created_at=NOW - HOUR, active=False)
    shown = charts(page())
    chart = shown["Paid in USD"]
    assert numbers(chart) == {
        "these seven days": [0, 0, 0, 0, 5_000, 0, 6_000],
        "the seven before": [0, 0, 0, 0, 0, 0, 111_000],
    }
    assert (
        "110.00 USD in these seven days so far, and 120.00 USD by this time a week before (-8%)."
        in chart.about
    )
    assert chart.ticks[-1] == "Wed 11"
    assert numbers(shown["Paid in JPY"])["these seven days"][-1] == 2_000
    assert {row.stripe_charge_id for row in listed(support, chart.links[-1])} == {"ch_1"}
    text = page(text=True)
    assert "60.00 USD" in text
    assert "2,000 JPY" in text


def test_days_are_those_of_the_reports_time_zone(page: Any, settings: Settings) -> None:
    pay("ch_1", 10_000, timedelta(hours=12))  # half past midnight in UTC, yesterday in New York
    assert numbers(charts(page())["Paid in USD"])["these seven days"][-1] == 10_000
    settings.REPORT_TIME_ZONE = "America/New_York"
    chart = charts(page())["Paid in USD"]
    assert numbers(chart)["these seven days"][-2:] == [10_000, 0]
    assert "America/New_York" in page(text=True)
    # On the day on which the clocks change, and the week before it, too.
    assert "created_at__gte=2026-03-08T05%3A00%3A00Z" in chart.links[3]
    assert "created_at__lt=2026-03-09T04%3A00%3A00Z" in chart.links[3]


def test_the_last_run_and_how_it_went_from_day_to_day(page: Any) -> None:
    assert section(page(), "Reconciliation").figures[0].verdict.startswith("Nothing was compared.")
    for i in range(35):
        run(
            started_at=NOW - (i + 1) * DAY,
            until=NOW - (i + 1) * DAY,
            differences={"event_failed": i} if i else {},
        )
    last = run(
        differences={"pack_not_granted": 2},
        at_stake={"usd": 9000, "jpy": 100, "credits": 5},
        measures={"completeness": {"count": {"stripe": 100_000, "here": 99_999, "share": 0.99999}}},
    )
    run(kind="weekly", started_at=NOW - 3 * DAY)
    found = section(page(), "Reconciliation")
    assert [(figure.title, figure.value, figure.tone) for figure in found.figures] == [
        ("Last reconciliation", "Daily, 1 hour ago", "success"),
        ("It found", "2 differences", "warning"),
        ("Completeness", "99.99 %", "warning"),
        ("Signed off", "not yet", "warning"),
    ]
    assert found.figures[1].verdict == "100 JPY, 90.00 USD, 5 credits at stake."
    differences, missing = found.charts
    assert numbers(differences)["differences"] == [*range(28, -1, -1), 2]
    assert f"/reconciliationrun/{last.pk}/change/" in differences.links[-1]
    assert missing.written(missing.series[0].values[-1]) == "0.001 %"
    last.signed_off_by, last.signed_off_at, last.sign_off = "fay", NOW, "Looked at both"
    last.save()
    assert section(page(), "Reconciliation").figures[3].verdict.endswith("Looked at both")


@pytest.mark.parametrize(
    ("more", "verdict", "tone"),
    [
        ({"status": "failed", "error": "Stripe is down"}, "It failed: Stripe is down", "danger"),
        ({"status": "running", "stage": "reading"}, "Running for", "success"),
        ({"started_at": NOW - 2 * DAY}, "None for more than a day.", "danger"),
    ],
)
def test_a_run_that_is_not_in_order(
    page: Any, more: dict[str, Any], verdict: str, tone: str
) -> None:
    run(**more)
    figure = section(page(), "Reconciliation").figures[0]
    assert figure.verdict.startswith(verdict)
    assert figure.tone == tone


def test_of_a_run_that_failed_nobody_knows_what_it_would_have_found(page: Any) -> None:
    run(status="failed", error="Stripe is down")
    found = section(page(), "Reconciliation").figures[1]
    assert (found.value, found.verdict) == ("–", "It did not come to its end: nobody knows.")


def test_only_those_who_may_see_it(log_in: LogIn) -> None:
    alert("worker")
    rows.finding("cs_1")
    run()
    pay("ch_1", 100, HOUR)
    assert "Open alerts" in log_in("finance").get(reverse("admin:index")).content.decode()
    text = log_in("nobody").get(reverse("admin:index")).content.decode()
    for words in ("Open alerts", "at stake", "Last reconciliation", "Paid in", "billing-chart"):
        assert words not in text


def fill(start: int, stop: int) -> None:
    for i in range(start, stop):
        alert(f"alert {i}")
        rows.finding(f"cs_{i}", kind=f"kind_{i}")
        run(started_at=NOW - i * HOUR)
        rows.inbox_event(f"evt_{i}", received_at=NOW - i * HOUR)
        pay(f"ch_{i}", 100, i * HOUR, currency=["usd", "eur", "jpy"][i % 3])
        entry(5, "pack", i * HOUR)


def test_it_costs_the_same_however_much_there_is(page: Any) -> None:
    fill(0, 3)
    few = count_queries(page)
    fill(3, 40)
    assert count_queries(page) == few <= 30


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"a__gte": "2026-03-11T12:00:00Z"}, "from 2026-03-11 12:00:00 UTC"),
        ({"a__lt": "2026-03-11T12:00:00+01:00"}, "to 2026-03-11 11:00:00 UTC"),
        ({"a__gte": "2026-03-11T12:00:00"}, ""),
        ({"a__gte": "2026-02-31T12:00:00Z", "amount__lt": "5"}, ""),
        ({"q": "2026-03-11T12:00:00Z"}, ""),
        ({}, ""),
    ],
)
def test_a_list_says_between_which_times_it_was_asked_for(
    query: dict[str, str], words: str
) -> None:
    assert span_words(query) == words


@pytest.mark.parametrize("value", ["garbage", "2026-02-31T12:00:00Z", "", "<script>"])
def test_a_span_that_is_none_breaks_no_list(support: Client, value: str) -> None:
    url = reverse("admin:billing_inboxevent_changelist")
    response = support.get(url, {"received_at__gte": value}, follow=True)
    assert response.status_code == 200
