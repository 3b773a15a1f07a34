"""One operation on many targets: a job that the worker carries out, item by item.

Every item is an operation like any other, with its own plan, record and audit event: a
job that is killed, stopped or run twice goes on where it was, and does nothing twice.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.db.models.functions import Now

from billing.models import BulkItem, BulkJob
from billing.models.incidents import current_incident
from billing.operations.base import (
    Actor,
    AnyOperation,
    BlockedError,
    InvalidInputError,
    NotPermittedError,
    OperationError,
    Result,
    new_key,
)
from billing.operations.registry import named

logger = logging.getLogger(__name__)

MOST = 100_000  # targets of one job
Status = BulkItem.Status


def draft(
    operation: type[AnyOperation],
    targets: Iterable[str],
    *,
    answers: Mapping[str, Any],
    actor: Actor,
    key: str | None = None,
) -> BulkJob:
    """A job with its targets, each once, that waits for a person to start it.

    The same key finds the job that was made before. Raises NotPermittedError and InvalidInputError.
    """
    if not actor.may(operation.permission):
        raise NotPermittedError(
            f"You may not do this: it needs the permission “{operation.permission}”."
        )
    wanted = list(dict.fromkeys(target for target in targets if target))
    if not wanted:
        raise InvalidInputError("Choose at least one row.")
    if len(wanted) > MOST:
        raise InvalidInputError(f"That is too many at once: at most {MOST:,}.")
    with transaction.atomic():
        job, created = BulkJob.objects.get_or_create(
            key=key or new_key(),
            defaults={"name": operation.name, "answers": dict(answers), "actor": actor.name},
        )
        if created:
            items = (BulkItem(job=job, target=target) for target in wanted)
            BulkItem.objects.bulk_create(items, batch_size=5_000)
    return job


def start(
    job: BulkJob,
    *,
    answers: Mapping[str, Any],
    actor: Actor,
    reason: str,
    reason_code: str,
    ticket: str = "",
) -> None:
    """Lets the worker carry out a draft; nothing for a job that was started before.

    Permission, answers and reason are checked now, on the first target, and again for
    every one. Raises NotPermittedError and InvalidInputError. Whoever calls it wakes the
    worker.
    """
    common = {"reason": reason, "reason_code": reason_code, "ticket": ticket}
    first = job.items.order_by("id").values_list("target", flat=True)[0]
    named(job.name).on(first, **answers, actor=actor, **common).check()
    BulkJob.objects.filter(pk=job.pk, status=BulkJob.Status.DRAFT).update(
        status=BulkJob.Status.RUNNING,
        answers=dict(answers),
        actor=actor.name,
        incident=current_incident(),
        **common,
    )


def forget_drafts() -> None:
    """Throws away what was selected and never started, after a day."""
    old = BulkJob.objects.filter(
        status=BulkJob.Status.DRAFT, created_at__lt=Now() - timedelta(days=1)
    )
    BulkItem.objects.filter(job__in=old).delete()
    old.delete()


def work(job_id: int, seconds: float) -> bool:
    """Carries out a job's items, for so long at most; whether there is more to do.

    Two workers at once share the items: each is locked while it is worked on.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = BulkJob.objects.get(pk=job_id)
        if job.status != BulkJob.Status.RUNNING:
            return False
        item = job.items.filter(status=Status.WAITING).order_by("id").first()
        if item is None:
            BulkJob.objects.filter(pk=job_id, status=BulkJob.Status.RUNNING).update(
                status=BulkJob.Status.DONE, finished_at=Now()
            )
            return False
        _carry_out(job, item)
    return True


def stop(job: BulkJob) -> None:
    """The worker pauses after the item that it is at."""
    BulkJob.objects.filter(pk=job.pk, status=BulkJob.Status.RUNNING).update(
        status=BulkJob.Status.STOPPED
    )


def resume(job: BulkJob) -> None:
    """The worker goes on; whoever calls it wakes the worker."""
    BulkJob.objects.filter(pk=job.pk, status=BulkJob.Status.STOPPED).update(
        status=BulkJob.Status.RUNNING, finished_at=None
    )


def progress(job: BulkJob) -> dict[str, int]:
    """How many items there are of each status, and in all (`total`)."""
    counted: dict[str, int] = dict.fromkeys(Status.values, 0)
    found = job.items.values_list("status").order_by("status").annotate(Count("id"))
    counted |= dict(found)
    return {**counted, "total": sum(counted.values())}


def _carry_out(job: BulkJob, item: BulkItem) -> None:
    """One target's operation, and what became of it. Its failure stops no other."""
    try:
        operation = named(job.name).on(
            item.target,
            **job.answers,
            actor=Actor.named(job.actor),
            reason=job.reason,
            reason_code=job.reason_code,
            ticket=job.ticket,
            key=item.key,
        )
        operation.report = _reporter(item)
        result = operation.apply()
        _finish(item, _status(result), " ".join([result.summary, *result.warnings]))
    except BlockedError as error:
        _finish(item, Status.SKIPPED, str(error))
    except OperationError as error:
        _finish(item, Status.FAILED, str(error))
    except Exception as error:
        logger.exception("%s of bulk job %s failed", item.target, job.pk)
        _finish(item, Status.FAILED, f"{type(error).__name__}: {error}")


def _reporter(item: BulkItem) -> Callable[[str], None]:
    """Shows how far a long operation has come, once a second."""
    told = time.monotonic()

    def report(said: str) -> None:
        nonlocal told
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            BulkItem.objects.filter(pk=item.pk, status=Status.WAITING).update(said=said)

    return report


def _status(result: Result) -> BulkItem.Status:
    return Status.REQUESTED if result.requested else Status.DONE


def _finish(item: BulkItem, status: BulkItem.Status, said: str) -> None:
    BulkItem.objects.filter(pk=item.pk, status=Status.WAITING).update(
        status=status, said=said.replace("\x00", "\ufffd")[:2000], finished_at=Now()
    )
