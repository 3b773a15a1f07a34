"""`manage.py smoke`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.urls import reverse

from billing.management.command import USAGE, Answer, OperatorCommand
from billing.models import SmokeTest
from billing.operations.base import InvalidInputError
from billing.smoke.trying import INTERRUPTED, LIVE, LONGEST_STEP, LONGEST_WATCH, smoke, user_of


class Command(OperatorCommand):
    help = (
        "Try the payment flows that everything depends on, end to end, at the sandbox or on a"
        " Stripe test account: buy a pack, start a subscription, renew it, fail to, refund. Each"
        " step waits until our own rows say what they must, and tells where it got stuck."
        " Everything is cleaned up afterwards. With a live key it changes nothing: it looks, and"
        " sends a signed ping through the whole pipeline. Then it watches for new trouble. Ends"
        " with 0 if all is well, 1 if something is not, 2 if it could not come to its end."
    )
    example = "smoke --watch 300"
    unfinished = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--watch",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="How long to watch afterwards (default: 60; 0 to look once).",
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="How long a step may take until our rows say so (default: 60).",
        )
        parser.add_argument(
            "--live-check",
            action="store_true",
            help="Only look, as with a live key: key, permissions, events, prices, webhook.",
        )
        parser.add_argument(
            "--actor", default="", help="Who asks for it (default: the system's user)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if not 0 < options["timeout"] <= LONGEST_STEP:
            raise InvalidInputError(f"The time-out must be above 0 and at most {LONGEST_STEP:g} s.")
        if not 0 <= options["watch"] <= LONGEST_WATCH:
            raise InvalidInputError(f"Watch for 0 to {LONGEST_WATCH:g} seconds.")
        with stoppable(), self.progress() as bars:
            bar = bars.add_task("Smoke test", total=None)
            test = smoke(
                actor=self.actor(options).name,
                timeout=options["timeout"],
                watch=options["watch"],
                only_look=options["live_check"],
                tell=lambda said: bars.update(bar, description=said),
            )
        return answered(test)


def answered(test: SmokeTest) -> Answer:
    """What came of the test, every step in its order."""
    page = settings.PUBLIC_URL + reverse("admin:billing_smoketest_change", args=[test.pk])
    failed = [step for step in test.steps if not step["ok"]]
    document = {
        "test": test.pk,
        "ok": test.ok,
        "mode": test.mode,
        "user": "" if test.mode == LIVE else user_of(test),
        "steps": test.steps,
        "page": page,
    }
    lines = [f"Smoke test {test.pk}, {test.mode}:"]
    lines += [line for step in test.steps for line in as_lines(step)]
    return Answer(
        document,
        [*lines, page],
        f"{len(failed)} of {len(test.steps)} steps failed." if failed else "",
        is_unfinished=any(step["name"] == INTERRUPTED for step in test.steps),
    )


def as_lines(step: dict[str, Any]) -> list[str]:
    mark = "ok  " if step["ok"] else "FAIL"
    lines = [f"{mark}  {step['name']} ({step['seconds']:.1f} s): {step['detail']}"]
    lines += [f"      {step['advice']}"] if step["advice"] else []
    lines += [f"      {settings.PUBLIC_URL}{step['page']}"] if step["page"] else []
    return lines


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM stop the test once; what it then cleans up is not disturbed."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
