"""Asking the database what a probe wants to know: briefly, and not more than once a second."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from django.db import connection, transaction

LONGEST = "3s"  # for one statement
KEPT = 1.0  # seconds for which an answer is good for everybody

Answer = TypeVar("Answer")


@contextmanager
def briefly() -> Iterator[None]:
    """A transaction of reading, in which no statement takes long."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [LONGEST])
        yield


class Kept(Generic[Answer]):
    """An answer that is asked for anew once it is a second old, by one thread at a time.

    However many probes come, the database has one question a second of each process.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._one_at_a_time = threading.Lock()
        self._answer: tuple[float, Answer] | None = None

    def __call__(self) -> Answer:
        with self._one_at_a_time:
            if self._answer is None or time.monotonic() - self._answer[0] > KEPT:
                self._answer = (time.monotonic(), self._ask())
            return self._answer[1]

    def forget(self) -> None:
        self._answer = None
