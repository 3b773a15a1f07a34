"""`manage.py process_inbox --drain`: processes what is pending, then returns."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from billing.ingress import worker


class Command(BaseCommand):
    help = (
        "Processes every open event of the inbox once, also those that wait for a retry, and "
        "returns: 0 when all went well, 1 when some failed or are dead. "
        "Example: manage.py process_inbox --drain --json"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--drain", action="store_true", required=True, help="Process all, then return."
        )
        parser.add_argument("--json", action="store_true", help="One JSON document on stdout.")

    def handle(self, *args: Any, **options: Any) -> None:
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            self.stderr.write(f"{done} events", ending="\r" if sys.stderr.isatty() else "\n")

        tally = worker.drain(progress)
        if options["json"]:
            self.stdout.write(json.dumps({"total": tally.total, "by_status": tally.by_status}))
        else:
            counts = ", ".join(f"{count} {status}" for status, count in tally.by_status.items())
            self.stdout.write(f"{tally.total} events: {counts or 'nothing was pending'}")
        if tally.needs_attention:
            sys.exit(1)
