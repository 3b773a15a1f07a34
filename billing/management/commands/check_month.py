"""`manage.py check_month`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.closing import CheckMonth


class Command(OperationCommand):
    help = "Have the worker read a month's days from Stripe, and keep the bridge."
    example = "check_month 2026-10 --reason 'Before closing'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("month", metavar="MONTH", help="Such as 2026-10.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CheckMonth(month=options["month"], **common)
