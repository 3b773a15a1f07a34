"""`manage.py snooze_finding`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.findings import SnoozeFinding


class Command(OperationCommand):
    help = "Put a finding off until a time: it is open again by itself then."
    example = "snooze_finding 12 --until 2026-03-01 --reason 'The customer answers by then'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("finding", metavar="FINDING_ID", help="The number of the finding.")
        parser.add_argument(
            "--until", metavar="TIME", required=True, help="A date or ISO 8601 time, in UTC."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return SnoozeFinding(finding_id=options["finding"], until=options["until"], **common)
