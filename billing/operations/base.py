"""What every operation has in common: who may, a plan, one effect, one audit event.

An operation is built from a request, shows what it would do (`plan`), and does it once
(`apply`). Admin actions, pages and commands are thin: they build one and show what it
says. Nothing else changes a billing row on a person's behalf.
"""

import hashlib
import json
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from procrastinate.contrib.django import app

from billing.database import direct
from billing.gateway.client import GatewayError
from billing.log_context import about, log_context
from billing.models import BillingEvent, Incident, OperationRecord, ReasonCode, acting_as
from billing.models.incidents import current_incident

logger = logging.getLogger(__name__)

MAX_REASON = 2000  # characters
MAX_TICKET = 200  # characters
OTHER = "other"  # the reason code of a command that names none
APPROVED_WITHIN = timedelta(days=7)  # after which a request expires
UNDER_WAY = timedelta(minutes=5)  # for which a started operation counts as under way
TURN = 20  # seconds that an operation waits for another one on the same subject

Status = OperationRecord.Status


class OperationError(Exception):
    """An operation that cannot be done. The text says why, and what to do next."""


class NotPermittedError(OperationError):
    """The actor lacks the operation's permission."""


class PlanChangedError(OperationError):
    """The world has changed since the plan was shown. `plan` is how things are now."""

    def __init__(self, plan: "Plan") -> None:
        super().__init__(
            "Something has changed since you looked: nothing was done. See what would happen now."
        )
        self.plan = plan


class BlockedError(OperationError):
    """The plan says why it cannot be applied."""


class CannotUndoError(OperationError):
    """What was done cannot be taken back. The text says why, and what else can be done."""


class InvalidInputError(OperationError):
    """The request itself is wrong: an amount, an id, a missing reason."""


CLI = "cli:"


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
        return cls(f"{CLI}{name}")

    @classmethod
    def named(cls, name: str) -> Self:
        """Who is recorded under this name. Raises NotPermittedError for one who is gone."""
        if name.startswith(CLI):
            return cls(name)
        user = get_user_model()._default_manager.filter(username=name, is_active=True).first()
        if user is None:
            raise NotPermittedError(f"{name} has no account here any more.")
        return cls(name, user)

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
    that would change something at Stripe. `approval` says why a second person has to
    agree; '' where nobody has to.
    """

    summary: str
    changes: list[Change] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    blocked: str = ""
    approval: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def digest(self) -> str:
        """The same for plans that would do the same."""
        effects = [[asdict(change) for change in self.changes], self.calls, self.approval]
        return hashlib.sha256(json.dumps(effects).encode()).hexdigest()[:32]


@dataclass(slots=True)
class Result:
    """What an operation did. `already_done` where an earlier try with its key did it.

    `warnings` say what a person has to look at yet; none where all is well. `requested`
    where nothing was done yet: it waits for a second person. `once` is a secret link that
    is shown to whoever did it, and stored nowhere.
    """

    summary: str
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    already_done: bool = False
    requested: bool = False
    once: str = ""

    @property
    def link(self) -> str:
        """An address to pass on to the customer; '' where there is none."""
        return self.once or str(self.details.get("link") or "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class AnyOperation(ABC):
    """One change that a person asks for: planned, then applied, by itself or in another's name.

    `key` makes it happen once: it is made when the form is rendered or the command
    starts, it is unique in our tables, and it goes to Stripe as idempotency key.
    `report` is told in words how far a long one has come.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    permission: ClassVar[str]
    audit_type: ClassVar[str]
    target: ClassVar[str]  # the constructor's argument that says what it is about
    again: ClassVar[str] = ""  # what invites to do it once more, where that is meant to be

    def __init__(
        self,
        *,
        actor: Actor,
        reason: str,
        key: str | None = None,
        reason_code: str = OTHER,
        ticket: str = "",
        undoes: OperationRecord | None = None,
    ) -> None:
        self.actor = actor
        self.reason = reason.strip()
        self.key = key or new_key()
        self.reason_code = reason_code
        self.ticket = ticket.strip()
        self.undoes = undoes
        self.approved_by = ""
        self.report: Callable[[str], None] = lambda said: None

    @property
    @abstractmethod
    def subject(self) -> str:
        """What it is about: a user's id or a Stripe id."""

    @property
    def turn(self) -> str:
        """Of operations with the same text here, one at a time is applied."""
        return self.subject

    @classmethod
    def on(cls, target: str, **arguments: Any) -> Self:
        """The operation on one target, such as a selected row. Raises InvalidInputError."""
        named: dict[str, Any] = {**arguments, cls.target: target}
        return cls(**named)

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What was asked for: the constructor's own arguments, as plain JSON."""

    @abstractmethod
    def plan(self) -> Plan:
        """What would change. Reads, here and at Stripe, and never writes.

        Raises OperationError (or a GatewayError) where it cannot even be planned.
        """

    @abstractmethod
    def apply(self, *, seen: str | None = None) -> Result:
        """Does it once, and records what became of it.

        `seen` is the digest of the plan that was shown. Raises OperationError.
        """

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> "AnyOperation":
        """The operation that takes an applied one back; `common` as for the constructor.

        Raises CannotUndoError.
        """
        raise CannotUndoError(f"“{cls.title}” cannot be taken back.")

    def objection_to(self, approver: Actor) -> str:
        """Why this one cannot be the second person who agrees; '' where they can."""
        return ""

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
        if len(self.ticket) > MAX_TICKET:
            raise InvalidInputError(f"The ticket is too long: at most {MAX_TICKET} characters.")
        if "\x00" in self.reason + self.ticket:
            raise InvalidInputError("The reason contains a NUL character.")
        if not ReasonCode.objects.filter(code=self.reason_code, is_active=True).exists():
            known = ReasonCode.objects.filter(is_active=True).values_list("code", flat=True)
            raise InvalidInputError(
                f"“{self.reason_code[:60]}” is no reason to choose. There are: {', '.join(known)}."
            )


