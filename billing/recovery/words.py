"""A recovery in sentences, for the terminal and for the page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from billing.diagnosis.kinds import label_of
from billing.formatting import format_money, format_time
from billing.models import MissedEvent, Recovery
from billing.recovery import events, queue
from billing.recovery.queue import Stake

MISSED_AS: Mapping[str, str] = {
    MissedEvent.MissedAs.UNDELIVERED: "never delivered, as Stripe knows",
    MissedEvent.MissedAs.UNSTORED: "answered with 200 and never stored, or not sent to us at all",
    MissedEvent.MissedAs.UNPROCESSED: "stored here, and not processed",
}
PURPOSES: Mapping[str, str] = {
    "listing": "to list events",
    "processing": "for objects that events left open",
    "lists": "to list objects",
    "comparing": "to compare objects",
    "earlier": "for events lost earlier",
    "catching up": "to list objects, and to compare them again",
    "mending": "to mend what differed still",
    "verifying": "to look once more",
}
STAGES: Mapping[str, str] = {
    "": "it is about to start",
    "listing": "it lists Stripe's events",
    "processing": "it processes what was missed",
    "lists": "it brings in lists of objects",
    "comparing": "it compares objects with Stripe's",
    "earlier": "it recovers events that were lost on the day before",
    "catching up": "it brings in lists of objects, and compares again",
    "mending": "it mends what is safe to mend",
    "verifying": "it looks at everything once more",
}


def of_recovery(recovery: Recovery) -> list[str]:
    """All that a recovery came to."""
    report = recovery.report
    missed_as, types = report.get("missed_as", {}), report.get("types", {})
    return [
        _window(recovery),
        *of_missed(recovery.counts, report.get("missed", 0), missed_as, types),
        *(of_queue(queue_of(recovery)) if recovery.critical_only else ()),
        *_requests(recovery),
        *of_history(report.get("not_as_events")),
        *_objects(recovery),
        *_failed(report.get("failed") or {}),
        *_left(recovery),
    ]


def _window(recovery: Recovery) -> str:
    what = "critical events only, " if recovery.critical_only else ""
    return (
        f"Recovery {recovery.pk}: {what}from {format_time(recovery.since)} to"
        f" {format_time(recovery.until)}, in {recovery.seconds:,.0f} s with"
        f" {recovery.api_calls:,} requests."
    )


def of_missed(
    counts: Mapping[str, Any],
    missed: int,
    missed_as: Mapping[str, int],
    types: Mapping[str, int],
) -> Iterator[str]:
    """How many events there were, how many were missed, how, and of what types."""
    yield f"{counts.get(events.LISTED, 0):,} events are listed by Stripe; {missed:,} were missed."
    for name in (events.HERE, events.NOT_NEEDED, events.ASIDE):
        if count := counts.get(name):
            yield f"  {count:,} {events.COUNTED[name]}"
    for name, count in missed_as.items():
        yield f"  {count:,} missed: {MISSED_AS[name]}"
    for name, count in sorted(types.items(), key=lambda each: (-each[1], each[0])):
        yield f"    {count:,} × {name}"


def queue_of(recovery: Recovery, most: int = 50) -> list[MissedEvent]:
    """The top of what is critical, done or not: what still waits first, then by rank and age."""
    critical = recovery.events.filter(rank__lt=queue.REST)
    waits = MissedEvent.Status.DONE
    open_ = critical.exclude(status=waits).order_by("rank", "-position")[:most]
    found = list(open_)
    done = critical.filter(status=waits).order_by("rank", "-position")
    return [*found, *done[: most - len(found)]]


def of_queue(top: Sequence[MissedEvent]) -> Iterator[str]:
    """A line for each of what is critical."""
    yield "The queue, the most critical first:" if top else "Nothing critical was missed."
    for each, stake in zip(top, queue.stakes(top), strict=True):
        whose = stake.user_id or stake.customer_id or "of nobody who is known"
        at_stake = of_stake(stake)
        said = f": {each.status}. {each.said}" if each.said else ""
        yield (
            f"  {each.stripe_event_id}  {stake.what}, {whose}"
            f"{', ' + at_stake if at_stake else ''}, {format_time(each.created_at)}{said}"
        )


def of_stake(stake: Stake) -> str:
    """Money and credits at stake; '' where neither is known."""
    money = [] if stake.amount is None else [format_money(stake.amount, stake.currency)]
    credits_ = [] if stake.credits is None else [f"{stake.credits:,} credits"]
    return " and ".join([*money, *credits_])


def queue_as_dicts(top: Sequence[MissedEvent]) -> list[dict[str, Any]]:
    """The queue for programs."""
    return [
        {
            "event": each.stripe_event_id,
            "type": each.type,
            "what": stake.what,
            "object": each.object_id,
            "customer": stake.customer_id or None,
            "user_id": stake.user_id or None,
            "amount": stake.amount,
            "currency": stake.currency or None,
            "credits": stake.credits,
            "created": each.created_at,
            "missed_as": each.missed_as,
            "status": each.status,
            "said": each.said,
        }
        for each, stake in zip(top, queue.stakes(top), strict=True)
    ]


def _requests(recovery: Recovery) -> Iterator[str]:
    for purpose, count in recovery.counts.get("calls", {}).items():
        yield f"  {count:,} requests {PURPOSES.get(purpose, purpose)}"


def of_history(lost: Sequence[str] | None) -> Iterator[str]:
    """Which part cannot be had as events."""
    if lost:
        start, end = (format_time(datetime.fromisoformat(each)) for each in lost)
        yield (
            f"What happened from {start} to {end} cannot be had as events any more, since Stripe"
            " keeps them for 30 days: objects tell of it, as they are now."
        )


def _objects(recovery: Recovery) -> Iterator[str]:
    for kind, count in recovery.counts.get("brought_in", {}).items():
        yield f"  {count:,} objects of type {kind} brought in from Stripe's lists"
    for kind, count in recovery.report.get("differed", {}).items():
        yield f"  {count:,} differed at first: {label_of(kind)}"
    for each in recovery.report.get("mended", ()):
        yield f"mended  {label_of(each['kind'])}: {each['subject']}"
    for each in recovery.report.get("tried_in_vain", ()):
        yield f"failed  {label_of(each['kind'])}: {each['subject']}: {each['why']}"
    if said := recovery.report.get("not_mended"):
        yield f"Nothing was mended: {said}"


def _failed(failed: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"failed  {e['type']} {e['id']}: {e['why']}" for e in failed.get("events", ()))
    yield from _more(failed, "events", "more events failed: they are on the recovery's page.")


def _left(recovery: Recovery) -> Iterator[str]:
    left = recovery.report.get("left")
    if left is None:
        return
    if not left["count"]:
        yield "The last reconciliation finds nothing that differs."
    for each in left["findings"]:
        yield f"left    {each['number']}  {label_of(each['kind'])}: {each['subject']}"
    yield from _more(left, "findings", "more findings are on the list of findings.")


def _more(counted: Mapping[str, Any], named: str, said: str) -> Iterable[str]:
    more = counted.get("count", 0) - len(counted.get(named, ()))
    return [f"{more:,} {said}"] if more > 0 else []
