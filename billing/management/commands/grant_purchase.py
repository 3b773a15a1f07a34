"""`manage.py grant_purchase`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.purchases import GrantPurchase


class Command(OperationCommand):
    help = "Grant a purchase what our prices say that it is worth, once and for all."
    example = "grant_purchase cs_test_1 --reason 'Its webhook never came'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "purchase",
            metavar="PURCHASE_ID",
            help="The checkout session, invoice or payment intent.",
        )
        parser.add_argument(
            "--user", metavar="USER", help="Our own id of the user, where nobody knows who bought."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return GrantPurchase(purchase_id=options["purchase"], user_id=options["user"], **common)
