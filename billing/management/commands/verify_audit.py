"""`manage.py verify_audit`."""

import re
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from billing.diagnosis.audit import verify
from billing.management.command import Answer, OperatorCommand
from billing.operations.base import InvalidInputError


class Command(OperatorCommand):
    help = (
        "Check that the audit log is as it was written: every audit event is linked to the one"
        " before it by a hash. Names the first broken link. Keep the last hash somewhere else, and"
        " give it with --expect the next time: then events that were cut off at the end show too."
    )
    example = "verify_audit --expect 9f2c..."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--expect", default="", metavar="HASH", help="A hash that an earlier run ended with."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        expect = options["expect"].strip().lower()
        if expect and not re.fullmatch(r"[0-9a-f]{64}", expect):
            raise InvalidInputError("A hash is 64 digits from 0 to f, as an earlier run said it.")
        with self.progress() as bars:
            task = bars.add_task("Links", total=None)
            verdict = verify(expect, on_progress=lambda count: bars.advance(task, count))
        whole = f"{verdict.links:,} audit events, all as they were written."
        redacted = (
            f"{verdict.redacted:,} of them are redacted, as an erasure that follows them says."
        )
        whole += f" {redacted}" if verdict.redacted else ""
        lines = [verdict.broken or whole, f"Last hash: {verdict.head or 'none yet'}"]
        return Answer(asdict(verdict), lines, verdict.broken)
