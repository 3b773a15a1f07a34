"""`manage.py refund_claim`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.claims import RefundClaim


class Command(OperationCommand):
    help = "Give back the credits of a lead claim that failed, once for each claim."
    example = "refund_claim 17 --reason 'The lead was gone already'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("claim", metavar="CLAIM_ID", help="The number of the lead claim.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return RefundClaim(claim_id=options["claim"], **common)
