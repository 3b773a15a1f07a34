"""`manage.py end_override`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.overrides import EndOverride


class Command(OperationCommand):
    help = (
        "End a status that was set by hand: Stripe's own takes its place, or where Stripe cannot"
        " be asked the one from before."
    )
    example = "end_override sub_1 --reason 'Stripe is back'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subscription", metavar="ID", help="Stripe's id, sub_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return EndOverride(subscription_id=options["subscription"], **common)
