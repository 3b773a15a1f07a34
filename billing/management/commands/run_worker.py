"""`manage.py run_worker`: processes the inbox until it is stopped."""

import asyncio
import logging
import os
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

# A worker that is stopping gives no sign of life any more: from 30 seconds on, others would take
# its jobs for a dead one's and begin them, too.
STOP_WITHIN = 25  # seconds


class WorkerStoppedError(Exception):
    """The worker came to an end although nobody asked it to."""


class Command(BaseCommand):
    help = (
        "Runs the worker: processes the inbox, retries what failed, keeps the schedules. "
        "Stop it with Ctrl-C or SIGTERM: what it is at is finished first, or left to another worker"
        " after a while. Run as many as you like. Example: manage.py run_worker"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=AT_ONCE,
            help=f"Jobs at the same time (default: {AT_ONCE}).",
        )
        parser.add_argument(
            "--stop-within",
            type=float,
            default=STOP_WITHIN,
            metavar="SECONDS",
            help=f"How long jobs may take to end once it is to stop (default: {STOP_WITHIN}).",
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
                    asyncio.run(run(worker_app, options["concurrency"], options["stop_within"]))
                return
            except (WorkerStoppedError, exceptions.ConnectorException, psycopg.Error, OSError) as e:
                tries = 0 if time.monotonic() - started > LONG_ENOUGH else tries
                pause = PAUSES[min(tries, len(PAUSES) - 1)]
                tries += 1
                why = " ".join(str(e).split())
                logger.warning("the worker has lost the database (%s): again in %d s", why, pause)
                time.sleep(pause)


async def run(worker_app: App, concurrency: int, stop_within: float) -> None:
    """Works until a signal asks it to stop; jobs that run are finished first, or left behind.

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
        stopping = Stopping(working, stop_within)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.ask)
        with suppress(asyncio.CancelledError):
            await working
            raise WorkerStoppedError("it stopped without being asked to")


class Stopping:
    """Ends the worker: at once where nothing runs, within `seconds` whatever runs.

    A job in a thread cannot be ended but with the process. Its transaction is then rolled back,
    and the next worker begins it again, as it does those of a worker that was killed.
    """

    def __init__(self, working: "asyncio.Future[None]", seconds: float) -> None:
        self.working = working
        self.seconds = seconds
        self.is_asked = False

    def ask(self) -> None:
        """Asked once, it finishes what it is at; asked again, it does not."""
        if self.is_asked:
            self.leave()
        self.is_asked = True
        self.working.cancel()
        asyncio.get_running_loop().call_later(self.seconds, self.leave)

    def leave(self) -> None:
        logger.warning("what the worker is at is left to the next one: it was to stop by now")
        logging.shutdown()
        os._exit(0)
