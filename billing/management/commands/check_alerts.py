"""`manage.py check_alerts`."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.utils import timezone

from billing.alerts.firing import counted
from billing.alerts.rules import ALL, UNCHECKED, Outcome, look_at
from billing.alerts.watch import watch
from billing.management.command import Answer, OperatorCommand


class Command(OperatorCommand):
    help = (
        "Check the alerts' rules once, now, and print what fires. Nobody is told and nothing is"
        " kept, unless with --tell."
    )
    example = "check_alerts --json"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--tell",
            action="store_true",
            help="Open and resolve alerts by it, and tell people, as the worker does.",
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["tell"]:
            outcomes = watch(ALL, all_due=True)
        else:
            outcomes = look_at(ALL, timezone.now(), all_due=True, remember=False)
        alerts = [alert for outcome in outcomes for alert in as_dicts(outcome)]
        unknown = {o.rule.name: o.unknown for o in outcomes if o.unknown}
        lines = [line for alert in alerts for line in as_lines(alert)]
        lines += [f"UNKNOWN  {rule}: {why}" for rule, why in unknown.items()]
        lines += [] if lines else [f"All {counted(len(outcomes), 'rule')} are quiet."]
        return Answer(
            {"alerts": alerts, "unknown": unknown}, lines, attention(len(alerts), len(unknown))
        )


def as_dicts(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "rule": outcome.rule.name,
            "key": firing.key,
            "severity": firing.severity,
            "title": firing.title,
            "detail": firing.detail,
            "page": f"{settings.PUBLIC_URL}{firing.page}",
        }
        for firing in outcome.firings
        if firing.key != UNCHECKED
    ]


def as_lines(alert: dict[str, Any]) -> list[str]:
    return [
        f"{alert['severity'].upper():7}  {alert['title']}",
        f"         {alert['detail']}",
        f"         {alert['page']}",
    ]


def attention(firing: int, unknown: int) -> str:
    parts = [f"{counted(firing, 'alert')} fire{'s' if firing == 1 else ''}."] if firing else []
    parts += [f"{counted(unknown, 'rule')} could not be checked."] if unknown else []
    return " ".join(parts)
