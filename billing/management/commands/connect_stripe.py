"""`manage.py connect_stripe`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import CommandParser

from billing.diagnosis.webhooks import Check, check_endpoint, check_webhooks, webhook_url
from billing.gateway.client import StripeForbiddenError, gateway
from billing.ingress.handled import HANDLED
from billing.management.command import Answer, OperatorCommand
from billing.management.commands.check_webhooks import add_timeout, as_lines, timeout_of
from billing.operations import connecting
from billing.operations.base import InvalidInputError
from billing.operations.connecting import Connected, Wanted


class Command(OperatorCommand):
    help = (
        "Connect to Stripe: check the key, its account and each permission that is needed; make"
        " the webhook endpoint at PUBLIC_URL, or adopt the one that is there, with exactly the"
        " events that are handled; say what to put where; and check that webhooks arrive. A second"
        " run changes nothing. Endpoints with other addresses are left alone."
    )
    example = "connect_stripe --check"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--check", action="store_true", help="Look, and change nothing.")
        parser.add_argument(
            "--yes", action="store_true", help="Do not ask before a change in live mode."
        )
        parser.add_argument(
            "--secret-file",
            metavar="PATH",
            help="Write the signing secret of a new endpoint into this new file (mode 0600), and"
            " not to the terminal.",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="Where the endpoint has another API version: make another one beside it.",
        )
        parser.add_argument(
            "--disable", metavar="ENDPOINT", default="", help="Disable the one that was replaced."
        )
        add_timeout(parser)
        parser.add_argument("--actor", default="", help="Who connects (default: the system's user)")

    def answer(self, options: dict[str, Any]) -> Answer:
        url, stripe = webhook_url(), gateway()
        timeout = timeout_of(options)
        connecting.check_address(url)
        checks = [connecting.check_account(stripe)]
        if not checks[0].ok:
            return summed_up(url, checks, Wanted(), None)
        checks += connecting.check_permissions(stripe)
        try:
            wanted = connecting.plan(
                stripe, url, replace=options["replace"], disable=options["disable"]
            )
        except StripeForbiddenError:
            return summed_up(url, checks, by_hand(url), None)
        connected = None
        if wanted.steps and not options["check"]:
            try:
                connected = self.connect(wanted, options)
            except StripeForbiddenError:
                wanted.notes += by_hand(url).notes
        # Not where it only looks, or the new secret is not in the settings yet.
        is_pinged = not options["check"] and not (connected and connected.secret)
        checks += check_webhooks(url, timeout=timeout) if is_pinged else check_endpoint(url)
        return summed_up(url, checks, wanted, connected)

    def connect(self, wanted: Wanted, options: dict[str, Any]) -> Connected:
        """Makes the change, hands the secret over, then writes it down without the secret."""
        with self.place_for_secret(wanted, options) as hand_over:
            if settings.STRIPE_LIVE_MODE and not options["yes"]:
                said = ["This would change in live mode:", *(f"  {s}" for s in wanted.steps)]
                self.confirm("live", said, what="the mode")
            connected = connecting.connect(gateway(), wanted)
            hand_over(connected.secret)
        connecting.record(self.actor(options), connected, wanted)
        return connected

    @contextmanager
    def place_for_secret(
        self, wanted: Wanted, options: dict[str, Any]
    ) -> Iterator[Callable[[str], object]]:
        """What takes the secret of a new endpoint, made ready before there is one.

        Raises InvalidInputError where it would go into a log, or over another file.
        """
        if not wanted.makes:
            yield lambda secret: None
        elif options["secret_file"]:
            with new_file(Path(options["secret_file"])) as file:
                yield lambda secret: file.write(f"{secret}\n")
        elif options["as_json"] or not is_terminal(self.stdout):
            raise InvalidInputError(
                "Stripe tells the new endpoint's signing secret once, and it belongs into no log:"
                " run this in a terminal, or give --secret-file PATH."
            )
        else:
            yield lambda secret: self.stdout.write(
                "The signing secret, which is shown only now. Put it into your settings:\n"
                f"  STRIPE_WEBHOOK_SECRET={secret}"
            )


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file that only its owner may read; it is gone again where nothing came of it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InvalidInputError(f"{path} cannot be made: {why}. Name a new file.") from error
    try:
        with os.fdopen(descriptor, "w") as file:
            yield file
    finally:
        if not path.stat().st_size:
            path.unlink()


def is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def by_hand(url: str) -> Wanted:
    """What to do where the key may not touch endpoints."""
    said = (
        "This key may not make the endpoint. Give it the permission for now, or make it by hand"
        f" (Developers, Webhooks) for {url}, with API version {settings.STRIPE_API_VERSION} and"
        f" these events: {', '.join(sorted(HANDLED))}"
    )
    return Wanted(notes=[said])


def summed_up(url: str, checks: list[Check], wanted: Wanted, connected: Connected | None) -> Answer:
    """What was found, what was changed or would be, and what comes next."""
    done = "done  " if connected else "to do "
    lines = [line for check in checks for line in as_lines(check)]
    lines += [f"{done}{step}" for step in wanted.steps]
    lines += [f"note  {note}" for note in wanted.notes]
    if checks[0].ok and wanted.path and not wanted.steps:
        lines.append("The endpoint is as it has to be: nothing to change.")
    if connected and connected.secret:
        lines += [
            "Set STRIPE_WEBHOOK_SECRET to it (beside others, separated by commas), start the web",
            "server and the worker again, and run this again: then a signed ping is followed.",
        ]
    failed = sum(not check.ok for check in checks)
    left = wanted.steps if not connected else []
    attention = [f"{failed} of {len(checks)} checks failed."] if failed else []
    attention += [f"To do at Stripe: {'; '.join(left)}."] if left else []
    document = {
        "url": url,
        "endpoint": connected.endpoint if connected else "",
        "made": bool(connected and connected.secret),
        "changed": wanted.steps if connected else [],
        "to_do": left,
        "notes": wanted.notes,
        "checks": [check.as_dict() for check in checks],
    }
    return Answer(document, lines, " ".join(attention))
