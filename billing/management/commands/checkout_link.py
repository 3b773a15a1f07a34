"""`manage.py checkout_link`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.links import CreateCheckoutLink


class Command(OperationCommand):
    help = (
        "Make a link to Stripe's checkout, where a customer buys a subscription or a pack of"
        " credits within 24 hours."
    )
    example = "checkout_link 42 --price price_1 --reason 'The old subscription has ended'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "customer", metavar="CUSTOMER", help="Stripe's id, cus_..., or our own id of the user."
        )
        parser.add_argument(
            "--price", required=True, metavar="PRICE", help="Stripe's id, price_..."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CreateCheckoutLink(customer=options["customer"], price=options["price"], **common)
