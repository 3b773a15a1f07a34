"""`manage.py replay_events`."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing.gateway.observation import StripeDict
from billing.management.command import Answer, OperationCommand
from billing.operations.base import InvalidInputError, Operation
from billing.operations.replay import ReplayEvents, missed


class Command(OperationCommand):
    help = (
        "Process events again, and return when that is done. Events that the inbox lacks are"
        " fetched from Stripe, which keeps them for 30 days."
    )
    example = "replay_events --undelivered --since 2026-03-01 --reason 'Outage of March 1'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("events", nargs="*", metavar="EVT", help="Stripe's ids, evt_...")
        parser.add_argument(
            "--undelivered",
            action="store_true",
            help="Those that Stripe could not deliver and that were not processed here.",
        )
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="Without --undelivered: all since then that were not processed here. With it:"
            " only those since then. A date or ISO 8601 time, UTC unless it says otherwise.",
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        listing = options["undelivered"] or options["since"] is not None
        if bool(options["events"]) == listing:
            raise InvalidInputError("Name events, or use --undelivered or --since to find them.")
        self.found: list[StripeDict] = []
        if listing:
            since = read_time(options["since"]) if options["since"] is not None else None
            self.found = missed(undelivered=options["undelivered"], since=since)
            if not self.found:
                return Answer({"events": []}, ["Nothing is missing: every event was processed."])
        with self.progress() as bars:
            count = len(self.found) or len(options["events"])
            task = bars.add_task("Replaying", total=count)
            self.on_progress = lambda some: bars.advance(task, some)
            answer = super().answer(options)
        events = answer.document.get("result", {}).get("details", {}).get("events", [])
        if len(events) > 1:
            answer.lines += [f"  {e['type']} {e['event_id']}: {e['reason']}" for e in events]
        return answer

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReplayEvents(
            event_ids=options["events"] or [event["id"] for event in self.found],
            known=self.found,
            on_progress=self.on_progress,
            **common,
        )


def read_time(text: str) -> datetime:
    """A date or a time as an aware datetime. Raises InvalidInputError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInputError(
            f"“{text[:60]}” is no date or time: write it like 2026-03-01T09:30."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
