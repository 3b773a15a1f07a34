"""What never was an event, or is one no more: found by the objects themselves.

A reconciliation compares what was made in the outage's time, and every subscription and open
invoice. Where events of the day before turn out to be lost, too, they are listed and processed as
well. Where anything differs that Stripe's word alone mends, its lists of that time are brought in,
page by page, and compared again: so not each difference costs requests of its own. What still
differs is mended one by one where that is safe, and looked at once more. Where the trouble began
before the events that Stripe still lists, the lists are brought in at once.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from billing.diagnosis.kinds import Kind as FindingKind
from billing.gateway.client import Gateway
from billing.gateway.history import lost_history
from billing.gateway.pace import at_bulk_pace
from billing.ingress.worker import STRIPE
from billing.models import ReconciliationRun, Recovery
from billing.operations.base import Actor, NotPermittedError
from billing.projection.bulk import LISTS
from billing.projection.intake import bring_in
from billing.reconciliation import fixing, runs, worklist

OVERLAP = timedelta(days=1)  # before the outage: what was begun then may have ended in it
WAIT = 2.0  # seconds between two looks whether another reconciliation is over
NAMED = 100  # of what is left to people, in the report; all of it is on the list of findings

Kind = ReconciliationRun.Kind
EVENT_NOT_RECEIVED = FindingKind.EVENT_NOT_RECEIVED
Tell = Callable[[str], None]


def bring_in_lists(recovery: Recovery, stripe: Gateway, tell: Tell) -> None:
    """Brings in what was made since the trouble began, from where it was; all subscriptions, where
    events that Stripe lists no more may have changed them. Raises a GatewayError."""
    at, _, cursor = recovery.cursor.partition(" ")
    kinds = [kind for kind, _, _ in LISTS]
    for kind, path, always in LISTS[kinds.index(at) if at in kinds else 0 :]:
        after = {"starting_after": cursor} if kind == at and cursor else {}
        params = {**always, **_made_since(recovery, kind), **after}
        _bring_in_list(recovery, kind, stripe.lists_at_once([(kind, path, params)]), tell)


def _made_since(recovery: Recovery, kind: str) -> dict[str, Any]:
    since = int((recovery.since - OVERLAP).timestamp())
    is_all = kind == "subscription" and lost(recovery) is not None
    return {} if is_all else {"created": {"gte": since}}


def _bring_in_list(recovery: Recovery, kind: str, pages: Any, tell: Tell) -> None:
    so_far = recovery.counts.setdefault("brought_in", {})
    for _, page in pages:
        with at_bulk_pace():
            bring_in(page.observations(), actor=STRIPE)
        so_far[kind] = so_far.get(kind, 0) + len(page.data)
        last = str(page.data[-1]["id"]) if page.data else ""
        recovery.cursor = f"{kind} {last}"
        recovery.save(update_fields=["cursor", "counts"])
        tell(f"{so_far[kind]:,} objects of type {kind} brought in.")


def lost(recovery: Recovery) -> tuple[Any, Any] | None:
    """The part of the window whose history cannot be had as events any more."""
    return lost_history(recovery.since, recovery.until, recovery.started_at)


def compare(recovery: Recovery, tell: Tell, grace: timedelta | None) -> ReconciliationRun:
    """A reconciliation of the time of the trouble. Raises a GatewayError."""
    is_over_all = recovery.kind == Recovery.Kind.RESTORE or lost(recovery) is not None
    kind, since = Kind.DAILY, recovery.since - OVERLAP
    window = {"kind": Kind.FULL, "since": None} if is_over_all else {"kind": kind, "since": since}
    return _finished(recovery, window) or _reconcile(window, recovery, tell, grace)


def _finished(recovery: Recovery, window: dict[str, Any]) -> ReconciliationRun | None:
    """The run that this recovery has had already, if it was killed just after that."""
    mine = ReconciliationRun.objects.filter(
        **window,
        status=ReconciliationRun.Status.DONE,
        actor=recovery.actor,
        started_at__gte=recovery.started_at,
    )
    if recovery.run_id:
        mine = mine.filter(pk__gt=recovery.run_id)
    return mine.order_by("-pk").first()


def _reconcile(
    window: dict[str, Any], recovery: Recovery, tell: Tell, grace: timedelta | None
) -> ReconciliationRun:
    """The reconciliation, after any that is under way."""
    while True:
        try:
            return runs.reconcile(
                window["kind"],
                since=window["since"],
                actor=recovery.actor,
                on_progress=tell,
                grace=grace,
            )
        except runs.AlreadyRunningError as error:
            tell(str(error))
            time.sleep(WAIT)


def is_lost_earlier(recovery: Recovery) -> bool:
    """Whether the run found lost events: they are of before the window, where all is worked."""
    lost_ones = worklist.open_findings().filter(run=recovery.run, kind=EVENT_NOT_RECEIVED)
    return lost(recovery) is None and lost_ones.exists()


def catch_up(recovery: Recovery, stripe: Gateway, tell: Tell, grace: timedelta | None) -> None:
    """Where the run found what Stripe's word mends: brings in the lists, and compares again.

    After a restore in any case: rows of Stripe's that were put back from the export are as they
    were, so that nothing differs, and are not in the mirror.
    """
    assert recovery.run is not None  # noqa: S101  (set by the stage before)
    recovery.report.setdefault("differed", recovery.run.differences)
    is_put_back = recovery.kind == Recovery.Kind.RESTORE
    if lost(recovery) is None and (is_put_back or _mendable(recovery.run)):
        bring_in_lists(recovery, stripe, tell)
        recovery.run = compare(recovery, tell, grace)
    recovery.save(update_fields=["run", "report"])


def _mendable(run: ReconciliationRun) -> bool:
    """Whether anything differs that is mended without a person."""
    safe = worklist.open_findings().filter(run=run, fix__operation__in=fixing.SAFE)
    return safe.exists()


def mend(recovery: Recovery, tell: Tell) -> None:
    """Mends what is safe of what the run found, and notes what was mended and what was not."""
    assert recovery.run is not None  # noqa: S101  (set by the stage before)
    try:
        with at_bulk_pace():
            fixed = fixing.fix(recovery.run, Actor.named(recovery.actor), tell)
    except NotPermittedError as error:
        fixed = fixing.Fixed()
        recovery.report["not_mended"] = str(error)
    before = recovery.report.get("mended", [])
    recovery.report["mended"] = [*before, *fixed.as_dicts()]
    recovery.report["tried_in_vain"] = [
        {"kind": each.kind, "subject": each.subject, "why": why} for each, why in fixed.failed
    ][:NAMED]
    recovery.save(update_fields=["report"])


def verify(recovery: Recovery, tell: Tell, grace: timedelta | None) -> None:
    """Looks at everything once more, if the first look was followed by any change."""
    if recovery.report.get("mended") or recovery.report.get("tried_in_vain"):
        recovery.run = compare(recovery, tell, grace)
        recovery.save(update_fields=["run"])


def left_over(run: ReconciliationRun) -> dict[str, Any]:
    """What differs still, as the last look at it says: how much of it, and what it is."""
    open_ = worklist.open_findings().filter(run=run).order_by(*worklist.GRAVEST_FIRST)
    return {
        "count": open_.count(),
        "findings": [
            {"number": each.pk, "kind": each.kind, "subject": each.subject, "says": each.verdict}
            for each in open_[:NAMED]
        ],
    }
