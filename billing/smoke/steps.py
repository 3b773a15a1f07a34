"""The steps of a smoke test, and waiting in one until our own rows say what they must say."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from django.db import InterfaceError, OperationalError, connection
from django.urls import reverse

LOOK_EVERY = 0.2  # seconds

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One step and what came of it. `page` is the path that shows where it got stuck."""

    name: str
    ok: bool
    seconds: float
    detail: str
    advice: str = ""
    page: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class StuckError(Exception):
    """What has to happen did not. `advice` says what to do, `page` is the path to look at."""

    def __init__(self, detail: str, advice: str, page: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice
        self.page = page


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that our rows, or Stripe, must come to say: `what` is it that is waited for.

    `seen` looks once, and raises a StuckError where no waiting will help. `stuck` says where
    it got stuck when the time is over.
    """

    what: str
    seen: Callable[[], bool]
    stuck: Callable[[float], StuckError]


def wait_for(signs: Sequence[Sign], *, timeout: float, tell: Tell) -> None:
    """Waits for one sign after another, `timeout` seconds for all. Raises StuckError."""
    started = time.monotonic()
    for sign in signs:
        tell(sign.what)
        while not _seen(sign, over=(elapsed := time.monotonic() - started) > timeout):
            if elapsed > timeout:
                raise sign.stuck(elapsed)
            time.sleep(LOOK_EVERY)


def _seen(sign: Sign, *, over: bool) -> bool:
    """One look. While there is time, a database that went away is given the chance to return."""
    try:
        return sign.seen()
    except (OperationalError, InterfaceError) as error:
        connection.close()
        if over:
            raise StuckError(
                f"Waiting for {sign.what}, the database failed: {' '.join(str(error).split())}",
                "Is PostgreSQL running, and does DATABASE_URL lead to it?",
            ) from error
        return False


def open_page(**query: str) -> str:
    """The path that leads to the page about an `id` of Stripe's, or about a `user`."""
    return f"{reverse('admin:billing_open')}?{urlencode(query)}"
