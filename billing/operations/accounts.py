"""Who may come in and what they may do: rights changed, accounts switched off and on.

It takes two to give anybody anything: who asks for it, and another person who agrees, and
neither of them is the one whom it is about. To take everything away at once, one is enough.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing.access import second_factor, sessions
from billing.models import OperationRecord
from billing.operations import inputs
from billing.operations.base import (
    CLI,
    Actor,
    CannotUndoError,
    Change,
    InvalidInputError,
    Operation,
    OperationError,
    Plan,
    Result,
)
from billing.permissions import CHANGE_RIGHTS, RESET_FACTOR, SWITCH_OFF, SWITCH_ON

PREFIX = "account:"  # of an account's name, where other ids stand beside it
MAX_NAME = 150  # characters; Django's own limit
NOTHING = "–"
TWO = "Another person has to agree: who gives rights, and who gets them, are never alone with it."


class AccountOperation(Operation):
    """Something about one account, by its user name."""

    target = "account"

    def __init__(self, *, account: str, **common: Any) -> None:
        super().__init__(**common)
        self.account = account_name(account)

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.account}"

    def parameters(self) -> dict[str, Any]:
        return {"account": self.account}

    @abstractmethod
    def objection(self, user: User | None) -> str:
        """Why it cannot be done to the account as it is; '' where it can."""

    @abstractmethod
    def changes(self, user: User | None) -> list[Change]:
        """What would change; nothing where all is so already."""

    @abstractmethod
    def write(self, user: User | None) -> dict[str, Any]:
        """Does it, inside the transaction; what the audit event says of it besides."""

    @abstractmethod
    def summary(self) -> str:
        """What is to be done, in a sentence."""

    @abstractmethod
    def done(self) -> str:
        """What was done, in a sentence."""

    def approval(self) -> str:
        """Why a second person has to agree; '' where nobody has to."""
        return TWO

    def warnings(self, user: User | None) -> list[str]:
        return self.under_way()

    def plan(self) -> Plan:
        user = User.objects.filter(username=self.account).first()
        plan = Plan(self.summary(), blocked=self._refusal(user), approval=self.approval())
        if not plan.blocked:
            plan.changes, plan.warnings = self.changes(user), self.warnings(user)
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            user = User.objects.select_for_update().filter(username=self.account).first()
            if refusal := self._refusal(user):
                raise OperationError(refusal)
            changes = self.changes(user)
            details = {"account": self.account, **self.write(user)}
            commit.result = result = Result(self.done(), changes, details=details)
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    def objection_to(self, approver: Actor) -> str:
        if approver.name == self.account:
            return "This is about your own account: another person has to agree."
        if approver.name == self.actor.name.removeprefix(CLI):
            return "You asked for this yourself, on a server: another person has to agree."
        return ""

    def _refusal(self, user: User | None) -> str:
        if self.actor.name == self.account:
            return "This is your own account: another person has to do it."
        return self.objection(user)


class OnAccount(AccountOperation):
    """Something about an account that there is."""

    def objection(self, user: User | None) -> str:
        return "" if user else f"There is no account {self.account}."


class ChangeRights(AccountOperation):
    """Says which roles an account has from now on, and whether it is a superuser's.

    `roles` are all that it is to have, none of which may be missing; `email` changes nothing
    where it is ''. With `new` the account is made. Its person sets a password by the letter of
    the log-in page, or logs in by OpenID Connect; or an engineer runs `changepassword`.
    """

    name = "change_rights"
    title = "Change rights"
    permission = CHANGE_RIGHTS
    audit_type = "manual.rights_changed"

    def __init__(
        self,
        *,
        roles: str | Iterable[str] = (),
        superuser: bool = False,
        email: str = "",
        new: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        named = roles.split(",") if isinstance(roles, str) else roles
        self.roles = sorted({role.strip() for role in named if role.strip()})
        self.superuser = superuser
        self.email = email_address(email)
        self.new = new
        known = set(Group.objects.values_list("name", flat=True))
        for role in self.roles:
            if role not in known:
                raise InvalidInputError(
                    f"“{role[:60]}” is no role. There are: {', '.join(sorted(known))}."
                )

    def parameters(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "roles": self.roles,
            "superuser": self.superuser,
            "email": self.email,
            "new": self.new,
        }

    def objection(self, user: User | None) -> str:
        if user and self.new:
            return f"There is an account {self.account} already: change its rights."
        if not user and not self.new:
            return f"There is no account {self.account}. Say that it is a new one, if it is."
        taken = User.objects.exclude(username=self.account).filter(email__iexact=self.email)
        if self.email and taken.exists():
            return f"Another account has the address {self.email}: it must be one person's alone."
        if not self.changes(user):
            return f"{self.account} has these rights already."
        return ""

    def changes(self, user: User | None) -> list[Change]:
        was, own = roles_of(user), own_permissions(user)
        is_superuser = bool(user and user.is_superuser)
        every = [
            Change("Account", self.account if user else NOTHING, self.account),
            Change("Roles", in_words(was), in_words(self.roles)),
            Change("Superuser", yes_no(is_superuser), yes_no(self.superuser)),
            Change("Email", (user.email if user else "") or NOTHING, self._email(user) or NOTHING),
            Change("Permissions besides", in_words(own), NOTHING),
            Change("May enter the admin", yes_no(bool(user and user.is_staff)), yes_no(True)),
        ]
        return [change for change in every if change.before != change.after]

    def warnings(self, user: User | None) -> list[str]:
        said = super().warnings(user)
        if self.superuser:
            said.append("A superuser may do everything here, money included.")
        if self.new and not self.email:
            said.append("Without an email address there is no letter to set a password by.")
        if user and not user.is_active:
            said.append("The account is switched off, and stays so.")
        return said

    def summary(self) -> str:
        what = "Make the account" if self.new else "Change the rights of"
        return f"{what} {self.account}: {self._rights()}."

    def done(self) -> str:
        return f"{self.account} has from now on: {self._rights()}."

    def write(self, user: User | None) -> dict[str, Any]:
        before = {
            "roles_before": roles_of(user),
            "superuser_before": bool(user and user.is_superuser),
        }
        if user is None:
            user = User(username=self.account)
            user.set_unusable_password()
        user.is_staff, user.is_superuser, user.email = True, self.superuser, self._email(user)
        user.save()
        user.groups.set(Group.objects.filter(name__in=self.roles))
        user.user_permissions.clear()
        return {**before, "roles": self.roles, "superuser": self.superuser, "new": self.new}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        details = record.result["details"]
        if details["new"]:
            raise CannotUndoError("An account stays, since its name stands by what it did:"
                                  " switch it off.")  # fmt: skip
        return cls(
            account=details["account"],
            roles=details["roles_before"],
            superuser=details["superuser_before"],
            undoes=record,
            **common,
        )

    def _email(self, user: User | None) -> str:
        return self.email or (user.email if user else "")

    def _rights(self) -> str:
        return ", ".join([*self.roles, *(["superuser"] if self.superuser else [])]) or "no role"


class SwitchOffAccount(OnAccount):
    """Switches an account off, and ends its sessions: their next request is a stranger's."""

    name = "switch_off_account"
    title = "Switch account off"
    permission = SWITCH_OFF
    audit_type = "manual.account_switched_off"

    def approval(self) -> str:
        return ""

    def objection(self, user: User | None) -> str:
        if user and not user.is_active:
            return f"{self.account} is switched off already."
        return super().objection(user)

    def changes(self, user: User | None) -> list[Change]:
        return [Change("Account", "on", "off")]

    def warnings(self, user: User | None) -> list[str]:
        said = super().warnings(user)
        asked = OperationRecord.objects.filter(
            actor=self.account, status=OperationRecord.Status.REQUESTED
        ).count()
        if asked:
            said.append(f"{asked} of its requests wait for approval: they cannot be approved then.")
        return said

    def summary(self) -> str:
        return f"Switch {self.account} off at once, and end all of its sessions."

    def done(self) -> str:
        return f"{self.account} is switched off, and its sessions are ended."

    def write(self, user: User | None) -> dict[str, Any]:
        assert user is not None  # noqa: S101  (narrows the type)
        User.objects.filter(pk=user.pk).update(is_active=False)
        return {"sessions_ended": sessions.end_all(user.pk)}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        return SwitchOnAccount(account=record.parameters["account"], undoes=record, **common)


