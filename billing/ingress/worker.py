"""From the inbox to the billing tables: events in batches, each processed or accounted for.

A batch is one transaction: its effects, the events' rows and their status `processed`
commit together or not at all (DESIGN, rule 2). Where a batch fails, its events are
tried one by one, so that one bad event holds up none but itself.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DataError, connection
from django.db.models.functions import Now

from billing.gateway.client import (
    PATHS,
    GatewayError,
    StripeRefusedError,
    StripeUnavailableError,
    gateway,
    giving_up_on_silence,
)
from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import clean
from billing.ingress import inbox, log, receivers
from billing.ingress.handled import DELETIONS, HANDLED
from billing.log_context import about
from billing.mirror import account, store
from billing.models import InboxEvent
from billing.projection.intake import Intake, bring_in
from billing.tracing import span

logger = logging.getLogger(__name__)

BATCH = 100  # events, at most
SMALL = 5  # events, of a batch at least
SPAN = 0.25  # seconds that a batch is to take: so long others wait who need one of its objects
OPEN = "status IN ('pending', 'failed')"
LEASE = 60  # seconds for which a claimed event belongs to the worker that took it
STRIPE = "stripe"  # the actor of what events bring

# Shown by a replay; it takes no earlier reason's place on the event.
NOTHING_TO_DO = "What we hold is as new or newer: nothing to do."

# Seconds to the next try after each failure; after the last one the event is dead.
BACKOFF = (10, 30, 120, 600, 1800, 3600, 4 * 3600, 12 * 3600)

Status = InboxEvent.Status


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event. `reason` is a sentence for people."""

    event_id: str
    type: str
    status: str
    reason: str


