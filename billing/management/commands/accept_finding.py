"""`manage.py accept_finding`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.findings import AcceptFinding


class Command(OperationCommand):
    help = "Accept a finding as it is; it holds for what is at stake now."
    example = "accept_finding 12 --reason 'Written off in March'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("finding", metavar="FINDING_ID", help="The number of the finding.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return AcceptFinding(finding_id=options["finding"], **common)
