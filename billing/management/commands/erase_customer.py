"""`manage.py erase_customer`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import Answer, OperationCommand
from billing.operations.base import InvalidInputError, Operation
from billing.operations.erasure import EraseCustomer, erase_again


class Command(OperationCommand):
    help = (
        "Erase what is stored about one person; another person has to approve it. Amounts, dates"
        " and ids stay, the books balance and the audit chain is whole; what arrives of them later"
        " is redacted. See deploy/privacy.md for what to do at Stripe and in copies."
    )
    example = "erase_customer cus_1 --reason 'They asked for it' --ticket 4711 --dry-run"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("whom", nargs="?", help="The customer, cus_…, or our id of the user.")
        parser.add_argument(
            "--again",
            action="store_true",
            help="Erase what came back of all who were erased, as after a restore by hand.",
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if bool(options["whom"]) == options["again"]:
            raise InvalidInputError("Name one customer or user, or give --again.")
        if not options["again"]:
            return super().answer(options)
        if options["dry_run"]:
            raise InvalidInputError("--again has no dry run: it only repeats what was decided.")
        rows = erase_again()
        said = ", ".join(f"{count:,} in {table}" for table, count in sorted(rows.items()))
        return Answer({"rows": rows}, [f"Erased again: {said or 'nothing had come back'}."])

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return EraseCustomer(whom=options["whom"], **common)
