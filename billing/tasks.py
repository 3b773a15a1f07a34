"""The worker's jobs. Procrastinate finds them here; each may run twice without harm."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import close_old_connections
from procrastinate.contrib.django import app

from billing.ingress import worker
from billing.ingress.queue import QUEUEING_LOCK, wake_worker
from billing.mirror import store

logger = logging.getLogger(__name__)

BATCHES = 20  # of one job; then the next job goes on, so that a worker can stop between
KEEP_JOBS_HOURS = 24


@contextmanager
def fresh_connection() -> Iterator[None]:
    """A job's thread may hold a connection that the server has closed since."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@app.task(name="billing.process_inbox", queueing_lock=QUEUEING_LOCK)
def process_inbox() -> None:
    """Processes what is due in the inbox."""
    with fresh_connection():
        tally = worker.work(BATCHES)
        if tally.total:
            logger.info("inbox: %s", tally.by_status)
        if tally.total >= BATCHES * worker.BATCH:
            wake_worker()


@app.periodic(cron="* * * * * */10")
@app.task(name="billing.tick", queueing_lock="billing.tick")
def tick(timestamp: int) -> None:
    """Every ten seconds: what no wake-up call has brought (retries, a crash between)."""
    process_inbox()


@app.periodic(cron="*/10 * * * *")
@app.task(name="billing.mend_mirror", queueing_lock="billing.mend_mirror")
def mend_mirror(timestamp: int) -> None:
    """Every ten minutes: references that a process killed after its commit left open."""
    with fresh_connection():
        store.mend()


@app.periodic(cron="* * * * *")
@app.task(name="billing.retry_stalled_jobs", queueing_lock="billing.retry_stalled_jobs")
async def retry_stalled_jobs(timestamp: int) -> None:
    """Every minute: jobs of workers that died go back to the queue, finished ones away."""
    for job in await app.job_manager.get_stalled_jobs():
        logger.warning("job %s (%s) was left by a dead worker", job.id, job.task_name)
        await app.job_manager.retry_job(job)
    await app.job_manager.delete_old_jobs(nb_hours=KEEP_JOBS_HOURS, include_failed=True)
