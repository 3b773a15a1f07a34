"""`manage.py tell_of_incident`."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.alerts import telling
from billing.management.command import Answer, OperationCommand
from billing.models import AlertMessage
from billing.operations.base import Operation
from billing.operations.incidents import TellOfIncident


class Command(OperationCommand):
    help = (
        "Tell people of an incident, by email and by the alerts' own ways; or, with --by, note that"
        " you told them otherwise."
    )
    example = "tell_of_incident 3 --to team --message 'Back at 11' --reason 'They asked'"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("incident", metavar="INCIDENT_ID", help="The number of the incident.")
        parser.add_argument(
            "--to",
            action="append",
            required=True,
            metavar="WHOM",
            help="An email address, or team for those whom the alerts tell. As often as needed.",
        )
        parser.add_argument("--message", required=True, help="What they are told.")
        parser.add_argument(
            "--by",
            default="",
            metavar="HOW",
            help="How you told them, such as 'by phone'. Nothing is sent then.",
        )

    def build(self, options: dict[str, Any], **common: Any) -> Operation:
        return TellOfIncident(
            incident_id=options["incident"],
            to=options["to"],
            message=options["message"],
            by=options["by"],
            **common,
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        """Sends it at once, and says what did not go out: a worker may be what is missing."""
        answer = super().answer(options)
        if options["dry_run"]:
            return answer
        telling.tell(timezone.now())
        entry = answer.document["result"]["details"]["entry"]
        left = AlertMessage.objects.filter(entry_id=entry, sent_at=None)
        late = [f"It has not gone out by {row.way} yet: {row.error}" for row in left]
        again = ["It is tried again by itself."] if late else []
        answer.attention = " ".join(filter(None, [answer.attention, *late, *again]))
        return answer
