"""What every operation has in common: who may, a plan, one effect, one audit event.

An operation is built from a request, shows what it would do (`plan`), and does it once
(`apply`). Admin actions, pages and commands are thin: they build one and show what it
says. Nothing else changes a billing row on a person's behalf.
"""

import json
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import timezone

from billing.gateway.client import GatewayError
from billing.models import BillingEvent, OperationRecord, acting_as

logger = logging.getLogger(__name__)

MAX_REASON = 2000  # characters


class OperationError(Exception):
    """An operation that cannot be done. The text says why, and what to do next."""


class NotPermittedError(OperationError):
    """The actor lacks the operation's permission."""


class InvalidInputError(OperationError):
    """The request itself is wrong: an amount, an id, a missing reason."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user of the admin, or `cli:<user>` on the command line.

    Whoever has a shell on the server may run every command, so only users of the
    admin are asked for permissions.
    """

    name: str
    user: AbstractBaseUser | AnonymousUser | None = None

    @classmethod
    def of(cls, user: AbstractBaseUser | AnonymousUser) -> Self:
        return cls(user.get_username(), user)

    @classmethod
    def cli(cls, name: str) -> Self:
        return cls(f"cli:{name}")

    def may(self, permission: str) -> bool:
        if self.user is None:
            return True
        return isinstance(self.user, PermissionsMixin) and self.user.has_perm(permission)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would change: its name, and its value before and after, as shown."""

    label: str
    before: str
    after: str


@dataclass(slots=True)
class Plan:
    """What an operation would do, in words and figures fit to be shown.

    `blocked` says why it cannot be applied; '' where it can. `calls` are the requests
    that would change something at Stripe.
    """

    summary: str
    changes: list[Change] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    blocked: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Result:
    """What an operation did. `already_done` where an earlier try with its key did it.

    `warnings` say what a person has to look at yet; none where all is well.
    """

    summary: str
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    already_done: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Operation(ABC):
    """One change that a person asks for.

    `key` makes it happen once: it is made when the form is rendered or the command
    starts, it is unique in our tables, and it goes to Stripe as idempotency key.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    permission: ClassVar[str]
    audit_type: ClassVar[str]

    def __init__(self, *, actor: Actor, reason: str, key: str | None = None) -> None:
        self.actor = actor
        self.reason = reason.strip()
        self.key = key or new_key()

    @property
    @abstractmethod
    def subject(self) -> str:
        """What it is about: a user's id or a Stripe id."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What was asked for, besides the subject, as plain JSON."""

    @abstractmethod
    def plan(self) -> Plan:
        """What would change. Reads, here and at Stripe, and never writes.

        Raises OperationError (or a GatewayError) where it cannot even be planned.
        """

    @abstractmethod
    def run(self, record: OperationRecord) -> Result:
        """Does it, inside `self.committing(record)` where it writes here."""

    @abstractmethod
    def audit_payload(self, result: Result) -> dict[str, Any]:
        """What the audit event says besides actor, reason and changes."""

    def apply(self) -> Result:
        """Checks permission and reason, does it once, and records what became of it.

        A second call with the same key returns the first one's result, marked as
        already done. Raises OperationError with a sentence for people; the operation
        is then recorded as failed, and may be tried again with the same key.
        """
        self.check()
        record = self._start()
        if record.status == OperationRecord.Status.APPLIED:
            return _already_done(record)
        try:
            plan = self.plan()
            if plan.blocked:
                raise OperationError(plan.blocked)
            OperationRecord.objects.filter(pk=record.pk).update(plan=plan.as_dict())
            return self.run(record)
        except AlreadyAppliedError as done:
            return _already_done(done.record)
        except (OperationError, GatewayError) as error:
            _fail(record, str(error))
            raise (
                error if isinstance(error, OperationError) else OperationError(str(error))
            ) from error
        except Exception as error:
            _fail(record, f"{type(error).__name__}: {error}")
            logger.exception("operation %s failed", self.name)
            raise

    def check(self) -> None:
        """Raises NotPermittedError or InvalidInputError before anything is read."""
        if not self.actor.may(self.permission):
            raise NotPermittedError(
                f"You may not do this: it needs the permission “{self.permission}”."
            )
        if not self.reason:
            raise InvalidInputError("Give a reason: it stands in the audit log.")
        if len(self.reason) > MAX_REASON:
            raise InvalidInputError(f"The reason is too long: at most {MAX_REASON} characters.")
        if "\x00" in self.reason:
            raise InvalidInputError("The reason contains a NUL character.")

    @contextmanager
    def committing(self, record: OperationRecord) -> Iterator["Commit"]:
        """A transaction as the actor, which ends with the audit event.

        The record is locked first, so that of two tries with one key only one gets in.
        Raises AlreadyAppliedError for the other. `commit.result` must be set inside.
        """
        with transaction.atomic(), acting_as(self.actor.name):
            locked = OperationRecord.objects.select_for_update().get(pk=record.pk)
            if locked.status == OperationRecord.Status.APPLIED:
                raise AlreadyAppliedError(locked)
            commit = Commit()
            yield commit
            if commit.result is None:
                raise RuntimeError("An operation must say what it did.")
            self._audit(commit.result)
            OperationRecord.objects.filter(pk=record.pk).update(
                status=OperationRecord.Status.APPLIED,
                result=plain(commit.result.as_dict()),
                error="",
                finished_at=timezone.now(),
            )

    def _audit(self, result: Result) -> None:
        BillingEvent.objects.create(
            type=self.audit_type,
            payload=plain(
                {
                    **self.audit_payload(result),
                    "reason": self.reason,
                    "admin": self.actor.name,
                    "operation": self.key,
                    "summary": result.summary,
                    "changes": [asdict(change) for change in result.changes],
                }
            ),
        )

    def _start(self) -> OperationRecord:
        """This key's record, made now or by an earlier try of the same operation."""
        record, created = OperationRecord.objects.get_or_create(
            key=self.key,
            defaults={
                "name": self.name,
                "subject": self.subject,
                "parameters": plain(self.parameters()),
                "actor": self.actor.name,
                "reason": self.reason,
            },
        )
        same = (record.name, record.subject, record.parameters) == (
            self.name,
            self.subject,
            plain(self.parameters()),
        )
        if not created and not same:
            raise InvalidInputError("This form was already used for something else. Open it again.")
        return record


@dataclass(slots=True)
class Commit:
    """What an operation hands to the end of its transaction."""

    result: Result | None = None


class AlreadyAppliedError(Exception):
    """Another try with the same key was faster."""

    def __init__(self, record: OperationRecord) -> None:
        super().__init__(record.key)
        self.record = record


def new_key() -> str:
    """A fresh idempotency key; Stripe takes up to 255 characters."""
    return f"op_{uuid.uuid4().hex}"


def plain(value: Any) -> Any:
    """The value as plain JSON, as it will be read back from the database."""
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


def _already_done(record: OperationRecord) -> Result:
    stored = dict(record.result)
    changes = [Change(**change) for change in stored.pop("changes", [])]
    stored.pop("already_done", None)
    return Result(**stored, changes=changes, already_done=True)


def _fail(record: OperationRecord, error: str) -> None:
    OperationRecord.objects.filter(pk=record.pk).exclude(
        status=OperationRecord.Status.APPLIED
    ).update(status=OperationRecord.Status.FAILED, error=error, finished_at=timezone.now())
