"""`manage.py incident_report`."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.incidents import document, wording
from billing.incidents.figures import Figures, figures, kept_or_now
from billing.management.command import Answer, OperatorCommand, system_user
from billing.models import Incident
from billing.operations import inputs
from billing.operations.base import Actor, InvalidInputError, OperationError
from billing.operations.finance import record_export
from billing.operations.incidents import MOST, PREFIX


class Command(OperatorCommand):
    help = (
        "Show what an incident comes to: times, what was at stake, what was done. While it is open,"
        " so far; once it is closed, as it was then."
    )
    example = "incident_report 3 --markdown > incident-3.md"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("incident", metavar="INCIDENT_ID", help="The number of the incident.")
        parser.add_argument(
            "--markdown",
            action="store_true",
            help="The whole document, with customers and timeline. It is an export, and audited.",
        )
        parser.add_argument(
            "--draft", action="store_true", help="A draft of the closing report, to be changed."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["as_json"] + options["markdown"] + options["draft"] > 1:
            raise InvalidInputError("Ask for --json, for --markdown or for --draft.")
        row = found(options["incident"])
        if options["draft"]:
            said = figures(row, ended_at=row.ended_at or timezone.now())
            return Answer({}, wording.draft(row, said).split("\n"))
        if options["markdown"] or options["as_json"]:
            kind = "md" if options["markdown"] else "json"
            actor = Actor.cli(system_user())
            record_export(actor, f"incident {row.pk}: report", "", kind)
        if options["markdown"]:
            return Answer({}, document.as_markdown(document.document(row)).rstrip().split("\n"))
        if options["as_json"]:
            return Answer(document.as_dict(row))
        return Answer({}, list(lines(row, kept_or_now(row))))


def found(number: str) -> Incident:
    """The incident of a number. Raises OperationError where there is none."""
    pk = inputs.whole_number(
        number.strip().removeprefix(PREFIX), "The number of the incident", least=1, most=MOST
    )
    row = Incident.objects.filter(pk=pk).first()
    if row is None:
        raise OperationError(f"There is no incident {pk}.")
    return row


def lines(row: Incident, said: Figures) -> Iterator[str]:
    """The figures for people."""
    yield f"Incident {row.pk}: {row.title}"
    yield from (f"  {name}: {text}" for name, text in wording.time_lines(said))
    yield "At the worst, and now:"
    yield from (f"  {title}: {worst}, {now}" for title, worst, now in wording.stake_rows(said))
    yield "Done:"
    yield from (f"  {name}: {text}" for name, text in wording.done_lines(said))
    yield "Told:"
    yield from (
        f"  {wording.time_words(each['at'])}  {each['whom']}, {each['way']}: {each['state']}"
        for each in said["told"]
    )
    if row.closing_report:
        yield "Closing report:"
        yield from (f"  {line}".rstrip() for line in row.closing_report.split("\n"))
