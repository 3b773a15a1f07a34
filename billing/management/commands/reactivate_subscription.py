"""`manage.py reactivate_subscription`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.subscriptions import ReactivateSubscription


class Command(OperationCommand):
    help = (
        "Do at Stripe what makes a subscription active again, by its status there (it may charge"
        " the customer), then bring our rows up to date."
    )
    example = "reactivate_subscription sub_1 --reason 'Customer updated the card'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subscription", metavar="ID", help="Stripe's id, sub_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ReactivateSubscription(subscription_id=options["subscription"], **common)
