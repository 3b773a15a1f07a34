"""`manage.py withdraw_note`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.base import Operation
from billing.operations.notes import WithdrawNote


class Command(OperationCommand):
    help = "Mark a note as withdrawn. It stays to be read, struck through."
    example = "withdraw_note 17 --reason 'It was about somebody else'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("note", metavar="NUMBER", help="The note's number.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return WithdrawNote(note_id=options["note"], **common)
