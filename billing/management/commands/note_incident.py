"""`manage.py note_incident`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.incidents import NoteIncident


class Command(OperationCommand):
    help = "Write a note into an incident: it stands in its timeline and in its report."
    example = "note_incident 3 'The secret was rolled at 09:30' --reason 'Found in the log'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("incident", metavar="INCIDENT_ID", help="The number of the incident.")
        parser.add_argument("text", metavar="TEXT", help="What is to stand there.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return NoteIncident(incident_id=options["incident"], text=options["text"], **common)
