"""`manage.py correct_balance`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.credits import CorrectBalance


class Command(OperationCommand):
    help = "Set a user's balance to a value; the difference goes into the ledger."
    example = "correct_balance 42 25 --reason 'A claim failed but was charged'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="USER", help="Our own id of the user.")
        parser.add_argument("balance", metavar="BALANCE", help="Credits: a whole number from 0 up.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CorrectBalance(user_id=options["user"], balance=options["balance"], **common)
