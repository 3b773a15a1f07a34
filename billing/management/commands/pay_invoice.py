"""`manage.py pay_invoice`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.invoices import PayInvoice


class Command(OperationCommand):
    help = (
        "Charge an invoice that is not paid to the customer's default payment method, then bring"
        " our rows up to date."
    )
    example = "pay_invoice in_1 --reason 'The customer updated the card'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("invoice", metavar="INVOICE", help="Stripe's id, in_...")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return PayInvoice(invoice_id=options["invoice"], **common)
