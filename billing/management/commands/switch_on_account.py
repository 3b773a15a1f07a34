"""`manage.py switch_on_account`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.accounts import SwitchOnAccount
from billing.operations.base import Operation


class Command(OperationCommand):
    help = "Ask to switch an account on again: another person has to agree."
    example = "switch_on_account sue --reason 'She is back'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("account", metavar="ACCOUNT", help="The user name.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return SwitchOnAccount(account=options["account"], **common)
