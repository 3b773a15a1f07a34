"""`manage.py take_finding`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.findings import TakeFinding


class Command(OperationCommand):
    help = "Own a finding, or hand it to somebody."
    example = "take_finding 12 --owner sue --reason 'She knows the customer'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("finding", metavar="FINDING_ID", help="The number of the finding.")
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--owner", metavar="USER", help="A user of the admin (default: you).")
        whose.add_argument("--nobody", action="store_true", help="Lay it down.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return TakeFinding(
            finding_id=options["finding"],
            owner="" if options["nobody"] else options["owner"],
            **common,
        )
