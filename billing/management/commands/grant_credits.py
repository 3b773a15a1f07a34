"""`manage.py grant_credits`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.credits import GrantCredits


class Command(OperationCommand):
    help = "Give a user credits; for a named purchase, once and for all."
    example = "grant_credits 42 50 --purchase cs_test_1 --reason 'Webhook failed'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="USER", help="Our own id of the user.")
        parser.add_argument("amount", metavar="AMOUNT", help="Credits: a whole number above 0.")
        parser.add_argument(
            "--purchase", metavar="ID", help="The checkout session, invoice or payment intent."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return GrantCredits(
            user_id=options["user"],
            amount=options["amount"],
            purchase=options["purchase"],
            **common,
        )
