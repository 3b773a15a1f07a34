"""Requests that need a second person: approved, rejected, expired, and told of."""

import logging
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.urls import reverse

from billing.formatting import in_reading_order
from billing.models import OperationRecord, acting_as
from billing.operations.base import (
    Actor,
    InvalidInputError,
    NotPermittedError,
    OperationError,
    Plan,
    PlanChangedError,
    Result,
    log_decision,
)
from billing.operations.registry import named, rebuild
from billing.permissions import APPROVE

logger = logging.getLogger(__name__)

Status = OperationRecord.Status
MAX_WORDS = 2000  # characters
AT_IT = timedelta(minutes=5)  # for which one who approves keeps others out
UNDECIDED = {"decided_by": "", "decided_at": None, "decision": ""}


def waiting() -> QuerySet[OperationRecord]:
    """The requests that somebody has to decide, the oldest first."""
    return OperationRecord.objects.filter(status=Status.REQUESTED, expires_at__gt=Now()).order_by(
        "created_at"
    )


def current_plan(record: OperationRecord) -> Plan:
    """What a request would do by now. Raises OperationError and GatewayErrors."""
    return rebuild(record).plan()


def approve(
    record: OperationRecord, *, actor: Actor, words: str, seen: str | None = None
) -> Result:
    """Applies a request in its requester's name, with the approver's beside it.

    `seen` is the digest of the plan that the approver saw. Raises NotPermittedError for
    the requester and for one without the permission, PlanChangedError, and OperationError
    where it cannot be applied (any more).
    """
    _check(record, actor, words)
    if actor.name == record.actor:
        raise NotPermittedError("You asked for this yourself: another person has to approve it.")
    operation = rebuild(record)
    if objection := operation.objection_to(actor):
        raise NotPermittedError(objection)
    _take_up(record, actor, words)
    operation.approved_by = actor.name
    try:
        result = operation.apply(seen=seen)
    except PlanChangedError:
        OperationRecord.objects.filter(pk=record.pk).update(**UNDECIDED)
        raise
    if not result.already_done:
        _log(record, actor, words, "approved")
    return result


def reject(record: OperationRecord, *, actor: Actor, words: str) -> None:
    """Ends a request without doing it. Its requester may withdraw it so, too."""
    _check(record, actor, words, withdrawing=actor.name == record.actor)
    with transaction.atomic():
        locked = OperationRecord.objects.select_for_update().get(pk=record.pk)
        if locked.status != Status.REQUESTED:
            raise OperationError(f"It is {locked.status} already.")
        OperationRecord.objects.filter(pk=record.pk).update(
            status=Status.REJECTED,
            decided_by=actor.name,
            decided_at=Now(),
            decision=words.strip(),
            finished_at=Now(),
        )
        _log(locked, actor, words, "rejected")


def expire_due() -> int:
    """Ends the requests that nobody decided in time; how many."""
    with transaction.atomic(), acting_as("system"):
        due = OperationRecord.objects.select_for_update(skip_locked=True).filter(
            status=Status.REQUESTED, expires_at__lte=Now()
        )
        expired = list(due)
        for record in expired:
            log_decision("expired", record)
        OperationRecord.objects.filter(pk__in=[record.pk for record in expired]).update(
            status=Status.EXPIRED, finished_at=Now()
        )
    return len(expired)


def tell_approvers(record_id: int) -> int:
    """Writes to everybody who may approve a request; how many letters. None without a URL."""
    record = OperationRecord.objects.get(pk=record_id)
    if record.status != Status.REQUESTED:
        return 0
    addresses = sorted(_addresses(record))
    title = named(record.name).title
    page = reverse("admin:billing_approval", args=[record.pk])
    text = in_reading_order(
        f"{record.actor} asks for: {title} ({record.subject}).\n\n"
        f"{record.plan.get('summary', '')}\n{record.approval}\n\nReason: {record.reason}\n\n"
        f"Approve or reject it: {settings.PUBLIC_URL}{page}\n"
    )
    for address in addresses:
        send_mail(f"Approval needed: {title}", text, None, [address])
    return len(addresses)


def _addresses(record: OperationRecord) -> Iterable[str]:
    users = get_user_model()._default_manager.filter(is_active=True, is_staff=True)
    for user in users.exclude(email="").exclude(username=record.actor):
        if Actor.of(user).may(APPROVE):
            yield user.email


def _check(record: OperationRecord, actor: Actor, words: str, *, withdrawing: bool = False) -> None:
    if not withdrawing and not actor.may(APPROVE):
        raise NotPermittedError(f"You may not do this: it needs the permission “{APPROVE}”.")
    if not words.strip():
        raise InvalidInputError("Say a word on your decision: it stands in the audit log.")
    if len(words) > MAX_WORDS or "\x00" in words:
        raise InvalidInputError(f"At most {MAX_WORDS} characters, and no NUL.")
    record.refresh_from_db()
    if record.status != Status.REQUESTED:
        raise OperationError(f"It is {record.status} already.")


def _take_up(record: OperationRecord, actor: Actor, words: str) -> None:
    """Notes who approves before it is done, so that it stands whatever happens then.

    Raises OperationError where somebody else is at it.
    """
    free = Q(decided_by__in=["", actor.name]) | Q(decided_at__lt=Now() - AT_IT)
    taken = OperationRecord.objects.filter(free, pk=record.pk, status=Status.REQUESTED).update(
        decided_by=actor.name, decided_at=Now(), decision=words.strip()
    )
    if not taken:
        record.refresh_from_db()
        raise OperationError(f"{record.decided_by or 'Somebody'} is deciding it just now.")


def _log(record: OperationRecord, actor: Actor, words: str, what: str) -> None:
    with transaction.atomic(), acting_as(actor.name):
        log_decision(what, record, decided_by=actor.name, words=words.strip())
