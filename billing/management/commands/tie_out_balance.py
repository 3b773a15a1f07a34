"""`manage.py tie_out_balance`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.tying import TieOutBalance


class Command(OperationCommand):
    help = "Bring a balance that differs from its ledger back to what the ledger says."
    example = "tie_out_balance 42 --reason 'The restore of Tuesday ran without triggers'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="USER", help="Our own id of the user.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return TieOutBalance(user_id=options["user"], **common)
