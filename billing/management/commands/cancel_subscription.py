"""`manage.py cancel_subscription`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.cancellation import CancelAtPeriodEnd


class Command(OperationCommand):
    help = (
        "Let a subscription end with the period that is paid for. reactivate_subscription takes it"
        " back until then."
    )
    example = "cancel_subscription sub_1 --reason 'The customer asked for it'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subscription", metavar="ID", help="Stripe's id, sub_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return CancelAtPeriodEnd(subscription_id=options["subscription"], **common)
