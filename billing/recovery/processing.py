"""Working through what was missed, in batches: the oldest first, or the most critical first.

An event is done once its own transaction has marked it so in the inbox: what is noted here follows
that, so that neither a kill between the two nor a worker who was faster changes what comes of it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import orjson
from django.db import connection

from billing.database import as_json, recordset
from billing.gateway.client import (
    StripeSilentError,
    gateway,
    giving_up_on_silence,
    patiently,
)
from billing.gateway.pace import at_bulk_pace
from billing.ingress import inbox, receivers, worker
from billing.ingress.worker import EventResult
from billing.models import InboxEvent, MissedEvent, Recovery
from billing.operations.selection import DONE
from billing.recovery.events import PATH as EVENTS
from billing.recovery.queue import REST

AGAIN = 0.2  # seconds before what only another process is at is looked at again
BY_NOW = "It is processed by now."
ORDERS: Mapping[bool, tuple[str, ...]] = {False: ("-position",), True: ("rank", "-position")}

Status = MissedEvent.Status
Said = dict[str, tuple[str, str]]  # by the event's id: its status, and a sentence on it
Tell = Callable[[str], None]


def process(recovery: Recovery, tell: Tell) -> None:
    """Processes what waits, until nothing does; then what failed for the moment once more.

    Raises a GatewayError where Stripe does not answer at all: the rest then waits on.
    """
    total = recovery.events.count()
    waiting = recovery.events.filter(status=Status.WAITING)
    done = total - waiting.count()
    order = ORDERS[recovery.critical_only]
    while batch := list(waiting.order_by(*order)[: worker.pace.size]):
        said = work_on(batch)
        note(recovery, said)
        done += len(said)
        tell(f"{done:,} of {total:,} missed events worked through.")
        if not said:
            time.sleep(AGAIN)
    retry(recovery)


def work_on(batch: Sequence[MissedEvent]) -> Said:
    """Brings the events into the inbox and processes them; what came of each.

    Those that another process is just at are left out.
    """
    bodies = {each.stripe_event_id: each.body for each in batch}
    here = set(statuses(bodies))
    missing = [inbox.from_event(orjson.loads(b), b) for i, b in bodies.items() if i not in here]
    if missing:
        inbox.receive(missing, InboxEvent.Source.API, held=worker.LEASE)
    with at_bulk_pace():
        results = _results(bodies)
    receivers.call_due()
    said = {each.event_id: (_standing(each.status), each.reason) for each in results}
    others = statuses(bodies.keys() - said.keys())
    return said | {i: (Status.DONE, BY_NOW) for i, held in others.items() if held in DONE}


def _results(event_ids: Iterable[str]) -> list[EventResult]:
    """What came of each event that no other process is at. Raises a GatewayError where Stripe is
    silent, and not about one object alone."""
    try:
        return patiently(lambda: _together(event_ids))
    except StripeSilentError:
        gateway().page(EVENTS, {"limit": 1})
        return [each for row in worker.take(event_ids) for each in worker.process_rows([row])]


def _together(event_ids: Iterable[str]) -> list[EventResult]:
    with giving_up_on_silence() as silence:
        results = worker.process_rows(worker.take(event_ids))
    if silence:
        raise silence[0]
    return results


def statuses(event_ids: Iterable[str]) -> dict[str, str]:
    """Where events of the inbox are now, by their ids."""
    rows = InboxEvent.objects.filter(stripe_event_id__in=list(event_ids))
    return dict(rows.values_list("stripe_event_id", "status"))


def _standing(status: str) -> str:
    return Status.DONE if status in DONE else Status.FAILED


def note(recovery: Recovery, said: Said) -> None:
    """Writes down what came of events. The inbox has the bodies of those that are done; of what
    is critical they stay, for what is at stake in it to be shown."""
    rows = [{"id": i, "status": status, "said": text} for i, (status, text) in said.items()]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE billing_missed_events AS m SET status = n.status, said = n.said,
                body = CASE WHEN n.status = %s AND m.rank >= %s THEN '' ELSE m.body END
            FROM {recordset({"id": "text", "status": "text", "said": "text"})}
            WHERE m.recovery_id = %s AND m.stripe_event_id = n.id
            """,  # noqa: S608  (the columns are named above)
            [Status.DONE, REST, as_json(rows), recovery.pk],
        )


def retry(recovery: Recovery) -> None:
    """Once more what failed: what is dead, and what may succeed by now. What a worker has
    processed since is done."""
    failed = recovery.events.filter(status=Status.FAILED)
    last = 0
    while batch := list(failed.filter(pk__gt=last).order_by("pk")[: worker.pace.size]):
        last = batch[-1].pk
        note(recovery, work_on(batch))
