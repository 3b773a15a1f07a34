"""`manage.py journal`."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, get_args

from django.conf import settings
from django.core.management.base import CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from billing.formatting import format_money, iso_time
from billing.management.command import Answer, OperatorCommand, system_user
from billing.management.report import add_days, in_units, shown_days, window
from billing.operations.base import Actor, InvalidInputError
from billing.operations.finance import record_export
from billing.revenue.exporting import safe
from billing.revenue.journal import JournalBy, Line, journal

HEADER = ("date", "account", "debit", "credit", "currency", "reference")


class Command(OperatorCommand):
    help = (
        "Write the journal of Stripe's balance as double entry, in the currencies that Stripe"
        " settles in: by day, or by transaction. Reads our own rows only, changes nothing. Account"
        " names are those of JOURNAL_ACCOUNTS. CSV has amounts in units, JSON in minor units."
    )
    example = "journal --from 2026-10-01 --to 2026-10-31 --csv > october.csv"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_days(parser)
        parser.add_argument(
            "--by", choices=get_args(JournalBy), default="day", help="What one reference is."
        )
        parser.add_argument("--csv", action="store_true", dest="as_csv", help="Answer with CSV.")

    def answer(self, options: dict[str, Any]) -> Answer:
        """Writes line by line, so that memory is flat however many there are."""
        if options["as_csv"] and options["as_json"]:
            raise InvalidInputError("Ask for --json or for --csv.")
        days = window(options)
        lines = journal(**days, by=options["by"], names=settings.JOURNAL_ACCOUNTS)
        if options["as_csv"]:
            days_asked = f"{iso_time(days['since'])}/{iso_time(days['until'])}"
            record_export(
                Actor.cli(system_user()), f"journal by {options['by']}", days_asked, "csv"
            )
            self._write_csv(lines)
        elif options["as_json"]:
            self._write_json(lines, days, options["by"])
        else:
            self._write_text(lines, days)
        return Answer({}, [])

    def write(self, options: dict[str, Any], document: dict[str, Any], lines: list[str]) -> None:
        """What failed; all else is written by then."""
        if document["status"] == "failed":
            super().write(options, document, lines)

    def _write_csv(self, lines: Iterator[Line]) -> None:
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(HEADER)
        for line in lines:
            amounts = (in_units(amount, line.currency) for amount in (line.debit, line.credit))
            account, reference = safe(line.account), safe(line.reference)
            writer.writerow([line.date, account, *amounts, line.currency.upper(), reference])

    def _write_json(self, lines: Iterator[Line], days: dict[str, Any], by: str) -> None:
        about = {"status": "done", "timezone": days["timezone"], "by": by,
                 "since": iso_time(days["since"]), "until": iso_time(days["until"])}  # fmt: skip
        self.stdout.write(json.dumps(about)[:-1] + ', "rows": [', ending="")
        for number, line in enumerate(lines):
            row = json.dumps(asdict(line), cls=DjangoJSONEncoder)
            self.stdout.write(("," if number else "") + f"\n  {row}", ending="")
        self.stdout.write("\n]}")

    def _write_text(self, lines: Iterator[Line], days: dict[str, Any]) -> None:
        sums: Counter[tuple[str, str]] = Counter()
        for line in lines:
            sums[line.currency, line.account] += line.debit - line.credit
        said = {name: iso_time(days[name]) for name in ("since", "until")}
        self.stdout.write(shown_days({**said, "timezone": days["timezone"]}))
        for (currency, account), amount in sorted(sums.items()):
            side = "debit" if amount >= 0 else "credit"
            self.stdout.write(f"  {account}: {side} {format_money(abs(amount), currency)}")