@dataclass(slots=True)
class Tally:
    """Counts of results by status; `is_more_due` where it ended before everything was done."""

    by_status: dict[str, int] = field(default_factory=dict)
    is_more_due: bool = False

    def add(self, results: Sequence[EventResult]) -> None:
        for result in results:
            self.by_status[result.status] = self.by_status.get(result.status, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def needs_attention(self) -> int:
        return sum(self.by_status.get(status, 0) for status in (Status.FAILED, Status.DEAD))


@dataclass(frozen=True, slots=True)
class Claimed:
    """An inbox row that is being processed."""

    pk: int
    event_id: str
    type: str
    body: str
    attempts: int


@dataclass(slots=True)
class Pace:
    """How many events this process takes at once: fewer where a batch takes longer than SPAN."""

    size: int = BATCH // 4  # until it is known how long they take

    def note(self, events: int, seconds: float) -> None:
        """What a batch took."""
        if seconds > SPAN:
            self.size = max(min(events, self.size) // 2, SMALL)
        elif events >= self.size and seconds < SPAN / 2:
            self.size = min(self.size * 2, BATCH)


pace = Pace()


def drain(on_progress: Callable[[int], None] | None = None) -> Tally:
    """Processes every open event once, whenever it is due, oldest first, and returns."""
    tally = Tally()
    last = 0
    while rows := _claim(f"{OPEN} AND id > %s", [last], pace.size):
        last = max(row.pk for row in rows)
        tally.add(process_rows(rows))
        if on_progress:
            on_progress(len(rows))
    while receivers.call_due():
        pass
    return tally


def work(batches: int) -> Tally:
    """Processes events that are due, at most so many batches; then calls receivers."""
    tally = Tally()
    for _ in range(batches):
        rows = _claim(f"{OPEN} AND next_attempt_at <= clock_timestamp()", [], pace.size)
        if not rows:
            break
        tally.add(process_rows(rows))
    else:
        tally.is_more_due = True
    receivers.call_due()
    return tally


def process(
    event_ids: Sequence[str],
    *,
    actor: str,
    within: Callable[[Sequence[EventResult]], None] | None = None,
) -> list[EventResult]:
    """Processes these events of the inbox now, whatever their status, as `actor`.

    Events that are set aside are refused with their reason, those not in the inbox left
    out. `within` runs in the transaction of the last event's effects. Replaying an event
    that was processed does no harm: everything is keyed by its source.
    """
    found = InboxEvent.objects.filter(stripe_event_id__in=event_ids)
    rows = {
        row[1]: Claimed(*row)
        for row in found.values_list("pk", "stripe_event_id", "type", "body", "attempts")
    }
    aside = dict(
        InboxEvent.objects.filter(
            stripe_event_id__in=event_ids, status=Status.SET_ASIDE
        ).values_list("stripe_event_id", "reason")
    )
    todo = [event_id for event_id in dict.fromkeys(event_ids) if event_id in rows]
    results: list[EventResult] = []
    for position, event_id in enumerate(todo):
        row = rows[event_id]
        if event_id in aside:
            results.append(EventResult(event_id, row.type, Status.SET_ASIDE, aside[event_id]))
            continue
        is_last = position == len(todo) - 1
        results.append(_process_one(row, actor, results, within if is_last else None))
    receivers.call_due()
    return results


def take(event_ids: Iterable[str]) -> list[Claimed]:
    """Takes these events, the oldest in the inbox first, whatever their turn: for the length of a
    lease, unless they are done or set aside, or another process is writing their effects."""
    ids = list(event_ids)
    unfinished = "status IN ('pending', 'failed', 'dead') AND stripe_event_id = ANY(%s)"
    return _claim(unfinished, [ids], len(ids))


def process_rows(rows: Sequence[Claimed], actor: str = STRIPE) -> list[EventResult]:
    """A batch in one transaction; one by one where that fails."""
    with span("process events", events=len(rows), first=rows[0].event_id if rows else ""):
        return _process(rows, actor)


def _process(rows: Sequence[Claimed], actor: str) -> list[EventResult]:
    if len(rows) > 1:
        began = time.monotonic()
        try:
            results = _commit(rows, actor)
            pace.note(len(rows), time.monotonic() - began)
            return results
        except GatewayError as error:
            logger.info("a batch of %d events is taken one by one: %s", len(rows), error)
        except Exception as error:
            logger.warning(
                "a batch of %d events is taken one by one: %s", len(rows), type(error).__name__
            )
    with giving_up_on_silence():
        return [_process_one(row, actor) for row in rows]


def fetch_events(event_ids: Sequence[str]) -> list[str]:
    """Brings events from Stripe into the inbox; returns the ids that are new there.

    Raises a GatewayError; Stripe keeps events for 30 days (STRIPE.md, Webhooks).
    """
    stripe = gateway()
    events = [inbox.from_event(stripe.retrieve("event", i).data) for i in event_ids]
    return inbox.receive(events, InboxEvent.Source.API) if events else []


def _process_one(
    row: Claimed,
    actor: str,
    before: Sequence[EventResult] = (),
    within: Callable[[Sequence[EventResult]], None] | None = None,
) -> EventResult:
    def finish(results: Sequence[EventResult]) -> None:
        if within is not None:
            within([*before, *results])

    with about(event=row.event_id):
        try:
            return _commit([row], actor, finish)[0]
        except StripeUnavailableError as error:
            return _fail(row, str(error), final=False)
        except (StripeRefusedError, store.MissingParentError, inbox.RejectedError) as error:
            return _fail(row, str(error), final=True)
        except (ValueError, DataError) as error:  # what is wrong with it will not change
            logger.exception("event %s (%s) cannot be processed", row.event_id, row.type)
            return _fail(row, f"{type(error).__name__}: {error}", final=True)
        except Exception as error:
            logger.exception("event %s (%s) failed", row.event_id, row.type)
            return _fail(row, f"{type(error).__name__}: {error}", final=False)


def _commit(
    rows: Sequence[Claimed],
    actor: str,
    within: Callable[[Sequence[EventResult]], None] | None = None,
) -> list[EventResult]:
    """Everything that these events bring, in one transaction."""
    events = {row.pk: _parsed(row) for row in rows}
    observations = {
        pk: observation for pk, event in events.items() if (observation := observe(event))
    }
    results: list[EventResult] = []

    def finish(intake: Intake) -> None:
        results[:] = [_result(row, observations.get(row.pk), intake) for row in rows]
        log.write(list(events.values()))
        store.write_events(list(events.values()), account.own_account_id())
        _mark(rows, results, actor)
        if within is not None:
            within(results)

    bring_in(
        list(observations.values()),
        actor=actor,
        within=finish,
        doubted=rendered_otherwise(events.values()),
    )
    return results


def _parsed(row: Claimed) -> StripeDict:
    event: StripeDict = json.loads(row.body)
    escapes = row.body.lower()
    if "\\u0000" in escapes or "\\ud" in escapes:  # NUL and surrogates, which jsonb refuses
        event = clean(event)
    return event


def observe(event: StripeDict) -> Observation | None:
    """What an event shows of its object; None for a type that needs nothing."""
    data = event["data"]["object"]
    kind = str(data.get("object", ""))
    if event["type"] not in HANDLED or not data.get("id"):
        return None
    if not store.supported(kind) and kind != "invoice_payment":
        return None
    created = datetime.fromtimestamp(event["created"], UTC)
    return Observation(
        data,
        created,
        created,
        deleted=event["type"] in DELETIONS,
        first=event["type"].endswith(".created"),
    )


def rendered_otherwise(events: Iterable[StripeDict]) -> set[str]:
    """Ids of objects of events in another API version than ours, which are fetched instead."""
    return {
        str(event["data"]["object"].get("id"))
        for event in events
        if event.get("api_version")
        and event["api_version"] != settings.STRIPE_API_VERSION
        and event["data"]["object"].get("object") in PATHS
    }


def _result(row: Claimed, observation: Observation | None, intake: Intake) -> EventResult:
    if observation is None:
        return EventResult(row.event_id, row.type, Status.IGNORED, "This type needs nothing.")
    effects = [
        f"{posted.entry.amount:+d} credits for user {posted.entry.user_id}"
        + (f" ({posted.owed_delta:+d} owed)" if posted.owed_delta else "")
        for posted in intake.posted
        if observation.id in (posted.entry.source or "")
    ]
    if any(item.id == observation.id for item in intake.written):
        reason = f"Stored; {', '.join(effects)}." if effects else "Stored."
    else:
        reason = f"{', '.join(effects)}." if effects else NOTHING_TO_DO
    return EventResult(row.event_id, row.type, Status.PROCESSED, reason)


def _mark(rows: Sequence[Claimed], results: Sequence[EventResult], actor: str) -> None:
    """Writes the results on the inbox rows, inside the transaction of the effects.

    The receivers are due once: of an event that was processed before, by a second worker or
    in a replay, only if they failed, and only in a replay.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_inbox AS i
            SET status = n.status, processed_at = clock_timestamp(),
                reason = CASE WHEN i.status = 'processed' AND n.reason = %s
                              THEN i.reason ELSE n.reason END,
                attempts = i.attempts + 1,
                receivers_due = i.receivers_due OR n.due AND (
                    i.status NOT IN ('processed', 'ignored')
                    OR i.receiver_error <> '' AND %s)
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bool[])
                AS n(id, status, reason, due)
            WHERE i.id = n.id
            """,
            [
                NOTHING_TO_DO,
                actor != STRIPE,
                [row.pk for row in rows],
                [result.status for result in results],
                [result.reason for result in results],
                [receivers.are_due(row.type) for row in rows],
            ],
        )


def _fail(row: Claimed, reason: str, *, final: bool) -> EventResult:
    """Records the failure: another try after a pause, or dead. Raises if even that fails."""
    attempts = row.attempts + 1
    dead = final or attempts > len(BACKOFF)
    status = Status.DEAD if dead else Status.FAILED
    pause = BACKOFF[min(attempts, len(BACKOFF)) - 1]
    InboxEvent.objects.filter(pk=row.pk).exclude(
        status__in=(Status.PROCESSED, Status.IGNORED)
    ).update(
        status=status,
        reason=reason.replace("\x00", "\ufffd")[:2000],
        attempts=attempts,
        next_attempt_at=Now() + timedelta(seconds=pause),
    )
    logger.warning("event %s (%s) is %s: %s", row.event_id, row.type, status, reason)
    return EventResult(row.event_id, row.type, status, reason)


def _claim(condition: str, parameters: list[Any], limit: int) -> list[Claimed]:
    """Takes events for the length of a lease, oldest first, past other workers'."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE billing_inbox SET next_attempt_at = clock_timestamp() + make_interval(secs => %s)
            WHERE id IN (
                SELECT id FROM billing_inbox
                WHERE {condition}
                ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING id, stripe_event_id, type, body, attempts
            """,  # noqa: S608  (the conditions are this module's own)
            [LEASE, *parameters, limit],
        )
        return sorted((Claimed(*row) for row in cursor.fetchall()), key=lambda row: row.pk)
