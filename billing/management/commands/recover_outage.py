"""`manage.py recover_outage`."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.formatting import format_time, iso_time
from billing.gateway.history import lost_history
from billing.management.command import USAGE, Answer, OperatorCommand
from billing.models import Recovery
from billing.operations import inputs
from billing.operations.base import InvalidInputError
from billing.operations.recoveries import check
from billing.recovery import looking, outage, reporting, words


class Command(OperatorCommand):
    help = (
        "Recover what an outage lost: list what Stripe has and we did not process, process it the"
        " oldest first, find by objects what never became an event, mend what is safe, and look"
        " at everything once more. With --critical, for while webhooks fail: only what is"
        " critical, the most critical first, straight from Stripe; run it again and again. One"
        " that was interrupted goes on where it was. Ends with 0 if all is well, 1 if something"
        " needs a person, 2 if it could not finish."
    )
    example = "recover_outage --since 2026-11-20T13:00 --until 2026-11-21T09:00"
    unfinished = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            required=True,
            metavar="TIME",
            help="When the trouble began (UTC), such as 2026-11-20 or 2026-11-20T13:00.",
        )
        parser.add_argument(
            "--until", metavar="TIME", help="When it ended (UTC; default: it goes up to now)."
        )
        parser.add_argument(
            "--critical",
            action="store_true",
            help="Only what is critical: payments without their subscription or credits, invoices"
            " paid, changed subscriptions, refunds and disputes.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="List and rank what was missed, and change nothing.",
        )
        parser.add_argument(
            "--actor", default=None, help="Who asks (default: the user of this system)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        since = inputs.moment(options["since"])
        until = inputs.moment(options["until"]) if options["until"] else None
        check(since, until)
        with self.progress() as bars:
            bar = bars.add_task("Listing events", total=None)

            def tell(said: str) -> None:
                bars.update(bar, description=said)

            if options["dry_run"]:
                end = until or timezone.now()
                critical = options["critical"]
                seen = looking.look(since, end, critical_only=critical, tell=tell)
                return looked(seen, since, end)
            try:
                recovery = outage.recover(
                    Recovery.Kind.OUTAGE,
                    since=since,
                    until=until,
                    critical_only=options["critical"],
                    actor=self.actor(options).name,
                    on_progress=tell,
                )
            except outage.AlreadyRunningError as error:
                raise InvalidInputError(str(error)) from error
        return recovered(recovery)


def looked(seen: looking.Look, since: datetime, until: datetime) -> Answer:
    """What was missed and would be worked on."""
    lost = lost_history(since, until, timezone.now())
    not_as_events = [iso_time(moment) for moment in lost] if lost else None
    document = {
        "dry_run": True,
        "window": {"since": iso_time(since), "until": iso_time(until)},
        "listed": dict(seen.counts),
        "missed": seen.missed,
        "missed_as": dict(seen.missed_as),
        "types": dict(seen.types),
        "not_as_events": not_as_events,
        "queue": words.queue_as_dicts(seen.top),
    }
    lines = [
        f"From {format_time(since)} to {format_time(until)}. Nothing is changed.",
        *words.of_missed(seen.counts, seen.missed, seen.missed_as, seen.types),
        *words.of_queue(seen.top),
        *words.of_history(not_as_events),
    ]
    return Answer(document, lines)


def recovered(recovery: Recovery) -> Answer:
    """What was missed, what became of it, and what a person has to do."""
    left = reporting.waiting_for_people(recovery)
    attention = f"{left:,} of it needs a person: see above." if left else ""
    return Answer(reporting.document(recovery), words.of_recovery(recovery), attention)
