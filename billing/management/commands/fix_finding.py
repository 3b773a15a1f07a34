"""`manage.py fix_finding`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.fixing import FixFinding


class Command(OperationCommand):
    help = "Run what a finding recommends."
    example = "fix_finding 12 --reason 'Its webhook never came'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("finding", metavar="FINDING_ID", help="The number of the finding.")

    def build(self, options: dict[str, Any], **common: Any) -> FixFinding:
        return FixFinding(finding_id=options["finding"], **common)
