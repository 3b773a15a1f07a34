"""What the operators' commands share: their options, their answers, their exit codes.

A command is thin: it builds an operation (or runs a check) and shows what that says.
"""

import getpass
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import OperationalError
from rich.console import Console
from rich.progress import Progress

from billing.gateway.client import GatewayError, StripeNotConfiguredError
from billing.operations.base import (
    OTHER,
    Actor,
    AnyOperation,
    Change,
    InvalidInputError,
    OperationError,
    Plan,
    Result,
)
from billing.revenue.asked import InvalidReportError

DONE, ATTENTION, USAGE = 0, 1, 2  # exit codes


@dataclass(slots=True)
class Answer:
    """What a command says: a document for programs, lines for people, and its exit code.

    `attention` is a sentence on what a person has to do yet, '' for nothing; `is_unfinished`
    where nobody knows, since it could not be found out.
    """

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    attention: str = ""
    is_unfinished: bool = False


class OperatorCommand(BaseCommand, ABC):
    """A command whose answer is on stdout, as text or as one JSON document (`--json`).

    Everything else goes to stderr. It exits with 0 when done, 1 when something needs
    attention, 2 when it was called wrongly or its configuration is missing.
    """

    example: ClassVar[str]
    unfinished: ClassVar[int] = ATTENTION  # how it exits where it did not come to its end
    failed: ClassVar[Mapping[str, Any]] = {}  # in the document of a failure, besides
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=f"Example: manage.py {self.example}", **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Answer with one JSON document."
        )

    @abstractmethod
    def answer(self, options: dict[str, Any]) -> Answer:
        """Does what the command is for."""

    def actor(self, options: dict[str, Any]) -> Actor:
        """Who asks: the option `--actor`, which not every command has, or the system's user."""
        return Actor.cli((options["actor"] or "").strip() or system_user())

    def confirm(self, name: str, said: list[str], *, what: str = "the database's name") -> None:
        """Shows what would happen. Raises InvalidInputError unless the name is typed."""
        self.stderr.write("\n".join(said))
        if not sys.stdin.isatty():
            raise InvalidInputError("Nobody is there to confirm it: add --yes to go on.")
        self.stderr.write(f"Type {what}, {name}, to go on: ", ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip() != name:
            raise InvalidInputError(f"That is not {name}: nothing was done.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            check_text(options)
            answer = self.answer(options)
        except KeyboardInterrupt:
            said = "Interrupted. What was done stays done; run it again to go on."
            self.fail(options, said, self.unfinished)
        except (InvalidInputError, InvalidReportError, StripeNotConfiguredError) as error:
            self.fail(options, str(error), USAGE)
        except OperationError as error:
            unconfigured = isinstance(error.__cause__, StripeNotConfiguredError)
            self.fail(options, str(error), USAGE if unconfigured else ATTENTION)
        except GatewayError as error:
            self.fail(options, str(error), self.unfinished)
        except OperationalError as error:
            self.fail(options, f"The database failed: {str(error).strip()}", self.unfinished)
        else:
            status = "attention" if answer.attention else "done"
            self.write(options, {"status": status, **answer.document}, answer.lines)
            if answer.attention:
                code = self.unfinished if answer.is_unfinished else ATTENTION
                raise CommandError(answer.attention, returncode=code)

    def fail(self, options: dict[str, Any], sentence: str, code: int = ATTENTION) -> None:
        """Ends the command with `sentence` and an exit code other than 0."""
        self.write(options, {"status": "failed", "error": sentence, **self.failed}, [])
        raise CommandError(sentence, returncode=code)

    def write(self, options: dict[str, Any], document: dict[str, Any], lines: list[str]) -> None:
        """The answer on stdout, in the form that was asked for."""
        if options["as_json"]:
            self.stdout.write(json.dumps(document, cls=DjangoJSONEncoder, indent=2))
        elif lines:
            self.stdout.write("\n".join(lines))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars on stderr if that is a terminal; they vanish at the end."""
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
            yield bars


class OperationCommand(OperatorCommand):
    """A command that carries out one operation, or with `--dry-run` only shows its plan."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help="Why: it stands in the audit log.")
        parser.add_argument(
            "--reason-code", default=OTHER, help=f"One of the list of reasons (default: {OTHER})."
        )
        parser.add_argument("--ticket", default="", help="The support ticket, if there is one.")
        parser.add_argument(
            "--actor", default="", help="Who asks for it (default: the system's user)."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Show what would change, and change nothing."
        )
        parser.add_argument(
            "--key", help="The key of an earlier try, to repeat it without doing it twice."
        )

    @abstractmethod
    def build(self, options: dict[str, Any], **common: Any) -> AnyOperation:
        """The operation that the options ask for; `common` is actor, reasons and key."""

    def answer(self, options: dict[str, Any]) -> Answer:
        operation = self.build(
            options,
            actor=self.actor(options),
            reason=options["reason"],
            reason_code=options["reason_code"],
            ticket=options["ticket"],
            key=options["key"],
        )
        if options["dry_run"]:
            return planned(operation, operation.plan())
        return applied(operation, operation.apply())


def planned(operation: AnyOperation, plan: Plan) -> Answer:
    """The answer of a dry run."""
    lines = [plan.summary, *changes_as_lines(plan.changes)]
    lines += [f"  at Stripe: {call}" for call in plan.calls]
    lines += [f"  warning: {warning}" for warning in plan.warnings]
    lines += [f"  approval: {plan.approval}"] if plan.approval else []
    document = {"operation": operation.name, "dry_run": True, "plan": plan.as_dict()}
    return Answer(document, lines, plan.blocked)


def applied(operation: AnyOperation, result: Result) -> Answer:
    """The answer of an operation that was carried out now, or by an earlier try."""
    again = ["Done by an earlier try; nothing was done now."] if result.already_done else []
    lines = [*again, result.summary, *changes_as_lines(result.changes)]
    lines += [result.link] if result.link else []
    document = {"operation": operation.name, "key": operation.key, "result": result.as_dict()}
    return Answer(document, lines, " ".join(result.warnings))


def changes_as_lines(changes: list[Change]) -> list[str]:
    return [f"  {change.label}: {change.before} -> {change.after}" for change in changes]


def check_text(options: dict[str, Any]) -> None:
    """Raises InvalidInputError for an argument that is not UTF-8: it could not be stored."""
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not is_utf8(text):
                raise InvalidInputError(f"{name} is not valid UTF-8.")


def is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def system_user() -> str:
    """The user that runs the process; its number where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
