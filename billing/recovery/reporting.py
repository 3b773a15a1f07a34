"""What a recovery came to: what was missed and how, what became of it, what a person has to do."""

from typing import Any

from django.db.models import Count

from billing.formatting import iso_time
from billing.models import MissedEvent, Recovery
from billing.recovery import events, objects, queue, words

NAMED = 100  # failed events in the report; all of them are on the recovery's page

Status = MissedEvent.Status


def report(recovery: Recovery) -> None:
    """Puts together what the recovery's rows say, in its report."""
    failed = recovery.events.filter(status=Status.FAILED)
    lost = objects.lost(recovery)
    recovery.report = {
        **recovery.report,
        "missed": recovery.events.count(),
        "by_status": tally(recovery, "status"),
        "missed_as": tally(recovery, "missed_as"),
        "types": tally(recovery, "type"),
        "by_rank": {queue.RANKS[rank]: count for rank, count in tally(recovery, "rank").items()},
        "failed": {
            "count": failed.count(),
            "events": [
                {"id": each.stripe_event_id, "type": each.type, "why": each.said}
                for each in failed.order_by("-position")[:NAMED]
            ],
        },
        "not_as_events": [iso_time(moment) for moment in lost] if lost else None,
        "left": objects.left_over(recovery.run) if recovery.run else None,
    }


def tally(recovery: Recovery, field: str) -> dict[Any, int]:
    """How many of the missed events there are by a column, the most first."""
    rows = recovery.events.order_by().values_list(field).annotate(n=Count("id"))
    return dict(rows.order_by("-n", field))


def waiting_for_people(recovery: Recovery) -> int:
    """How many things a person has to look at: events that failed, differences that are left."""
    failed = recovery.report.get("failed") or {}
    left = recovery.report.get("left") or {}
    return int(failed.get("count", 0)) + int(left.get("count", 0))


def document(recovery: Recovery) -> dict[str, Any]:
    """A recovery for programs."""
    return {
        "recovery": recovery.pk,
        "kind": recovery.kind,
        "critical": recovery.critical_only,
        "window": {"since": iso_time(recovery.since), "until": iso_time(recovery.until)},
        "listed": {name: recovery.counts.get(name, 0) for name in events.COUNTED},
        **recovery.report,
        "brought_in": recovery.counts.get("brought_in", {}),
        "calls": recovery.counts.get("calls", {}),
        "api_calls": recovery.api_calls,
        "seconds": round(recovery.seconds, 1),
        "run": recovery.run_id,
        "incident": recovery.incident_id,
        "queue": words.queue_as_dicts(words.queue_of(recovery)) if recovery.critical_only else None,
    }
