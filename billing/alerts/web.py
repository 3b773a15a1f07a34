"""The web process tells when no worker is running, or none gets on: such a worker tells nobody.

Once a minute at most, after an answer has been sent, it looks in a thread of its own: no request
waits for that, and it has a connection to the database of its own.
"""

import logging
import threading
import time
from typing import Any

from django.conf import settings
from django.db import connections

from billing.alerts.rules import BACKLOG, WORKERS
from billing.alerts.watch import watch

logger = logging.getLogger(__name__)

EVERY = 60  # seconds
FROM_WEB = (WORKERS, BACKLOG)


class AfterRequests:
    """Receives Django's `request_finished`, which comes once the answer is sent.

    The first look comes a minute after the process's start: a worker that is started together
    with it has given its first sign of life by then.
    """

    def __init__(self) -> None:
        self.next_at = time.monotonic() + EVERY
        self._one_at_a_time = threading.Lock()

    def __call__(self, **kwargs: Any) -> None:
        if time.monotonic() < self.next_at or not settings.WATCH_WORKER_FROM_WEB:
            return
        if self._one_at_a_time.acquire(blocking=False):
            self.next_at = time.monotonic() + EVERY
            threading.Thread(target=self._look, name="alerts", daemon=True).start()

    def _look(self) -> None:
        try:
            watch(FROM_WEB)
        except Exception as error:
            logger.warning("the web process could not look for a worker: %s", type(error).__name__)
        finally:
            connections.close_all()
            self._one_at_a_time.release()


after_requests = AfterRequests()
