"""`manage.py reopen_finding`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.findings import ReopenFinding


class Command(OperationCommand):
    help = "Open a finding again that was put off or accepted."
    example = "reopen_finding 12 --reason 'It was not so'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("finding", metavar="FINDING_ID", help="The number of the finding.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReopenFinding(finding_id=options["finding"], **common)
