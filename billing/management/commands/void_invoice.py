"""`manage.py void_invoice`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.invoices import VoidInvoice


class Command(OperationCommand):
    help = (
        "Void an invoice that is not paid: nobody owes it any more, for good. It waits for a second"
        " person's approval."
    )
    example = "void_invoice in_1 --reason 'Made by mistake'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("invoice", metavar="INVOICE", help="Stripe's id, in_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return VoidInvoice(invoice_id=options["invoice"], **common)
