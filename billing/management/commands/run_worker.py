"""`manage.py run_worker`: processes the inbox until it is stopped."""

import asyncio
import logging
import signal
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any, cast

import psycopg
from django.core.management.base import BaseCommand
from procrastinate import App, exceptions
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector

logger = logging.getLogger(__name__)

# The inbox must not wait for what may take many minutes: a reconciliation, the reading of Stripe's
# balance, a month's check. Each of these runs once at a time.
AT_ONCE = 4
POLLING = 1.0  # seconds between looks for jobs, should a notification get lost
PAUSES = (1, 2, 5, 10, 30)  # seconds between tries while the database is away
LONG_ENOUGH = 60  # seconds of work after which the pauses begin anew


class WorkerStoppedError(Exception):
    """The worker came to an end although nobody asked it to."""


class Command(BaseCommand):
    help = (
        "Runs the worker: processes the inbox, retries what failed, keeps the schedules. "
        "Stop it with Ctrl-C or SIGTERM; run as many as you like. Example: manage.py run_worker"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=AT_ONCE,
            help=f"Jobs at the same time (default: {AT_ONCE}).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tries = 0
        while True:
            started = time.monotonic()
            try:
                # procrastinate's own Django command does the same (contrib.django).
                connector = cast(DjangoConnector, app.connector).get_worker_connector()
                with app.replace_connector(connector) as worker_app:
                    self.stderr.write("The worker is running. Ctrl-C stops it.")
                    asyncio.run(run(worker_app, options["concurrency"]))
                return
            except (WorkerStoppedError, exceptions.ConnectorException, psycopg.Error, OSError) as e:
                tries = 0 if time.monotonic() - started > LONG_ENOUGH else tries
                pause = PAUSES[min(tries, len(PAUSES) - 1)]
                tries += 1
                why = " ".join(str(e).split())
                logger.warning("the worker has lost the database (%s): again in %d s", why, pause)
                time.sleep(pause)


async def run(worker_app: App, concurrency: int) -> None:
    """Works until a signal asks it to stop; jobs that run are finished first.

    Raises WorkerStoppedError where procrastinate stops by itself, which it does without an
    error once it cannot listen to the database any more.
    """
    async with worker_app.open_async():
        working = asyncio.ensure_future(
            worker_app.run_worker_async(
                concurrency=concurrency,
                fetch_job_polling_interval=POLLING,
                install_signal_handlers=False,
            )
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, working.cancel)
        with suppress(asyncio.CancelledError):
            await working
            raise WorkerStoppedError("it stopped without being asked to")
