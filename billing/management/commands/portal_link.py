"""`manage.py portal_link`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.links import CreatePortalLink


class Command(OperationCommand):
    help = (
        "Make a link to Stripe's billing portal, where a customer helps themself. Whoever has it"
        " acts as the customer: it is shown once, and stored nowhere."
    )
    example = "portal_link cus_1 --reason 'The card expired'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "customer", metavar="CUSTOMER", help="Stripe's id, cus_..., or our own id of the user."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CreatePortalLink(customer=options["customer"], **common)
