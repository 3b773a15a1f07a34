"""A recovery, from its start, or from where it was, to its end.

Each stage is done once, and goes on where it was: what was listed, what came of each event and how
far the lists were read are rows, so that a kill at any moment costs the page or the batch that it
hit. Two recoveries never run at once.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing.database import held
from billing.formatting import iso_time
from billing.gateway.client import Gateway, GatewayError, gateway
from billing.models import BillingEvent, Recovery, acting_as
from billing.models.incidents import current_incident
from billing.operations.recoveries import check
from billing.recovery import events, objects, processing, reporting

logger = logging.getLogger(__name__)

Kind, Status = Recovery.Kind, Recovery.Status
RESUMED_FOR = timedelta(hours=24)  # after which a recovery that was interrupted is given up
TOLD_EVERY = 1.0  # seconds between two notes of progress
LISTING, PROCESSING, LISTS = "listing", "processing", "lists"
COMPARING, EARLIER, CATCHING_UP = "comparing", "earlier", "catching up"
MENDING, VERIFYING = "mending", "verifying"
STAGES = (LISTING, PROCESSING, LISTS, COMPARING, EARLIER, CATCHING_UP, MENDING, VERIFYING)
CRITICAL_STAGES = (LISTING, PROCESSING)
TURN = "recovery"  # the name of the lock

Tell = Callable[[str], None]


class AlreadyRunningError(Exception):
    """Another process works on a recovery. The text says so, for people."""


def recover(
    kind: str,
    *,
    since: datetime,
    actor: str,
    until: datetime | None = None,
    critical_only: bool = False,
    on_progress: Tell | None = None,
    grace: timedelta | None = None,
) -> Recovery:
    """Recovers what happened at Stripe from `since` up to `until` (UTC; now, if it is not said).

    Events that were not processed here are listed and processed, the oldest first; what has no
    event is found by a reconciliation, mended where that is safe, and looked at again. With
    `critical_only`, for while webhooks fail, only what is critical is listed and processed, the
    most critical first; it can be run again and again. An interrupted recovery of the same kind
    and since, of the last day, goes on where it was. `grace` is as reconcile() has it.

    Raises AlreadyRunningError; InvalidInputError for a window that is none; a GatewayError where
    Stripe did not tell all: the recovery is then failed, and goes on when it is started again.
    """
    check(since, until)
    with alone():
        asked = {"kind": kind, "since": since, "critical_only": critical_only}
        recovery = _interrupted(asked, until) or _started(asked, until, actor)
        _work(recovery, on_progress, grace)
        return recovery


def alone() -> AbstractContextManager[None]:
    """Holds the one lock of all recoveries, for as long as this process's connection lives."""
    return held(TURN, _under_way)


def _under_way() -> AlreadyRunningError:
    recovery = Recovery.objects.filter(status=Status.RUNNING).first()
    who = f", started by {recovery.actor}, {recovery.stage}" if recovery else ""
    return AlreadyRunningError(
        f"A recovery is under way{who}. Wait for its end: its page shows progress."
    )


def _interrupted(asked: dict[str, object], until: datetime | None) -> Recovery | None:
    """The newest recovery, if it is the same and has not come to its end; others are given up."""
    same = Recovery.objects.filter(**asked).order_by("-started_at", "-id").first()
    if same is not None and not _goes_on(same, until):
        same = None
    given_up = Recovery.objects.filter(status=Status.RUNNING)
    if same is not None:
        given_up = given_up.exclude(pk=same.pk)
    given_up.update(status=Status.FAILED, error="It was interrupted, and given up for a newer one.")
    if same is not None:
        same.status, same.error = Status.RUNNING, ""
        same.save(update_fields=["status", "error"])
    return same


def _goes_on(recovery: Recovery, until: datetime | None) -> bool:
    is_recent = recovery.started_at > timezone.now() - RESUMED_FOR
    return recovery.status != Status.DONE and is_recent and until in (None, recovery.until)


def _started(asked: dict[str, object], until: datetime | None, actor: str) -> Recovery:
    # Stripe's times are whole seconds: with the one that is under way.
    now = timezone.now().astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    return Recovery.objects.create(
        **asked,
        until=until or now,
        actor=actor,
        started_at=timezone.now(),
        incident=current_incident(),
    )


