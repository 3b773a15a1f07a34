"""The matrix of roles and permissions: as it is meant to be, and as it is in the database."""

from collections import defaultdict
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet

from billing.access.second_factor import KINDS
from billing.permissions import ROLES

YES, NO, MISSING, TOO_MUCH = "yes", "", "missing", "too much"
SUPERUSER = "superuser"


@dataclass(frozen=True, slots=True)
class Right:
    """One permission, and for each role whether it has it, or differs from what is meant."""

    name: str
    words: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """An account, and what it may do. `besides` are permissions that no role gives it."""

    user: User
    roles: tuple[str, ...]
    besides: tuple[str, ...]
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what."""

    roles: tuple[str, ...]
    rights: tuple[Right, ...]
    people: tuple[Person, ...]

    @property
    def differences(self) -> list[str]:
        """Where the database is not as it is meant to be, in sentences."""
        said = [
            f"{role}: “{right.words}” ({right.name}) is {cell}."
            for right in self.rights
            for role, cell in zip(self.roles, right.cells, strict=True)
            if cell in (MISSING, TOO_MUCH)
        ]
        said += [f"{role} is a role that nobody meant." for role in self.roles if role not in ROLES]
        said += [
            f"{person.user} has permissions besides the roles: {', '.join(person.besides)}."
            for person in self.people
            if person.besides
        ]
        return said


def rights() -> Rights:
    """Everything at once, in a fixed number of statements."""
    held = permissions_of_groups()
    roles = (*ROLES, *sorted(set(held) - set(ROLES)))
    names = {name for names in (*ROLES.values(), *held.values()) for name in names}
    labels = {f"billing.{code}": words for code, words in ours().values_list("codename", "name")}
    found = tuple(
        Right(name, labels.get(name, name), tuple(cell(role, name, held) for role in roles))
        for name in sorted(names, key=lambda name: (labels.get(name, name), name))
    )
    return Rights(roles, found, people())


def cell(role: str, permission: str, held: dict[str, set[str]]) -> str:
    meant, has = permission in ROLES.get(role, ()), permission in held.get(role, ())
    if meant:
        return YES if has else MISSING
    return TOO_MUCH if has and role in ROLES else YES if has else NO


def ours() -> QuerySet[Permission]:
    return Permission.objects.filter(content_type__app_label="billing")


def permissions_of_groups() -> dict[str, set[str]]:
    """What each role has in the database, each permission with its application before it."""
    fields = ("name", "permissions__content_type__app_label", "permissions__codename")
    held: dict[str, set[str]] = defaultdict(set)
    for name, label, code in Group.objects.values_list(*fields):
        held[name] |= {f"{label}.{code}"} if code else set()
    return held


def people() -> tuple[Person, ...]:
    """Who may enter the admin, by name."""
    factors: dict[int, set[str]] = defaultdict(set)
    for user_id, kind in Authenticator.objects.values_list("user_id", "type"):
        factors[user_id].add(kind)
    found = User.objects.filter(is_staff=True).order_by("username")
    found = found.prefetch_related("groups", "user_permissions__content_type")
    return tuple(
        Person(
            user,
            tuple(sorted(group.name for group in user.groups.all())),
            tuple(
                sorted(f"{p.content_type.app_label}.{p.codename}"
                       for p in user.user_permissions.all())
            ),
            tuple(words for kind, words in KINDS.items() if kind in factors[user.pk]),
        )
        for user in found
    )  # fmt: skip
