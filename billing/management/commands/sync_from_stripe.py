"""`manage.py sync_from_stripe`."""

from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import Answer, OperationCommand
from billing.operations.base import Operation
from billing.operations.sync import SyncFromStripe

KINDS = ("subscription", "customer", "invoice", "payment", "user")


class Command(OperationCommand):
    help = "Fetch from Stripe, and bring our rows and the credits up to date."
    example = "sync_from_stripe --subscription sub_1 --reason 'Customer says it is active'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--subscription", metavar="ID")
        what.add_argument("--customer", metavar="ID", help="with all that is theirs")
        what.add_argument("--invoice", metavar="ID")
        what.add_argument("--payment", metavar="ID", help="an intent or a charge, whoever paid")
        what.add_argument("--user", metavar="USER", help="every customer of this user of ours")
        what.add_argument("--all", action="store_true", help="everything that Stripe has")

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        kind = next((kind for kind in KINDS if options[kind] is not None), "everything")
        return SyncFromStripe(
            kind=kind, id=options.get(kind, ""), on_progress=self.on_progress, **common
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        with self.progress() as bars:
            tasks: dict[str, Any] = {}

            def show(kind: str, read: int) -> None:
                if kind not in tasks:
                    tasks[kind] = bars.add_task(kind, total=None)
                bars.update(tasks[kind], description=f"{kind}: {read:,}")

            self.on_progress = show
            answer = super().answer(options)
        details = answer.document.get("result", {}).get("details", {})
        changed = details.get("changed", {})
        answer.lines += [
            f"  {kind}: {read:,} read, {changed.get(kind, 0):,} differed"
            for kind, read in details.get("fetched", {}).items()
            if options["all"]
        ]
        answer.lines += [f"  credits: {line}" for line in details.get("credits", [])]
        return answer
