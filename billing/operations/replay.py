"""Replaying events: processed again, and done when it returns."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from billing.gateway.client import StripeNotFoundError, gateway
from billing.gateway.observation import StripeDict
from billing.ingress import inbox, worker
from billing.ingress.inbox import RejectedError
from billing.ingress.retention import GONE as DROPPED
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
from billing.operations.selection import DONE, Found, Selection
from billing.permissions import REPLAY

logger = logging.getLogger(__name__)

Status = InboxEvent.Status
PREVIEWED = 20  # events whose effects a plan shows
LISTED = 100  # events that a plan lists one by one; more of them are counted by type
AT_ONCE = 100  # events between two reports of progress
GONE = (
    "It is not in the inbox, and Stripe does not have it (any more: it keeps events for 30"
    " days). Sync the object that it was about instead."
)


class ReplayEvents(Operation):
    """Processes events again, from the inbox or, where it lacks them, from Stripe.

    They are named by their ids, or by a selection (as `Selection.of` takes it), which is
    looked up anew for each plan. One that was processed before is applied again without a
    second effect. One that belongs to another account or mode is refused. `found` is what
    the selection found just now, so that it need not be looked up twice; `on_progress` is
    told how many more were replayed.
    """

    name = "replay_events"
    title = "Replay events"
    permission = REPLAY
    audit_type = "manual.event_replay"
    target = "event_ids"

    def __init__(
        self,
        *,
        event_ids: Sequence[str] = (),
        selection: Mapping[str, Any] | None = None,
        found: Found | None = None,
        on_progress: Callable[[int], None] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.selection = Selection.of(**selection) if selection else None
        self.named = list(dict.fromkeys(inputs.stripe_id(i, "evt_") for i in event_ids))
        if bool(self.named) == bool(self.selection):
            raise InvalidInputError("Name at least one event, evt_..., or say how to find them.")
        self.found = found
        self.on_progress = on_progress

    @property
    def subject(self) -> str:
        if self.selection:
            return str(self.selection)
        return self.named[0] if len(self.named) == 1 else f"{len(self.named)} events"

    @property
    def turn(self) -> str:
        return self.subject if len(self.named) == 1 else self.key

    @classmethod
    def on(cls, target: str, **arguments: Any) -> Self:
        return cls(event_ids=[target], **arguments)

    def parameters(self) -> dict[str, Any]:
        selection = self.selection.as_json() if self.selection else None
        return {"event_ids": self.named, "selection": selection}

    def plan(self) -> Plan:
        found = self._find()
        self.event_ids = found.ids
        plan = Plan(f"Replay {self.subject}.")
        if not found.ids:
            plan.blocked = f"Nothing is missing: there are no {self.subject}."
            return plan
        here = {
            row.stripe_event_id: row
            for row in InboxEvent.objects.filter(stripe_event_id__in=found.ids)
        }
        self.fetched, refused = self._fetch([i for i in found.ids if i not in here], found.events)
        refused |= {i: row.reason for i, row in here.items() if row.status == Status.SET_ASIDE}
        refused |= {i: DROPPED for i, row in here.items() if row.payload_dropped_at}
        self.todo = todo = [i for i in found.ids if i not in refused]
        self.refused = [EventResult(i, "", "refused", reason) for i, reason in refused.items()]
        plan.warnings = [f"{i}: {reason}" for i, reason in refused.items()]
        if not todo:
            plan.blocked = " ".join(plan.warnings)
            return plan
        types = {i: here[i].type if i in here else str(self.fetched[i]["type"]) for i in todo}
        if len(todo) > 1:
            plan.summary += f" {len(todo):,} of them: {counted(types.values())}."
        plan.changes = changes(types, here)
        first = todo[:PREVIEWED]
        self._preview([self.fetched.get(i) or json.loads(here[i].body) for i in first], plan)
        plan.warnings += self._remarks(here, found.left_out)
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

    def _find(self) -> Found:
        """What is to be replayed, as it is now. Raises a GatewayError."""
        if self.selection is None:
            return Found(self.named)
        found, self.found = self.found or self.selection.find(), None
        return found

    def _fetch(
        self, event_ids: Sequence[str], listed: Sequence[StripeDict]
    ) -> tuple[dict[str, StripeDict], dict[str, str]]:
        """Events from Stripe by id, and why the others cannot be replayed."""
        known = {str(event["id"]): event for event in listed}
        found: dict[str, StripeDict] = {}
        refused: dict[str, str] = {}
        for event_id in event_ids:
            try:
                event = known.get(event_id) or gateway().retrieve("event", event_id).data
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

    def _remarks(self, here: Mapping[str, InboxEvent], left_out: int) -> list[str]:
        """What the operator should know before agreeing."""
        remarks = []
        if len(self.todo) > PREVIEWED:
            remarks.append(f"What would change is shown of the first {PREVIEWED} only.")
        if left_out:
            remarks.append(f"{left_out:,} more are left for the next time: the oldest go first.")
        if again := [i for i in self.todo if i in here and here[i].status in DONE]:
            remarks.append(
                f"Processed before: {', '.join(again[:PREVIEWED])}. Nothing is granted twice."
            )
        return remarks

    def _commit(self, record: OperationRecord, results: Sequence[EventResult]) -> Result:
        done = sum(result.status in DONE for result in results)
        single = f"{results[0].event_id} was replayed. {results[0].reason}"
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


def counted(types: Iterable[str]) -> str:
    """How many events there are of each type, the most frequent first."""
    return ", ".join(f"{count:,} {type_}" for type_, count in Counter(types).most_common())


def changes(types: Mapping[str, str], here: Mapping[str, InboxEvent]) -> list[Change]:
    """What becomes of events, given as types by id: of each, or of each type if they are many."""
    if len(types) <= LISTED:
        return [
            Change(f"{type_} {i}", standing(here.get(i)), "processed") for i, type_ in types.items()
        ]
    groups = Counter(
        (type_, here[i].status if i in here else standing(None)) for i, type_ in types.items()
    )
    return [
        Change(f"{count:,} × {type_}", status, "processed")
        for (type_, status), count in sorted(groups.items())
    ]
