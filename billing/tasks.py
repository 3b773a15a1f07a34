"""The worker's jobs. Procrastinate finds them here; each may run twice without harm."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone
from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from billing import rate_limits
from billing.access import history, sessions
from billing.alerts import heartbeat, rules, telling
from billing.alerts.watch import watch as watch_rules
from billing.gateway.client import GatewayError
from billing.ingress import retention, worker
from billing.ingress.queue import QUEUEING_LOCK, defer_once, wake_worker
from billing.mirror import store
from billing.models import BulkJob, MonthClose, ReconciliationRun
from billing.operations import approvals, bulk, erasure, overrides
from billing.projection import balance_sync
from billing.reconciliation import mending, runs
from billing.recovery import outage
from billing.recovery.assessment import assessing
from billing.recovery.backups import making
from billing.recovery.export import writing
from billing.recovery.export.store import StoreError
from billing.revenue import facts, month_rows

logger = logging.getLogger(__name__)

BATCHES = 20  # of one job; then the next job goes on, so that a worker can stop between
KEEP_JOBS_HOURS = 24
BULK_SECONDS = 20.0  # of a bulk job at a stretch
SCHEDULE = "schedule"  # who starts what nobody asked for
ASK_AGAIN = RetryStrategy(max_attempts=6, wait=600)  # seconds
BACKUP_AGAIN = RetryStrategy(max_attempts=3, wait=900)


@contextmanager
def fresh_connection() -> Iterator[None]:
    """A job's thread may hold a connection that the server has closed since."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


def in_words(counts: Mapping[str, int]) -> str:
    """`3 processed, 1 failed`: a dictionary would be taken for a body, and left out of the log."""
    return ", ".join(f"{number:,} {status}" for status, number in counts.items()) or "nothing"


@app.task(name="billing.process_inbox", queueing_lock=QUEUEING_LOCK)
def process_inbox() -> None:
    """Processes what is due in the inbox."""
    with fresh_connection():
        tally = worker.work(BATCHES)
        if tally.total:
            logger.info("inbox: %s", in_words(tally.by_status))
        if tally.is_more_due:
            wake_worker()


@app.periodic(cron="* * * * * */10")
@app.task(name="billing.tick", queueing_lock="billing.tick")
def tick(timestamp: int) -> None:
    """Every ten seconds: what no wake-up call has brought (retries, a crash between)."""
    process_inbox()


@app.task(name="billing.run_bulk_job")
def run_bulk_job(job_id: int) -> None:
    """Works on a bulk job for a while, then makes room for others and goes on."""
    with fresh_connection():
        if bulk.work(job_id, BULK_SECONDS):
            wake_bulk_job(job_id)
        elif mending.is_to_be_looked_at(job_id):
            look_at_fixed.defer(job_id=job_id)


@app.task(name="billing.look_at_fixed")
def look_at_fixed(job_id: int, after: int = 0) -> None:
    """Looks again at the findings that a bulk job has fixed, and makes room for others between."""
    with fresh_connection():
        last = mending.look_again(job_id, after=after, seconds=BULK_SECONDS)
        if last is not None:
            look_at_fixed.defer(job_id=job_id, after=last)


def wake_bulk_job(job_id: int) -> None:
    """Has the worker carry out a job; once it waits in the queue, it waits only once."""
    lock = f"billing.bulk_job.{job_id}"
    defer_once("billing.run_bulk_job", lock, lock=lock, job_id=job_id)


@app.periodic(cron="* * * * *")
@app.task(name="billing.look_after_operations", queueing_lock="billing.look_after_operations")
def look_after_operations(timestamp: int) -> None:
    """Every minute: requests that nobody decided, jobs that a dead worker left, and statuses
    set by hand whose time is over."""
    with fresh_connection():
        approvals.expire_due()
        bulk.forget_drafts()
        running = BulkJob.objects.filter(status=BulkJob.Status.RUNNING)
        for job_id in running.values_list("pk", flat=True):
            wake_bulk_job(job_id)
        overrides.end_due()


@app.task(name=erasure.TASK)
def erase_again(customers: list[str]) -> None:
    """Two minutes after an erasure: what was being written meanwhile."""
    with fresh_connection():
        if erased := erasure.erase_again(customers):
            logger.info("erased what had come back: %s", erased)


