"""How fast bulk reading may ask Stripe, all processes together.

Stripe counts the requests of an account, whoever makes them (STRIPE.md, API limits): what reads
in bulk takes a part of them and leaves the rest to webhooks and people.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.conf import settings
from django.db import connection

LONGEST_WAIT = 60.0  # seconds: a clock that was set back must not stop us for long


_bulk: ContextVar[bool] = ContextVar("bulk", default=False)


@contextmanager
def at_bulk_pace() -> Iterator[None]:
    """Within it each request of this thread waits for its turn: for bulk work through code that
    else serves webhooks and people."""
    token = _bulk.set(True)
    try:
        yield
    finally:
        _bulk.reset(token)


def is_bulk() -> bool:
    """Whether this thread is at bulk work."""
    return _bulk.get()


def wait_for_turn() -> None:
    """Takes the next place in the line of bulk requests, and sleeps until it is due.

    The line is one row: each request moves it on by its share of a second, so that processes
    need not know of each other. No line where STRIPE_BULK_REQUESTS_PER_SECOND is 0.
    """
    rate = settings.STRIPE_BULK_REQUESTS_PER_SECOND
    if not rate:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_request_pace AS p (name, next_at)
            VALUES ('bulk', clock_timestamp() + make_interval(secs => %(step)s))
            ON CONFLICT (name) DO UPDATE SET next_at =
                greatest(p.next_at, clock_timestamp()) + make_interval(secs => %(step)s)
            RETURNING extract(epoch FROM next_at - clock_timestamp()) - %(step)s
            """,
            {"step": 1 / rate},
        )
        [(seconds,)] = cursor.fetchall()
    if seconds > 0:
        time.sleep(min(float(seconds), LONGEST_WAIT))
