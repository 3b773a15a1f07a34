"""A run of reconciliation, from its start, or from where it was, to its end.

Each stage is done once: what was read, what was suspected and who was examined are rows, so that a
run that was killed at any point goes on there. Two never run at once.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing.database import held
from billing.gateway.client import Gateway, GatewayError, gateway
from billing.models import ReconciliationRun, ReconciliationSlice, ReconciliationSuspect
from billing.models.incidents import current_incident
from billing.reconciliation import adopted, books, examining, measures, reading, worklist
from billing.revenue import bridge_days
from billing.revenue.bridge import bridge
from billing.revenue.credits.figures import proof
from billing.revenue.days import last_days
from billing.revenue.usage import usage

logger = logging.getLogger(__name__)

Kind, Status = ReconciliationRun.Kind, ReconciliationRun.Status
SPAN = {Kind.DAILY: timedelta(days=1), Kind.WEEKLY: timedelta(days=7)}
OVERLAP = timedelta(days=1)  # of a window with the one before it: what came late is seen
FIRST = timedelta(days=7)  # the first daily window, where there is no run to go on from
RESUMED_FOR = timedelta(hours=24)  # after which a run that was interrupted is given up
TOLD_EVERY = 1.0  # seconds between two notes of progress
MOST_BRIDGED = 31  # days that a daily run ties to Stripe's charges and balance
STAGES = ("reading", "books", "examining", "measuring")
FIGURES = (
    "status", "finished_at", "stage", "in_flight", "counts", "measures", "report", "differences",
    "at_stake",
)  # fmt: skip

Tell = Callable[[str], None]


class AlreadyRunningError(Exception):
    """Another process works on a run. The text says so, for people."""


def reconcile(
    kind: str,
    *,
    actor: str,
    since: datetime | None = None,
    on_progress: Tell | None = None,
    grace: timedelta | None = None,
) -> ReconciliationRun:
    """Compares our books with Stripe's, and keeps every difference as a finding.

    An interrupted run of this kind, of the last day, goes on where it was. `since` (UTC) is where
    the window begins instead of where the last run's ended. `grace` (two minutes) is for how long
    an event may be on its way before its absence is a difference. Raises AlreadyRunningError, and
    a GatewayError where Stripe did not tell all: the run is then failed, and goes on when it is
    started again.
    """
    with alone():
        _forget_given_up()
        run = _interrupted(kind, since) or _started(kind, actor, since)
        _work(run, on_progress, examining.GRACE if grace is None else grace)
        return run


def alone() -> AbstractContextManager[None]:
    """Holds the one lock of all runs, for as long as this process's connection lives."""
    return held("reconciliation", _under_way)


def _under_way() -> AlreadyRunningError:
    run = ReconciliationRun.objects.filter(status=Status.RUNNING).first()
    who = f", started by {run.actor}, {run.stage}" if run else ""
    return AlreadyRunningError(
        f"A reconciliation is under way{who}. Wait for its end: its page shows progress."
    )


def _interrupted(kind: str, since: datetime | None) -> ReconciliationRun | None:
    """The newest run of this kind, if it has not come to its end; older ones are given up."""
    runs = ReconciliationRun.objects.exclude(status=Status.DONE)
    newest = ReconciliationRun.objects.filter(kind=kind).order_by("-started_at", "-id").first()
    if newest and not _goes_on(newest, since):
        newest = None
    given_up = runs.filter(status=Status.RUNNING)
    if newest is not None:
        given_up = given_up.exclude(pk=newest.pk)
    given_up.update(status=Status.FAILED, error="It was interrupted, and given up for a newer one.")
    if newest is not None:
        newest.status, newest.error = Status.RUNNING, ""
        newest.save(update_fields=["status", "error"])
    return newest


def _forget_given_up() -> None:
    """Deletes what runs have left for going on that will not go on any more."""
    too_old = timezone.now() - RESUMED_FOR
    over = ReconciliationRun.objects.exclude(status=Status.DONE).filter(started_at__lte=too_old)
    ReconciliationSuspect.objects.filter(run__in=over).delete()
    ReconciliationSlice.objects.filter(run__in=over).delete()


def _goes_on(run: ReconciliationRun, since: datetime | None) -> bool:
    is_recent = run.started_at > timezone.now() - RESUMED_FOR
    return run.status != Status.DONE and is_recent and since in (None, run.since)


def _started(kind: str, actor: str, since: datetime | None) -> ReconciliationRun:
    # Stripe's times are whole seconds: with the one that is under way.
    until = timezone.now().astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    return ReconciliationRun.objects.create(
        kind=kind,
        actor=actor,
        since=since or _since(kind, until),
        until=until,
        started_at=timezone.now(),
        timezone=settings.REPORT_TIME_ZONE,
        incident=current_incident(),
    )


def _since(kind: str, until: datetime) -> datetime | None:
    """Where a window begins: where the last one of the kind ended, with some overlap."""
    if kind == Kind.FULL:
        return None
    done = ReconciliationRun.objects.filter(kind=kind, status=Status.DONE)
    last = done.order_by("-until").values_list("until", flat=True).first()
    start = min(last, until - SPAN[Kind(kind)]) if last else until - max(FIRST, SPAN[Kind(kind)])
    return start - OVERLAP