@app.task(name="billing.tell_approvers")
def tell_approvers(record_id: int) -> None:
    """Writes to those who may approve a request."""
    with fresh_connection():
        approvals.tell_approvers(record_id)


@app.periodic(cron="30 3 * * *")
@app.task(
    name="billing.drop_payloads",
    queueing_lock="billing.drop_payloads",
    lock="billing.drop_payloads",
)
def drop_payloads(timestamp: int) -> None:
    """Every night: raw payloads that are older than they may be kept."""
    with fresh_connection():
        if dropped := retention.drop(SCHEDULE):
            logger.info("dropped the payloads of %s events", dropped)


@app.periodic(cron="*/10 * * * *")
@app.task(name="billing.mend_mirror", queueing_lock="billing.mend_mirror")
def mend_mirror(timestamp: int) -> None:
    """Every ten minutes: references that a process killed after its commit left open."""
    with fresh_connection():
        store.mend()


@app.periodic(cron="*/10 * * * *")
@app.task(name="billing.forget_rate_limits", queueing_lock="billing.forget_rate_limits")
def forget_rate_limits(timestamp: int) -> None:
    """Every ten minutes: strangers who ask no more."""
    with fresh_connection():
        rate_limits.forget()


@app.periodic(cron="*/10 * * * *")
@app.task(
    name="billing.sync_balance", queueing_lock="billing.sync_balance", lock="billing.sync_balance"
)
def sync_balance(timestamp: int) -> None:
    """Every ten minutes: what is new on Stripe's balance, and what finance derives from it.

    Where Stripe does not answer, the next one goes on from there.
    """
    with fresh_connection():
        try:
            balance_sync.sync(actor=SCHEDULE)
        except GatewayError as error:
            logger.warning("the balance was not read to its end: %s", error)
        facts.refresh_all()


@app.periodic(cron="* * * * *")
@app.task(name="billing.watch", queueing_lock="billing.watch", lock="billing.watch")
def watch(timestamp: int) -> None:
    """Every minute: the alerts' rules on our own rows, and what is still to be told."""
    with fresh_connection():
        watch_rules(rules.HERE)


@app.periodic(cron="* * * * *")
@app.task(
    name="billing.watch_outside",
    queueing_lock="billing.watch_outside",
    lock="billing.watch_outside",
)
def watch_outside(timestamp: int) -> None:
    """Every minute: those of the alerts' rules that ask Stripe, each every ten minutes."""
    with fresh_connection():
        watch_rules(rules.OUTSIDE)


@app.task(name="billing.tell")
def tell() -> None:
    """Sends what somebody told of an incident; what is not taken then, `watch` sends."""
    with fresh_connection():
        telling.tell(timezone.now())


@app.periodic(cron="* * * * *")
@app.task(name="billing.retry_stalled_jobs", queueing_lock="billing.retry_stalled_jobs")
async def retry_stalled_jobs(timestamp: int) -> None:
    """Every minute: jobs of workers that died go back to the queue, finished ones away."""
    for job in await app.job_manager.get_stalled_jobs():
        logger.warning("job %s (%s) was left by a dead worker", job.id, job.task_name)
        await app.job_manager.retry_job(job)
    await app.job_manager.delete_old_jobs(nb_hours=KEEP_JOBS_HOURS, include_failed=True)


@app.task(name="billing.reconcile", lock="billing.reconcile", retry=ASK_AGAIN)
def reconcile(kind: str, actor: str, since: str | None = None) -> None:
    """Compares our books with Stripe's; goes on where a killed worker left it.

    `since` (ISO 8601, UTC) is where it begins, instead of where the last one ended.

    Where somebody's command is at it, or Stripe does not answer, it is tried again for an hour.
    """
    with fresh_connection():
        start = datetime.fromisoformat(since) if since else None
        run = runs.reconcile(kind, actor=actor, since=start)
        if kind == ReconciliationRun.Kind.DAILY:
            heartbeat.beat()
        logger.info("reconciliation %s (%s) found %s differences", run.pk, kind, run.found)


