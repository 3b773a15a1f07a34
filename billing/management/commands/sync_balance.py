"""`manage.py sync_balance`."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing.formatting import format_time, iso_time
from billing.management.command import Answer, OperatorCommand, system_user
from billing.operations import inputs
from billing.projection import balance_sync
from billing.revenue import entries


class Command(OperatorCommand):
    help = (
        "Read what is new on Stripe's balance (transactions, payouts, which payout paid out"
        " what), everything for the first time, and derive the entries of revenue. Changes nothing"
        " at Stripe. It may be interrupted: run it again to go on."
    )
    example = "sync_balance --since 2026-11-01"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="Read again from here on (UTC), such as 2026-11-20 or 2026-11-20T13:00.",
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        since = inputs.moment(options["since"]) if options["since"] else None
        with self.progress() as bars:
            tasks: dict[str, Any] = {}

            def show(what: str, count: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=None)
                bars.update(tasks[what], description=f"{what}: {count:,}")

            read = balance_sync.sync(actor=system_user(), since=since, on_progress=show)
            bars.add_task("deriving the entries of revenue", total=None)
            derived = entries.refresh()
        up_to = balance_sync.read_up_to() or datetime.now(UTC)
        came = (
            f"Read {read.transactions:,} balance transactions and {read.payouts:,} payouts in"
            f" {read.api_calls:,} requests; {read.changed:,} rows and {derived:,} entries of"
            " revenue changed."
        )
        return Answer(
            {**asdict(read), "entries_changed": derived, "read_up_to": iso_time(up_to)},
            [came, f"Everything is here up to {format_time(up_to)}."],
        )