def _work(run: ReconciliationRun, on_progress: Tell | None, grace: timedelta) -> None:
    stripe = gateway()
    clock = _Clock(run, stripe, on_progress)
    try:
        for stage in STAGES[_place(run) :]:
            clock.enter(stage)
            _do(stage, run, stripe, clock.tell, grace)
        _finish(run, clock)
    except GatewayError as error:
        clock.save()
        ReconciliationRun.objects.filter(pk=run.pk).update(status=Status.FAILED, error=str(error))
        raise
    finally:
        clock.save()


def _place(run: ReconciliationRun) -> int:
    """The stage that a run is at; what a stage has done before is done no more."""
    name = run.stage.partition(":")[0]
    return STAGES.index(name) if name in STAGES else 0


def _do(stage: str, run: ReconciliationRun, stripe: Gateway, tell: Tell, grace: timedelta) -> None:
    match stage:
        case "reading":
            reading.plan(run)
            reading.read(run, stripe, tell)
        case "books":
            with transaction.atomic():
                books.collect(run)
                ReconciliationRun.objects.filter(pk=run.pk).update(stage="examining")
        case "examining":
            examining.examine_all(run, stripe, tell, grace=grace)
            adopted.keep(run)
            worklist.resolve_the_rest(run)
        case "measuring":
            _measure(run, stripe)


def _measure(run: ReconciliationRun, stripe: Gateway) -> None:
    """The run's figures: counts, the three measures, credits, and the weekly report."""
    run.counts, hours = reading.totals(run)
    run.measures = {
        "completeness": completeness(run.counts),
        "timeliness": measures.timeliness(run.since, run.until),
        "clearing": measures.clearing(run.since, run.until),
        "events_by_hour": hours,
        "credits": proof(),
    }
    if run.kind == Kind.WEEKLY:
        week = SPAN[Kind.WEEKLY]
        first_day, _ = last_days(week.days, run.until, run.timezone)
        run.report = {
            "usage": usage(run.until - week, run.until, run.timezone),
            "revenue": bridge(first_day, run.until, run.timezone, stripe),
        }
        bridge_days.keep(run.report["revenue"])
    elif run.kind == Kind.DAILY:
        bridge_days.read(*_whole_days(run), run.timezone, stripe)
    run.differences, run.at_stake = worklist.differences(run)


def _whole_days(run: ReconciliationRun) -> tuple[datetime, datetime]:
    """The days that a run's window has from end to end, as many as MOST_BRIDGED at most."""
    span = run.until - (run.since or run.until)
    return last_days(min(max(span.days, 1), MOST_BRIDGED), run.until, run.timezone)


def completeness(counts: dict[str, Any]) -> dict[str, Any]:
    """How much of what is at Stripe is here, as it is there: in count, and in money by currency.

    Count is of all kinds of objects. Money is what was charged, so that nothing is added twice
    where an invoice, its payment and a refund of it are listed.
    """
    stripe = sum(kind["stripe"] for kind in counts.values())
    here = stripe - sum(kind["missing"] + kind["differs"] for kind in counts.values())
    charged = counts.get("charge", {}).get("amounts", {})
    return {
        "count": {"stripe": stripe, "here": here, "share": _share(stripe, here)},
        "money": {
            currency: {**sides, "share": _share(sides["stripe"], sides["here"])}
            for currency, sides in charged.items()
        },
    }


def _share(stripe: int, here: int) -> float:
    """How much of Stripe's is here, 0 to 1. What is here beyond it is as far off as what lacks."""
    return max(0.0, 1 - abs(stripe - here) / stripe) if stripe else 1.0 if not here else 0.0


def _finish(run: ReconciliationRun, clock: "_Clock") -> None:
    """Says that a run has come to its end, and forgets what only its work needed."""
    run.status, run.finished_at, run.stage = Status.DONE, timezone.now(), ""
    run.in_flight = run.suspects.filter(in_flight=True).count()
    with transaction.atomic():
        run.save(update_fields=FIGURES)
        run.suspects.all().delete()
        run.slices.all().delete()
    clock.forget()


class _Clock:
    """How long a run has been worked on, what it asked of Stripe, and what it is at."""

    def __init__(self, run: ReconciliationRun, stripe: Gateway, on_progress: Tell | None) -> None:
        self.run, self.stripe, self.on_progress = run, stripe, on_progress
        self.calls, self.began = stripe.calls, time.monotonic()
        self.told = 0.0

    def enter(self, stage: str) -> None:
        self.run.stage = stage
        self.save(stage=stage)

    def tell(self, said: str) -> None:
        """Shows progress, once a second."""
        if time.monotonic() - self.told < TOLD_EVERY:
            return
        self.told = time.monotonic()
        self.save(stage=f"{self.run.stage}: {said}")
        if self.on_progress:
            self.on_progress(said)

    def save(self, **more: Any) -> None:
        """Adds the time and the requests since the last time to the run."""
        calls, now = self.stripe.calls, time.monotonic()
        ReconciliationRun.objects.filter(pk=self.run.pk).update(
            api_calls=F("api_calls") + calls - self.calls,
            seconds=F("seconds") + (now - self.began),
            **more,
        )
        self.calls, self.began = calls, now

    def forget(self) -> None:
        """The run was saved as a whole: reads back what only the database has added up."""
        self.save()
        self.run.refresh_from_db()
