"""`manage.py open_incident`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.incidents import OpenIncident


class Command(OperationCommand):
    help = "Open an incident: every page of the admin says so until it is closed."
    example = "open_incident 'No webhooks come in' --owner sue --reason 'Alert of 09:30'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("title", metavar="TITLE", help="What is wrong, in a few words.")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="When the trouble began: ISO 8601, UTC (default: the last event that was"
            " processed).",
        )
        parser.add_argument("--owner", metavar="USER", help="A user of the admin (default: you).")
        parser.add_argument("--alert", metavar="ALERT_ID", help="The alert it is opened from.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return OpenIncident(
            incident_title=options["title"],
            started_at=options["since"],
            owner=options["owner"],
            alert_id=options["alert"],
            **common,
        )
