"""`manage.py sign_month`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.closing import SignMonth


class Command(OperationCommand):
    help = "Sign the figures of a month that is over; another person reviews them."
    example = "sign_month 2026-10 --reason 'Agrees with the bank'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("month", metavar="MONTH", help="Such as 2026-10.")
        parser.add_argument(
            "--explanation", default="", help="What explains the points that are not done."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return SignMonth(month=options["month"], explanation=options["explanation"], **common)