def _work(recovery: Recovery, on_progress: Tell | None, grace: timedelta | None) -> None:
    stripe = gateway()
    clock = Clock(recovery, stripe, on_progress)
    stages = CRITICAL_STAGES if recovery.critical_only else STAGES
    try:
        for stage in stages[_place(recovery, stages) :]:
            clock.enter(stage)
            _do(stage, recovery, stripe, clock.tell, grace)
            clock.leave()
        _finish(recovery)
    except GatewayError as error:
        recovery.status, recovery.error = Status.FAILED, str(error)
        recovery.save(update_fields=["status", "error"])
        raise
    finally:
        clock.leave()
        recovery.refresh_from_db()


def _finish(recovery: Recovery) -> None:
    """Says that it has come to its end, and what it came to; the audit log does, too."""
    recovery.stage, recovery.status = "", Status.DONE
    recovery.finished_at = timezone.now()
    reporting.report(recovery)
    said = {
        "recovery": recovery.pk,
        "admin": recovery.actor,
        "since": iso_time(recovery.since),
        "until": iso_time(recovery.until),
        "missed": recovery.report["missed_as"],
        "by_status": recovery.report["by_status"],
        "needs_people": reporting.waiting_for_people(recovery),
        "summary": f"{recovery} came to its end.",
    }
    with transaction.atomic(), acting_as(recovery.actor):
        recovery.save(update_fields=["stage", "status", "finished_at", "report"])
        BillingEvent.objects.create(type="manual.recovery_finished", payload=said)


def _place(recovery: Recovery, stages: tuple[str, ...]) -> int:
    """The stage that it is at; what a stage has done before is done no more."""
    name = recovery.stage.partition(":")[0]
    return stages.index(name) if name in stages else 0


def _do(
    stage: str, recovery: Recovery, stripe: Gateway, tell: Tell, grace: timedelta | None
) -> None:
    match stage:
        case "listing":
            events.find(recovery, stripe, tell)
        case "processing":
            processing.process(recovery, tell)
        case "lists" if objects.lost(recovery) is not None:
            objects.bring_in_lists(recovery, stripe, tell)
        case "comparing":
            recovery.run = objects.compare(recovery, tell, grace)
            recovery.save(update_fields=["run"])
        case "earlier" if objects.is_lost_earlier(recovery):
            events.find(recovery, stripe, tell, before=objects.OVERLAP)
            processing.process(recovery, tell)
        case "catching up":
            objects.catch_up(recovery, stripe, tell, grace)
        case "mending":
            objects.mend(recovery, tell)
        case "verifying":
            objects.verify(recovery, tell, grace)


class Clock:
    """How long a recovery has been worked on, what it asked of Stripe for what, and what it is
    at."""

    def __init__(self, recovery: Recovery, stripe: Gateway, on_progress: Tell | None) -> None:
        self.recovery, self.stripe, self.on_progress = recovery, stripe, on_progress
        self.calls, self.began, self.told = stripe.calls, time.monotonic(), 0.0

    def enter(self, stage: str) -> None:
        if _stage_of(self.recovery) != stage:
            self.recovery.stage = stage
            self.recovery.save(update_fields=["stage"])

    def tell(self, said: str) -> None:
        """Shows progress, once a second."""
        if time.monotonic() - self.told < TOLD_EVERY:
            return
        self.told = time.monotonic()
        self.recovery.stage = f"{_stage_of(self.recovery)}: {said}"
        self.leave()
        if self.on_progress:
            self.on_progress(said)

    def leave(self) -> None:
        """Adds the time and the requests since the last time to the recovery."""
        calls, now = self.stripe.calls - self.calls, time.monotonic()
        by_stage = self.recovery.counts.setdefault("calls", {})
        if calls:
            stage = _stage_of(self.recovery)
            by_stage[stage] = by_stage.get(stage, 0) + calls
        Recovery.objects.filter(pk=self.recovery.pk).update(
            api_calls=F("api_calls") + calls,
            seconds=F("seconds") + (now - self.began),
            counts=self.recovery.counts,
            stage=self.recovery.stage,
        )
        self.calls, self.began = self.stripe.calls, now


def _stage_of(recovery: Recovery) -> str:
    return recovery.stage.partition(":")[0]
