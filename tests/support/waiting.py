"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], *, seconds: float = 30, pause: float = 0.05
) -> None:
    """Return once `condition()` is true; an AssertionError after `seconds`.

    `pause` is how long to wait before asking again.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {seconds} seconds")
        time.sleep(pause)
