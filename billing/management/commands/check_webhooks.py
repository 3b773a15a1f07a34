"""`manage.py check_webhooks`."""

from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandParser

from billing.diagnosis.webhooks import Check, check_webhooks, webhook_url
from billing.management.command import Answer, OperatorCommand
from billing.operations.base import InvalidInputError


class Command(OperatorCommand):
    help = (
        "Check that Stripe's webhooks reach us: the secret, the endpoint at Stripe, and a signed"
        " ping to ourselves that is followed until it is processed."
    )
    example = "check_webhooks --timeout 10"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--url", help="The webhook's address (default: under PUBLIC_URL).")
        add_timeout(parser)

    def answer(self, options: dict[str, Any]) -> Answer:
        url = options["url"] or webhook_url()
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InvalidInputError(f"{url} is not an http or https address.")
        checks = list(check_webhooks(url, timeout=timeout_of(options)))
        failed = sum(not check.ok for check in checks)
        return Answer(
            {"url": url, "checks": [check.as_dict() for check in checks]},
            [line for check in checks for line in as_lines(check)],
            f"{failed} of {len(checks)} checks failed." if failed else "",
        )


def add_timeout(parser: CommandParser) -> None:
    """How long a signed ping is followed, in seconds."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="How long the ping may take until it is processed (default: 30).",
    )


def timeout_of(options: dict[str, Any]) -> float:
    """Seconds. Raises InvalidInputError for what nobody would wait."""
    seconds = float(options["timeout"])
    if not 0 < seconds <= 3600:
        raise InvalidInputError("The time-out must be above 0 and at most 3600 seconds.")
    return seconds


def as_lines(check: Check) -> list[str]:
    mark = "ok  " if check.ok else "FAIL"
    advice = [f"      {check.advice}"] if check.advice else []
    return [f"{mark}  {check.name}: {check.detail}", *advice]