class Operation(AnyOperation):
    """A change that is recorded, approved where it is large, done and audited as what it is."""

    @abstractmethod
    def run(self, record: OperationRecord) -> Result:
        """Does it, inside `self.committing(record)` where it writes here."""

    @abstractmethod
    def audit_payload(self, result: Result) -> dict[str, Any]:
        """What the audit event says besides actor, reason and changes."""

    def belongs_to(self) -> Incident | None:
        """The incident that it is done for: the one that is open."""
        return current_incident()

    def apply(self, *, seen: str | None = None) -> Result:
        """Checks permission and reason, does it once, and records what became of it.

        `seen` is the digest of the plan that was shown: where it is another one by now,
        nothing is done and PlanChangedError has the new one. A plan that needs a second
        person becomes a request. A second call with the same key returns the first one's
        result, marked as already done. Raises OperationError with a sentence for people;
        the operation is then recorded as failed, and may be tried again with the same key.
        """
        self.check()
        with about(operation=self.key):
            try:
                with one_at_a_time(self.turn):
                    result = self._apply(seen)
            except Exception as error:
                self._log(type(error).__name__)
                raise
            done = "already done" if result.already_done else "applied"
            self._log("requested" if result.requested else done)
            return result

    def _log(self, what: str) -> None:
        """Leads from a request's id to the operation. A command says itself what it did."""
        if log_context().request:
            logger.info("operation %s (%s): %s", self.key, self.name, what)

    def _apply(self, seen: str | None) -> Result:
        """As `apply` says, where no other operation on the same subject is being applied."""
        record = self._start()
        if record.status == Status.APPLIED:
            return _already_done(record)
        if record.status == Status.REQUESTED and not self.approved_by:
            return waiting(record)
        # Once approved, a try that failed may be repeated without asking anew.
        self.approved_by = self.approved_by or record.decided_by
        if record.status in (Status.REJECTED, Status.EXPIRED):
            raise OperationError(f"This request was {record.status}: ask anew.")
        try:
            plan = self.plan()
            if plan.blocked:
                raise BlockedError(plan.blocked)
            if seen is not None and plan.digest != seen:
                raise PlanChangedError(plan)
            OperationRecord.objects.filter(pk=record.pk).update(plan=plan.as_dict())
            if plan.approval and not self.approved_by:
                return self._request(record, plan)
            return self.run(record)
        except AlreadyAppliedError as done:
            return _already_done(done.record)
        except PlanChangedError:
            raise
        except (OperationError, GatewayError) as error:
            _fail(record, str(error))
            raise (
                error if isinstance(error, OperationError) else OperationError(str(error))
            ) from error
        except Exception as error:
            _fail(record, f"{type(error).__name__}: {error}")
            logger.exception("operation %s failed", self.name)
            raise

    def under_way(self) -> list[str]:
        """Warnings of other operations on the same subject that have not come to an end."""
        others = OperationRecord.objects.filter(subject=self.subject).exclude(key=self.key)
        started = others.filter(status=Status.STARTED, created_at__gte=Now() - UNDER_WAY)
        requested = others.filter(status=Status.REQUESTED)
        return [
            *(f"{r.actor} started “{in_words(r.name)}” on this just now." for r in started[:5]),
            *(f"“{in_words(r.name)}” by {r.actor} waits for approval." for r in requested[:5]),
        ]

    @contextmanager
    def committing(self, record: OperationRecord) -> Iterator["Commit"]:
        """A transaction as the actor, which ends with the audit event.

        The record is locked first, so that of two tries with one key only one gets in.
        Raises AlreadyAppliedError for the other. `commit.result` must be set inside.
        """
        with transaction.atomic(), acting_as(self.actor.name):
            locked = OperationRecord.objects.select_for_update().get(pk=record.pk)
            if locked.status == Status.APPLIED:
                raise AlreadyAppliedError(locked)
            commit = Commit()
            yield commit
            if commit.result is None:
                raise RuntimeError("An operation must say what it did.")
            self._audit(commit.result)
            OperationRecord.objects.filter(pk=record.pk).update(
                status=Status.APPLIED,
                result=plain(replace(commit.result, once="").as_dict()),
                decided_by=self.approved_by,
                error="",
                finished_at=timezone.now(),
            )

    def _audit(self, result: Result) -> None:
        said = {
            **self.audit_payload(result),
            "reason": self.reason,
            "reason_code": self.reason_code,
            "ticket": self.ticket,
            "admin": self.actor.name,
            "approved_by": self.approved_by,
            "operation": self.key,
            "undoes": self.undoes.key if self.undoes else "",
            "summary": result.summary,
            "changes": [asdict(change) for change in result.changes],
        }
        if request := log_context().request:
            said["request"] = request
        BillingEvent.objects.create(type=self.audit_type, payload=plain(said))

    def _request(self, record: OperationRecord, plan: Plan) -> Result:
        """Records that a second person has to agree, with an audit event that says so."""
        with transaction.atomic(), acting_as(self.actor.name):
            OperationRecord.objects.filter(pk=record.pk).update(
                status=Status.REQUESTED,
                approval=plan.approval,
                expires_at=Now() + APPROVED_WITHIN,
                error="",
            )
            record.refresh_from_db()
            log_decision("requested", record)
            app.configure_task("billing.tell_approvers").defer(record_id=record.pk)
        return waiting(record)

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
                "reason_code": self.reason_code,
                "ticket": self.ticket,
                "undoes": self.undoes,
                "incident": self.belongs_to(),
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


