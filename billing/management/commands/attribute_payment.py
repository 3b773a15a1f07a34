"""`manage.py attribute_payment`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.purchases import AttributePayment


class Command(OperationCommand):
    help = "Say which user made a payment that nobody is known for; it is granted then."
    example = "attribute_payment cs_test_1 42 --reason 'They sent the receipt'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "purchase",
            metavar="PURCHASE_ID",
            help="The checkout session, invoice or payment intent.",
        )
        parser.add_argument("user", metavar="USER", help="Our own id of the user.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return AttributePayment(purchase_id=options["purchase"], user_id=options["user"], **common)
