"""The second factor: who has to have one, and whether a session was begun with one."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.http import HttpRequest

from billing.access import sessions
from billing.permissions import APPROVE, OPERATIONS, SETTINGS

GIVEN = "billing_second_factor"  # in a session that was begun with one
CHANGING = (*OPERATIONS, *SETTINGS, APPROVE)
KINDS = {
    Authenticator.Type.TOTP: "app",
    Authenticator.Type.WEBAUTHN: "passkey",
    Authenticator.Type.RECOVERY_CODES: "recovery codes",
}
ALONE = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes come with them


def is_required(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether somebody may change anything, so that a password alone is too little."""
    if not settings.SECOND_FACTOR or not isinstance(user, User):
        return False
    return user.is_superuser or any(user.has_perm(permission) for permission in CHANGING)


def is_set_up(user: AbstractBaseUser | AnonymousUser) -> bool:
    return Authenticator.objects.filter(user_id=user.pk, type__in=ALONE).exists()


def is_given(request: HttpRequest) -> bool:
    """Whether the session was begun with a second factor, or set one up itself."""
    return bool(request.session.get(GIVEN) == str(request.user.pk))


def note(request: HttpRequest, user: User, **more: Any) -> None:
    """Notes in the session that a second factor was given."""
    request.session[GIVEN] = str(user.pk)


def note_added(request: HttpRequest, user: User, **more: Any) -> None:
    """After a new factor: it was given here, and sessions without one end."""
    note(request, user)
    sessions.end_all(user.pk, but=request.session.session_key)


def reset(user_id: int) -> int:
    """Takes all factors away and ends all sessions; how many factors."""
    removed, _ = Authenticator.objects.filter(user_id=user_id).delete()
    sessions.end_all(user_id)
    return removed


def kinds(user_id: int) -> list[str]:
    """What somebody has, in words."""
    found = set(Authenticator.objects.filter(user_id=user_id).values_list("type", flat=True))
    return [words for kind, words in KINDS.items() if kind in found]
