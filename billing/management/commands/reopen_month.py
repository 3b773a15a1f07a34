"""`manage.py reopen_month`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.closing import ReopenMonth


class Command(OperationCommand):
    help = "Open a month that was signed or closed again; what was frozen is kept."
    example = "reopen_month 2026-10 --reason 'The bank found a mistake'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("month", metavar="MONTH", help="Such as 2026-10.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReopenMonth(month=options["month"], **common)
