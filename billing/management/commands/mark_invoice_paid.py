"""`manage.py mark_invoice_paid`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.invoices import MarkInvoicePaid


class Command(OperationCommand):
    help = (
        "State at Stripe that an invoice was paid elsewhere: nothing is charged, and what a payment"
        " brings follows. Large amounts wait for a second person."
    )
    example = "mark_invoice_paid in_1 --evidence 'Transfer 4711' --reason 'Paid by bank transfer'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("invoice", metavar="INVOICE", help="Stripe's id, in_...")
        parser.add_argument(
            "--evidence", required=True, help="What proves it: the transfer's or cheque's number."
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return MarkInvoicePaid(
            invoice_id=options["invoice"], evidence=options["evidence"], **common
        )
