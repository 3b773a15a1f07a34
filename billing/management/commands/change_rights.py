"""`manage.py change_rights`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import OperationCommand
from billing.operations.accounts import ChangeRights
from billing.operations.base import Operation


class Command(OperationCommand):
    help = (
        "Ask for the rights that an account is to have, or for a new one: another person has to"
        " agree, in the admin."
    )
    example = "change_rights sue --role support --new --email sue@example.com --reason 'She is new'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("account", metavar="ACCOUNT", help="The user name.")
        parser.add_argument(
            "--role",
            action="append",
            default=[],
            metavar="ROLE",
            help="A role that it is to have; several times for several. All others go.",
        )
        parser.add_argument(
            "--superuser", action="store_true", help="It may do everything. Without it, not."
        )
        parser.add_argument("--email", default="", help="Its email address (default: as it is).")
        parser.add_argument("--new", action="store_true", help="Make the account.")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return ChangeRights(
            account=options["account"],
            roles=options["role"],
            superuser=options["superuser"],
            email=options["email"],
            new=options["new"],
            **common,
        )
