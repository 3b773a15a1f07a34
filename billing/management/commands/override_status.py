"""`manage.py override_status`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.overrides import MOST_HOURS, OverrideStatus


class Command(OperationCommand):
    help = (
        "Ask for a subscription's status to be set by hand for some hours, while Stripe cannot be"
        " asked. A second person has to approve it; it ends by itself as soon as Stripe's own word"
        " comes in."
    )
    example = "override_status sub_1 active --hours 12 --reason 'Stripe is down, paid by wire'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("subscription", metavar="ID", help="Stripe's id, sub_...")
        parser.add_argument("status", metavar="STATUS", help="One of Stripe's, such as active.")
        parser.add_argument(
            "--hours", required=True, help=f"How long it stands, {MOST_HOURS} at most."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return OverrideStatus(
            subscription_id=options["subscription"],
            status=options["status"],
            hours=options["hours"],
            **common,
        )
