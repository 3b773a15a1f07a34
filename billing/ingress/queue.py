"""The wake-up call to the worker: one waiting job is enough, however many events came."""

from django.db import connection
from procrastinate import exceptions
from procrastinate.contrib.django import app

QUEUEING_LOCK = "billing.process_inbox"


def wake_worker() -> None:
    """Defers the inbox job, unless one waits already.

    A job that runs does not count: it may have looked just before the row was there.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM procrastinate_jobs"
            " WHERE queueing_lock = %s AND status = 'todo')",
            [QUEUEING_LOCK],
        )
        if cursor.fetchone()[0]:
            return
    try:
        app.configure_task("billing.process_inbox", queueing_lock=QUEUEING_LOCK).defer()
    except exceptions.AlreadyEnqueued:
        return
