"""Wake-up calls to the worker: one waiting job is enough, however often it is called."""

from typing import Any

from django.db import connection
from procrastinate import exceptions
from procrastinate.contrib.django import app

QUEUEING_LOCK = "billing.process_inbox"


def wake_worker() -> None:
    """Has the worker look into the inbox."""
    defer_once("billing.process_inbox", QUEUEING_LOCK)


def defer_once(task: str, queueing_lock: str, *, lock: str | None = None, **arguments: Any) -> None:
    """Defers a job, unless one with this lock waits already.

    A job that runs does not count: it may have looked just before there was more to do.
    Of jobs with one `lock`, one at a time runs.
    """
    if is_waiting(queueing_lock):
        return
    try:
        app.configure_task(task, queueing_lock=queueing_lock, lock=lock).defer(**arguments)
    except exceptions.AlreadyEnqueued:
        return


def is_waiting(queueing_lock: str) -> bool:
    """Whether a job with this lock waits for the worker."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM procrastinate_jobs"
            " WHERE queueing_lock = %s AND status = 'todo')",
            [queueing_lock],
        )
        return bool(cursor.fetchone()[0])
