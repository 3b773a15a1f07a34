"""`manage.py take_back_credits`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.credits import TakeBackCredits


class Command(OperationCommand):
    help = "Take back credits that were granted by hand, while the balance still has them."
    example = "take_back_credits 42 50 --operation op_1 --reason 'The webhook granted it, too'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("user", metavar="USER", help="Our own id of the user.")
        parser.add_argument("credits", metavar="CREDITS", help="How many: a whole number from 1.")
        parser.add_argument(
            "--operation",
            metavar="KEY",
            required=True,
            help="The key of the operation that granted them.",
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return TakeBackCredits(
            user_id=options["user"],
            amount=f"-{options['credits']}",
            grant=options["operation"],
            **common,
        )
