"""Replaying events: processed again, and done when it returns."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

from billing.gateway.client import StripeNotFoundError, gateway
from billing.gateway.observation import StripeDict
from billing.ingress import inbox, worker
from billing.ingress.inbox import RejectedError
from billing.ingress.worker import EventResult
from billing.models import InboxEvent, OperationRecord
from billing.operations import inputs
from billing.operations.base import (
    AlreadyAppliedError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.operations.comparison import preview
from billing.permissions import REPLAY

logger = logging.getLogger(__name__)

Status = InboxEvent.Status
DONE = (Status.PROCESSED, Status.IGNORED)
PREVIEWED = 20  # events whose effects a plan shows
AT_ONCE = 100  # events between two reports of progress
GONE = (
    "It is not in the inbox, and Stripe does not have it (any more: it keeps events for 30"
    " days). Sync the object that it was about instead."
)


class ReplayEvents(Operation):
    """Processes events again, from the inbox or, where it lacks them, from Stripe.

    One that was processed before is applied again without a second effect. One that
    belongs to another account or mode is refused. `known` are events that were listed
    at Stripe already, so that they need not be fetched one by one; `on_progress` is told
    how many more were replayed.
    """

    name = "replay_events"
    title = "Replay events"
    permission = REPLAY
    audit_type = "manual.event_replay"
    target = "event_ids"

    def __init__(
        self,
        *,
        event_ids: Sequence[str],
        known: Sequence[StripeDict] = (),
        on_progress: Callable[[int], None] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.event_ids = list(dict.fromkeys(inputs.stripe_id(i, "evt_") for i in event_ids))
        if not self.event_ids:
            raise InvalidInputError("Name at least one event, evt_...")
        self.known = {str(event["id"]): event for event in known}
        self.on_progress = on_progress

    @property
    def subject(self) -> str:
        return self.event_ids[0] if len(self.event_ids) == 1 else f"{len(self.event_ids)} events"

    @property
    def turn(self) -> str:
        return self.subject if len(self.event_ids) == 1 else self.key

    @classmethod
    def on(cls, target: str, **arguments: Any) -> Self:
        return cls(event_ids=[target], **arguments)

    def parameters(self) -> dict[str, Any]:
        return {"event_ids": self.event_ids}

    def plan(self) -> Plan:
        here = {
            row.stripe_event_id: row
            for row in InboxEvent.objects.filter(stripe_event_id__in=self.event_ids)
        }
        self.fetched, refused = self._fetch([i for i in self.event_ids if i not in here])
        refused |= {i: row.reason for i, row in here.items() if row.status == Status.SET_ASIDE}
        self.todo = todo = [i for i in self.event_ids if i not in refused]
        self.refused = [EventResult(i, "", "refused", reason) for i, reason in refused.items()]
        warnings = [f"{i}: {reason}" for i, reason in refused.items()]
        plan = Plan(f"Replay {self.subject}.", warnings=warnings)
        if not todo:
            plan.blocked = " ".join(warnings)
            return plan
        events = self.fetched | {i: json.loads(here[i].body) for i in todo if i in here}
        plan.changes = [
            Change(f"{events[i]['type']} {i}", standing(here.get(i)), "processed") for i in todo
        ]
        if len(todo) <= PREVIEWED:
            self._preview([events[i] for i in todo], plan)
        if again := [i for i in todo if i in here and here[i].status in DONE]:
            plan.warnings.append(
                f"Processed before: {', '.join(again[:PREVIEWED])}. Nothing is granted twice."
            )
        return plan

    def run(self, record: OperationRecord) -> Result:
        self._store_fetched()
        results = list(self.refused)
        committed: list[Result | AlreadyAppliedError] = []

        def commit(latest: Sequence[EventResult]) -> None:
            try:
                committed.append(self._commit(record, [*results, *latest]))
            except AlreadyAppliedError as beaten:
                committed.append(beaten)  # the events' own transaction may commit: no 2nd effect

        for start in range(0, len(self.todo), AT_ONCE):
            some = self.todo[start : start + AT_ONCE]
            is_last = start + AT_ONCE >= len(self.todo)
            results += worker.process(
                some, actor=self.actor.name, within=commit if is_last else None
            )
            if self.on_progress:
                self.on_progress(len(some))
        if not any(result.status in DONE for result in results):
            raise OperationError(" ".join(complaints(results)))
        if not committed:  # the last event failed; what came before it stands
            return self._commit(record, results)
        if isinstance(committed[-1], AlreadyAppliedError):
            raise committed[-1]
        return committed[-1]

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def _fetch(self, event_ids: Sequence[str]) -> tuple[dict[str, StripeDict], dict[str, str]]:
        """Events from Stripe by id, and why the others cannot be replayed."""
        found: dict[str, StripeDict] = {}
        refused: dict[str, str] = {}
        for event_id in event_ids:
            try:
                event = self.known.get(event_id) or gateway().retrieve("event", event_id).data
                reason = inbox.set_aside_reason(inbox.from_event(event))
            except StripeNotFoundError:
                reason = GONE
            except RejectedError as error:
                reason = f"It cannot be processed: {error}."
            if reason:
                refused[event_id] = reason
            else:
                found[event_id] = event
        return found, refused

    def _store_fetched(self) -> None:
        events = [inbox.from_event(event) for event in self.fetched.values()]
        for start in range(0, len(events), AT_ONCE):
            inbox.receive(events[start : start + AT_ONCE], InboxEvent.Source.API)

    def _preview(self, events: Sequence[StripeDict], plan: Plan) -> None:
        """Adds what the events would change. An event that cannot be read is no obstacle here:
        replaying it says so, and why."""
        try:
            plan.changes += preview(
                [item for event in events if (item := worker.observe(event))],
                actor=self.actor.name,
                doubted=worker.rendered_otherwise(events),
            )
        except Exception as error:
            logger.info("the preview of a replay failed", exc_info=True)
            plan.warnings.append(f"What it would change cannot be shown: {error}")

    def _commit(self, record: OperationRecord, results: Sequence[EventResult]) -> Result:
        done = sum(result.status in DONE for result in results)
        single = f"{self.subject} was replayed. {results[0].reason}"
        several = f"{done} of {len(self.event_ids)} events were replayed."
        with self.committing(record) as commit:
            commit.result = result = Result(
                single if len(self.event_ids) == 1 else several,
                warnings=complaints(results),
                details={"events": [asdict(item) for item in results]},
            )
        return result


def standing(row: InboxEvent | None) -> str:
    """Where an event is now, in words."""
    if row is None:
        return "not in the inbox"
    return f"{row.status}: {row.reason}" if row.reason else row.status


def complaints(results: Sequence[EventResult]) -> list[str]:
    """A sentence for each event that could not be processed."""
    return [
        f"{item.type or 'Event'} {item.event_id} is {item.status}: {item.reason}"
        for item in results
        if item.status not in DONE
    ]


def missed(*, undelivered: bool, since: datetime | None) -> list[StripeDict]:
    """Events that Stripe lists and that were not processed here, the oldest first.

    With `undelivered` only those that an endpoint has not taken yet. Stripe lists 30
    days. Raises a GatewayError.
    """
    params: dict[str, Any] = {"delivery_success": False} if undelivered else {}
    if since:
        params["created"] = {"gte": int(since.timestamp())}
    found: list[StripeDict] = []
    for page in gateway().pages("/v1/events", params):
        done = InboxEvent.objects.filter(
            stripe_event_id__in=[event["id"] for event in page.data], status__in=DONE
        ).values_list("stripe_event_id", flat=True)
        found += [event for event in page.data if event["id"] not in set(done)]
    return found[::-1]