class SwitchOnAccount(OnAccount):
    """Switches an account on again, with the rights that it had."""

    name = "switch_on_account"
    title = "Switch account on"
    permission = SWITCH_ON
    audit_type = "manual.account_switched_on"

    def objection(self, user: User | None) -> str:
        return f"{self.account} is on." if user and user.is_active else super().objection(user)

    def changes(self, user: User | None) -> list[Change]:
        return [Change("Account", "off", "on"), Change("Roles", NOTHING, in_words(roles_of(user)))]

    def summary(self) -> str:
        return f"Switch {self.account} on again, with the rights that it had."

    def done(self) -> str:
        return f"{self.account} is switched on."

    def write(self, user: User | None) -> dict[str, Any]:
        User.objects.filter(username=self.account).update(is_active=True)
        return {"roles": roles_of(user)}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        return SwitchOffAccount(account=record.parameters["account"], undoes=record, **common)


class ResetSecondFactor(OnAccount):
    """Takes all second factors of an account away, and ends its sessions.

    Its person logs in with the password alone then, and has to set up another one at once.
    """

    name = "reset_second_factor"
    title = "Reset second factor"
    permission = RESET_FACTOR
    audit_type = "manual.second_factor_reset"

    def approval(self) -> str:
        return ""

    def objection(self, user: User | None) -> str:
        if user and not second_factor.kinds(user.pk):
            return f"{self.account} has no second factor."
        return super().objection(user)

    def changes(self, user: User | None) -> list[Change]:
        assert user is not None  # noqa: S101  (narrows the type)
        return [Change("Second factor", in_words(second_factor.kinds(user.pk)), NOTHING)]

    def warnings(self, user: User | None) -> list[str]:
        sure = "Be sure who asks for it: until another one is set up, the password is all it takes."
        return [sure, *super().warnings(user)]

    def summary(self) -> str:
        return f"Take the second factor of {self.account} away, and end its sessions."

    def done(self) -> str:
        return f"{self.account} sets up another second factor at the next log-in."

    def write(self, user: User | None) -> dict[str, Any]:
        assert user is not None  # noqa: S101  (narrows the type)
        kinds = second_factor.kinds(user.pk)
        return {"kinds": kinds, "removed": second_factor.reset(user.pk)}

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("What is taken away is gone: its person sets up another one.")


