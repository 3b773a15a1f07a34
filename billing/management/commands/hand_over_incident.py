"""`manage.py hand_over_incident`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.incidents import HandOverIncident


class Command(OperationCommand):
    help = "Hand an open incident over to somebody."
    example = "hand_over_incident 3 --owner sue --reason 'End of my shift'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("incident", metavar="INCIDENT_ID", help="The number of the incident.")
        parser.add_argument("--owner", metavar="USER", help="A user of the admin (default: you).")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return HandOverIncident(incident_id=options["incident"], owner=options["owner"], **common)
