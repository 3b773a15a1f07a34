"""Charts of reconciliation: one run's events by the hour, and its measures from run to run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from billing.admin import cells
from billing.admin.charts import PERCENT, Chart, Kind, Number, Series, Unit, counted, duration
from billing.formatting import iso_time
from billing.models import BillingEvent, ReconciliationRun

Status = ReconciliationRun.Status
TREND = 30  # runs
MOST_HOURS = 48
MOST_DAYS = 92

# What the charts need of a run, without its report and findings.
FIELDS = ("kind", "status", "until", "started_at", "differences", "at_stake", "measures")


def run_charts(run: ReconciliationRun) -> list[Chart]:
    """What a run's page shows: its events, and the runs of its kind up to itself."""
    runs = previous(run.kind, run.started_at)
    return [
        *events(run),
        differences(runs),
        completeness(runs),
        *timeliness(runs),
        clearing(runs),
    ]


def previous(kind: str, until: datetime | None = None) -> list[ReconciliationRun]:
    """The last runs of a kind that came to their end, the oldest first."""
    rows = ReconciliationRun.objects.filter(kind=kind, status=Status.DONE).only(*FIELDS)
    if until:
        rows = rows.filter(started_at__lte=until)
    return list(reversed(rows.order_by("-started_at")[:TREND]))


def share(run: ReconciliationRun, measure: str) -> float | None:
    """A measure's share by count, 0 to 1; None where the run did not take it."""
    found = run.measures.get(measure, {}).get("count", {}).get("share")
    return None if found is None else float(found)


def missing(measure: Mapping[str, Any]) -> Number:
    """What a share lacks of the whole, in per cent; None where it was not taken."""
    found = measure.get("share")
    return None if found is None else (1 - float(found)) * 100


def lacking(runs: Sequence[ReconciliationRun], measure: str) -> list[Series]:
    """What a measure lacks of the whole: in count, and in money where it lacks most of it."""
    found = [run.measures.get(measure, {}) for run in runs]
    money = [[missing(each) for each in one.get("money", {}).values()] for one in found]
    return [
        Series("by count", [missing(each.get("count", {})) for each in found]),
        Series(
            "by money, in the worst currency",
            [max((n for n in each if n is not None), default=None) for each in money],
        ),
    ]


def differences(runs: Sequence[ReconciliationRun]) -> Chart:
    return over_runs(
        runs,
        "Differences by run",
        "How many findings each run left; none is best.",
        [Series("differences", [run.found for run in runs])],
        counted("findings"),
        kind="bars",
        empty="No run has found any difference." if runs else "",
    )


def completeness(runs: Sequence[ReconciliationRun]) -> Chart:
    return over_runs(
        runs,
        "Completeness: what was missing",
        "Of what is at Stripe, the share that was not here when the run looked; 0 % is best.",
        lacking(runs, "completeness"),
        PERCENT,
    )


def clearing(runs: Sequence[ReconciliationRun]) -> Chart:
    return over_runs(
        runs,
        "Clearing: what was unexplained",
        "Of the payments, the share that has not ended in a grant, an invoice, a refund or a"
        " dispute; 0 % is best.",
        lacking(runs, "clearing"),
        PERCENT,
    )


def timeliness(runs: Sequence[ReconciliationRun]) -> list[Chart]:
    """Two charts, since the worst is often a thousand times the median."""
    return [
        delay(runs, "median", "Half of what Stripe told was here sooner than this."),
        delay(runs, "worst", "The longest that anything took from Stripe's own time to here."),
    ]


def delay(runs: Sequence[ReconciliationRun], which: str, about: str) -> Chart:
    found = [seconds_of(run.measures.get("timeliness", {}).get(which)) for run in runs]
    unit, seconds = duration(max((value for value in found if value is not None), default=0))
    values = [None if value is None else value / seconds for value in found]
    return over_runs(runs, f"Timeliness: {which} delay", about, [Series(which, values)], unit)


def seconds_of(delay: Any) -> float | None:
    """A delay in seconds; the worst is told with the event that took so long."""
    value = delay.get("seconds") if isinstance(delay, dict) else delay
    return None if value is None else float(value)


def over_runs(
    runs: Sequence[ReconciliationRun],
    title: str,
    about: str,
    series: Sequence[Series],
    unit: Unit,
    *,
    kind: Kind = "lines",
    empty: str = "",
) -> Chart:
    """Values of one run each, by the time up to which it looked."""
    return Chart(
        title=title,
        about=f"{about} The last {len(runs)} runs of this kind." if len(runs) > 1 else about,
        unit=unit,
        labels=[f"{run.until:%Y-%m-%d %H:%M}" for run in runs],
        ticks=[f"{run.until:%m-%d}" for run in runs],
        heading="Run up to (UTC)",
        series=series,
        kind=kind,
        url=cells.changelist_url(ReconciliationRun, kind=runs[0].kind)
        if runs
        else cells.changelist_url(ReconciliationRun),
        links=[cells.page_url(run) for run in runs],
        empty=empty or "No run has measured it yet.",
    )


def events(run: ReconciliationRun) -> list[Chart]:
    """Stripe's events and ours: by the day, and by the hour in the last two days."""
    found = run.measures.get("events_by_hour", [])
    hours = [(datetime.fromisoformat(hour), there, here) for hour, there, here in found]
    days = [(hour.replace(hour=0, minute=0, second=0), *counts) for hour, *counts in hours]
    return [
        events_by("day", timedelta(days=1), days, MOST_DAYS, "%m-%d"),
        events_by("hour", timedelta(hours=1), hours, MOST_HOURS, "%H:%M"),
    ]


def events_by(
    word: str,
    size: timedelta,
    counts: Sequence[tuple[datetime, int, int]],
    most: int,
    written: str,
) -> Chart:
    """Each day or hour from the first to the last, also those without any event."""
    sums: defaultdict[datetime, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for start, there, here in counts:
        sums[start] = (sums[start][0] + there, sums[start][1] + here)
    first, last = min(sums, default=None), max(sums, default=None)
    number = (last - first) // size + 1 if first and last else 0
    starts = [last - size * i for i in reversed(range(min(number, most)))] if last else []
    return Chart(
        title=f"Events by {word}",
        about=f"Made in each {word} (UTC), as Stripe lists them and as they are here.",
        unit=counted("events"),
        labels=[f"{start:%Y-%m-%d %H:%M}" for start in starts],
        ticks=[start.strftime(written) for start in starts],
        heading="From (UTC)",
        series=[
            Series("at Stripe", [sums[start][0] for start in starts]),
            Series("here", [sums[start][1] for start in starts]),
        ],
        kind="lines",
        url=cells.changelist_url(BillingEvent),
        links=[
            cells.changelist_url(
                BillingEvent,
                created_at__gte=iso_time(start),
                created_at__lt=iso_time(start + size),
            )
            for start in starts
        ],
        empty="This run compared no events.",
    )
