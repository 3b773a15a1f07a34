"""`manage.py switch_off_account`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.accounts import SwitchOffAccount
from billing.operations.base import Operation


class Command(OperationCommand):
    help = "Switch an account off at once, and end all of its sessions."
    example = "switch_off_account sue --reason 'Her laptop was stolen'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("account", metavar="ACCOUNT", help="The user name.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return SwitchOffAccount(account=options["account"], **common)
