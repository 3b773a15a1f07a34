"""`manage.py resend_invoice`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.invoices import ResendInvoice


class Command(OperationCommand):
    help = "Have Stripe email an open invoice to its customer again."
    example = "resend_invoice in_1 --reason 'Lost in the spam folder'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("invoice", metavar="INVOICE", help="Stripe's id, in_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ResendInvoice(invoice_id=options["invoice"], **common)
