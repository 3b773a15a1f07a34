"""`manage.py replay_events`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import Answer, OperationCommand
from billing.operations.base import InvalidInputError, Operation
from billing.operations.replay import ReplayEvents
from billing.operations.selection import INBOX, MISSING, UNDELIVERED, Found, Selection


class Command(OperationCommand):
    help = (
        "Process events again, and return when that is done. Events that the inbox lacks are"
        " fetched from Stripe, which keeps them for 30 days. They are named by their ids, or"
        " found: --missing, --undelivered or --status say where, the other options narrow it."
    )
    example = "replay_events --undelivered --since 2026-03-01 --reason 'Outage of March 1'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("events", nargs="*", metavar="EVT", help="Stripe's ids, evt_...")
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--missing",
            action="store_true",
            help="Those that Stripe has and that were not processed here (so, too, if only"
            " --since, --until, --type or --customer is given).",
        )
        where.add_argument(
            "--undelivered",
            action="store_true",
            help="Those that Stripe could not deliver and that were not processed here.",
        )
        where.add_argument(
            "--status",
            action="append",
            default=[],
            metavar="STATUS",
            help="Those of the inbox with this status: failed, dead, pending, processed or"
            " ignored. May be given several times.",
        )
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="Only those that happened since then. A date or ISO 8601 time, UTC unless it"
            " says otherwise.",
        )
        parser.add_argument("--until", metavar="TIME", help="Only those until then.")
        parser.add_argument(
            "--type",
            action="append",
            default=[],
            dest="types",
            metavar="TYPE",
            help="Only those of this type, invoice.paid or invoice.*. May be given several times.",
        )
        parser.add_argument(
            "--customer", default="", metavar="ID", help="Only those of this customer, cus_..."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        self.selection = selected(options)
        self.found: Found | None = None
        if bool(options["events"]) == bool(self.selection):
            raise InvalidInputError("Name events, or say which: --missing, --undelivered, --since.")
        if self.selection:
            self.found = self.selection.find()
            if not self.found.ids:
                return Answer({"events": []}, [f"Nothing is missing: no {self.selection}."])
        with self.progress() as bars:
            count = len(self.found.ids) if self.found else len(options["events"])
            task = bars.add_task("Replaying", total=count)
            self.on_progress = lambda some: bars.advance(task, some)
            answer = super().answer(options)
        events = answer.document.get("result", {}).get("details", {}).get("events", [])
        if len(events) > 1:
            answer.lines += [f"  {e['type']} {e['event_id']}: {e['reason']}" for e in events]
        return answer

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReplayEvents(
            event_ids=options["events"],
            selection=self.selection.as_json() if self.selection else None,
            found=self.found,
            on_progress=self.on_progress,
            **common,
        )


def selected(options: dict[str, Any]) -> Selection | None:
    """The selection that the options describe, None where they describe none."""
    narrowing = {name: options[name] for name in ("since", "until") if options[name] is not None}
    narrowing |= {name: options[name] for name in ("types", "customer") if options[name]}
    if options["status"]:
        return Selection.of(source=INBOX, statuses=options["status"], **narrowing)
    if options["undelivered"]:
        return Selection.of(source=UNDELIVERED, **narrowing)
    return Selection.of(source=MISSING, **narrowing) if options["missing"] or narrowing else None
