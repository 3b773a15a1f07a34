"""`manage.py drop_payloads`."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from billing.formatting import format_time
from billing.ingress import retention
from billing.management.command import Answer, OperatorCommand


class Command(OperatorCommand):
    help = (
        "Drop the raw payloads of events that were processed longer ago than RETAIN_PAYLOADS_DAYS."
        " The worker does it every night. Rows, log, ledger and audit log stay."
    )
    example = "drop_payloads --dry-run"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Say how many, drop none.")
        parser.add_argument("--actor", default="", help="Who asks (default: the system's user).")

    def answer(self, options: dict[str, Any]) -> Answer:
        kept, days = retention.kept(), settings.RETAIN_PAYLOADS_DAYS
        rule = f"kept for {days} days" if days else "kept for ever (RETAIN_PAYLOADS_DAYS is 0)"
        oldest = format_time(kept.oldest) if kept.oldest else "none"
        dropped = 0
        if not options["dry_run"]:
            with self.progress() as bars:
                bar = bars.add_task("Events", total=kept.due)
                dropped = retention.drop(
                    self.actor(options).name, lambda count: bars.advance(bar, count)
                )
        lines = [
            f"Payloads are {rule}. The oldest was received {oldest}.",
            f"{kept.due:,} would be dropped." if options["dry_run"] else f"{dropped:,} dropped.",
        ]
        document = {"days": days, "due": kept.due, "dropped": dropped, "oldest": kept.oldest}
        return Answer(document, lines)
