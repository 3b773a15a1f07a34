"""`manage.py record_subscription`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.recording import RecordSubscription


class Command(OperationCommand):
    help = (
        "Write a subscription whose webhook never came, as Stripe has it, with its customer,"
        " invoices and credits."
    )
    example = "record_subscription sub_1 --user 42 --reason 'Webhook failed'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subscription", metavar="ID", help="Stripe's id, sub_...")
        parser.add_argument(
            "--user", metavar="USER", help="Our own id of the user, where Stripe does not tell it."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return RecordSubscription(
            subscription_id=options["subscription"], user_id=options["user"], **common
        )
