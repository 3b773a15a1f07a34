"""`manage.py billing_link`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.billing_page import DEFAULT_HOURS, MOST_HOURS, CreateBillingLink


class Command(OperationCommand):
    help = (
        "Make a link to a customer's own billing page: what they have, what is wrong, and the way"
        " into the billing portal. It is shown once, and stored nowhere."
    )
    example = "billing_link cus_1 --hours 24 --reason 'Asked for the invoices'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "customer", metavar="CUSTOMER", help="Stripe's id, cus_..., or our own id of the user."
        )
        parser.add_argument(
            "--hours",
            default=DEFAULT_HOURS,
            help=f"For how long it can be used, {MOST_HOURS} at most ({DEFAULT_HOURS}).",
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CreateBillingLink(customer=options["customer"], hours=options["hours"], **common)
