"""`manage.py add_note`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.notes import AddNote


class Command(OperationCommand):
    help = "Write down a note on a customer or user, for everybody who opens their page."
    example = "add_note cus_1 'Pays by wire until May' --reason 'Call of today'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "about", metavar="WHO", help="Stripe's id of the customer, cus_..., or our own id."
        )
        parser.add_argument("text", metavar="TEXT")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return AddNote(about=options["about"], text=options["text"], **common)
