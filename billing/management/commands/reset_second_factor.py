"""`manage.py reset_second_factor`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.accounts import ResetSecondFactor
from billing.operations.base import Operation


class Command(OperationCommand):
    help = "Take away somebody's second factor, and end all of their sessions."
    example = "reset_second_factor sue --reason 'Her telephone is lost; she called'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("account", metavar="ACCOUNT", help="The user name.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ResetSecondFactor(account=options["account"], **common)