def in_words(name: str) -> str:
    """An operation's name as people say it."""
    return name.replace("_", " ")


def new_key() -> str:
    """A fresh idempotency key; Stripe takes up to 255 characters."""
    return f"op_{uuid.uuid4().hex}"


def plain(value: Any) -> Any:
    """The value as plain JSON, as it will be read back from the database."""
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


@contextmanager
def one_at_a_time(subject: str) -> Iterator[None]:
    """Lets one operation at a time work on a subject, whatever process it runs in.

    A lock of the session's and not of a transaction's, since Stripe is asked within.
    Raises OperationError where another one does not come to its end.
    """
    with direct().cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{TURN}s"])
        try:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 1))", [subject])
        except OperationalError as error:
            raise OperationError(
                f"Another operation on {subject} is under way. Try again in a minute."
            ) from error
        finally:
            cursor.execute("SELECT set_config('lock_timeout', '0', false)")
    try:
        yield
    finally:
        # Where the connection is gone, so is the lock.
        with suppress(DatabaseError, InterfaceError), direct().cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 1))", [subject])


def waiting(record: OperationRecord) -> Result:
    """What a request says until somebody decides."""
    return Result(
        "It waits for another person's approval.",
        warnings=[record.approval],
        details={"operation": record.key},
        requested=True,
    )


def log_decision(what: str, record: OperationRecord, **more: Any) -> None:
    """The audit event of a request and of what became of it."""
    BillingEvent.objects.create(
        type=f"manual.operation_{what}",
        payload=plain(
            {
                "operation": record.key,
                "name": record.name,
                "subject": record.subject,
                "requested_by": record.actor,
                "reason": record.reason,
                "approval": record.approval,
                "summary": f"{record.name} on {record.subject} was {what}.",
                **more,
            }
        ),
    )


def _already_done(record: OperationRecord) -> Result:
    stored = dict(record.result)
    changes = [Change(**change) for change in stored.pop("changes", [])]
    stored.pop("already_done", None)
    stored.pop("requested", None)
    return Result(**stored, changes=changes, already_done=True)


def _fail(record: OperationRecord, error: str) -> None:
    OperationRecord.objects.filter(pk=record.pk).exclude(status=Status.APPLIED).update(
        status=Status.FAILED, error=error, finished_at=timezone.now()
    )
