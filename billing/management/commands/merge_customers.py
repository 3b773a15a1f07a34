"""`manage.py merge_customers`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.people import MergeCustomers


class Command(OperationCommand):
    help = "Make two customers at Stripe one person's here; another person has to approve it."
    example = "merge_customers cus_keep cus_other --reason 'They signed up twice'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("keep", metavar="KEEP_CUS", help="The customer whose user stays.")
        parser.add_argument("gone", metavar="GONE_CUS", help="The customer that becomes theirs.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return MergeCustomers(kept=options["keep"], gone=options["gone"], **common)