def account_name(text: str) -> str:
    """A user name, as Django takes it. Raises InvalidInputError."""
    cleaned = text.strip().removeprefix(PREFIX)
    if not cleaned:
        raise InvalidInputError("Name the account: its user name.")
    try:
        User._meta.get_field("username").run_validators(cleaned)
    except ValidationError as error:
        raise InvalidInputError(
            f"A user name is at most {MAX_NAME} letters, digits and @ . + - _ characters."
        ) from error
    return cleaned


def email_address(text: str) -> str:
    """An email address, or ''. Raises InvalidInputError."""
    cleaned = text.strip()
    try:
        if cleaned:
            validate_email(cleaned)
    except ValidationError as error:
        raise InvalidInputError(f"“{cleaned[:60]}” is no email address.") from error
    return inputs.words(cleaned, "The email address", most=254) if cleaned else ""


def roles_of(user: User | None) -> list[str]:
    return sorted(user.groups.values_list("name", flat=True)) if user else []


def own_permissions(user: User | None) -> list[str]:
    """What an account may besides its roles: from before there was one way to give rights."""
    return sorted(user.user_permissions.values_list("codename", flat=True)) if user else []


def in_words(names: list[str]) -> str:
    return ", ".join(names) or NOTHING


def yes_no(value: bool) -> str:
    return "yes" if value else "no"
