"""`manage.py sign_off_run`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.runs import SignOffRun


class Command(OperationCommand):
    help = "Sign a finished reconciliation off, once."
    example = "sign_off_run 7 --reason 'Agrees with the bank'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("run", metavar="RUN_ID", help="The number of the run.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return SignOffRun(run_id=options["run"], **common)
