"""`manage.py close_incident`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.incidents import CloseIncident


class Command(OperationCommand):
    help = "Close an incident for good, with a report of what it was."
    example = "close_incident 3 'The worker was down; all was replayed.' --reason 'It is over'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("incident", metavar="INCIDENT_ID", help="The number of the incident.")
        parser.add_argument("report", metavar="REPORT", help="What happened, and what was done.")
        parser.add_argument(
            "--until",
            metavar="TIME",
            help="When the trouble was over: ISO 8601, UTC (default: now).",
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CloseIncident(
            incident_id=options["incident"],
            report=options["report"],
            ended_at=options["until"],
            **common,
        )
