"""`manage.py review_month`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.closing import ReviewMonth


class Command(OperationCommand):
    help = "Close a month that another person signed: its figures and rows are frozen."
    example = "review_month 2026-10 --reason 'Reviewed against the bank'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("month", metavar="MONTH", help="Such as 2026-10.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReviewMonth(month=options["month"], **common)