@app.periodic(cron="* * * * * */10")
@app.task(
    name="billing.export_books", queueing_lock="billing.export_books", lock="billing.export_books"
)
def export_books(timestamp: int) -> None:
    """Every ten seconds: what only we know goes to a place outside the database."""
    if not settings.EXPORT_URL:
        return
    with fresh_connection():
        try:
            writing.export_books(seconds=BULK_SECONDS)
        except writing.AlreadyExportingError:
            return
        except StoreError as error:
            logger.warning("the export failed, and is tried again: %s", error)


@app.periodic(cron="0 5 * * *")
@app.task(name="billing.reconcile_daily", queueing_lock="billing.reconcile_daily")
def reconcile_daily(timestamp: int) -> None:
    """Every morning at five, UTC: yesterday is verified before people come to work."""
    reconcile.defer(kind=ReconciliationRun.Kind.DAILY, actor=SCHEDULE)


@app.periodic(cron="0 6 * * 1")
@app.task(name="billing.reconcile_weekly", queueing_lock="billing.reconcile_weekly")
def reconcile_weekly(timestamp: int) -> None:
    """On Monday at six, UTC."""
    reconcile.defer(kind=ReconciliationRun.Kind.WEEKLY, actor=SCHEDULE)


@app.task(name="billing.backup", lock="billing.backup", retry=BACKUP_AGAIN)
def backup(actor: str, verifying: bool = True) -> None:
    """Makes a backup of the database; where none came to be, it is tried twice more.

    One that is there and is not good is told of by the alerts: another one would be no better.
    """
    with fresh_connection():
        made = making.make(actor=actor, verifying=verifying)
        logger.info("backup %s, %s bytes", made.manifest.name, made.manifest.size)


@app.periodic(cron="10 3 * * *")
@app.task(name="billing.forget_access", queueing_lock="billing.forget_access")
def forget_access(timestamp: int) -> None:
    """Every night: sessions that are over, and log-ins that are older than they are kept."""
    with fresh_connection():
        logger.info(
            "sessions: %s over, log-ins: %s old", sessions.forget_over(), history.forget_old()
        )


@app.periodic(cron="30 2 * * *")
@app.task(name="billing.backup_daily", queueing_lock="billing.backup_daily")
def backup_daily(timestamp: int) -> None:
    """Every night at half past two, UTC, if there is a place for backups."""
    if settings.BACKUP_FOLDER:
        backup.defer(actor=SCHEDULE)


@app.task(name="billing.assess", lock="billing.assess")
def assess(actor: str, quick: bool = False) -> None:
    """Looks whether the database is whole, as somebody asked for."""
    with fresh_connection():
        assessed = assessing.assess(actor=actor, tell=logger.debug, quick=quick)
        found = ", ".join(each.name for each in assessed.damaged)
        logger.info("the database is %s", f"damaged: {found}" if found else "not damaged")


@app.task(name="billing.recover", lock="billing.recover", retry=ASK_AGAIN)
def recover(kind: str, since: str, until: str | None, critical: bool, actor: str) -> None:
    """Recovers what an outage lost; goes on where a killed worker left it.

    Where somebody's command is at it, or Stripe does not answer, it is tried again for an hour.
    """
    with fresh_connection():
        recovery = outage.recover(
            kind,
            since=datetime.fromisoformat(since),
            until=datetime.fromisoformat(until) if until else None,
            critical_only=critical,
            actor=actor,
        )
        by_status = recovery.report.get("by_status", {})
        logger.info("recovery %s: %s", recovery.pk, in_words(by_status))


@app.task(name="billing.check_month", retry=ASK_AGAIN)
def check_month(close_id: int) -> None:
    """Reads a month's days from Stripe, as somebody asked for."""
    with fresh_connection():
        month_rows.check(MonthClose.objects.get(pk=close_id))


@app.periodic(cron="20 * * * *")
@app.task(name="billing.look_after_months", queueing_lock="billing.look_after_months")
def look_after_months(timestamp: int) -> None:
    """Every hour: months that are over since, and what has come to closed ones."""
    with fresh_connection():
        month_rows.open_months(settings.REPORT_TIME_ZONE, timezone.now())
        month_rows.see_what_came_since()
