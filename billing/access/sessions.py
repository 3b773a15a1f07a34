"""Sessions: when one is over, and how it is ended before that.

Each session that is in use has a row (allauth's `UserSession`) that says whose it is, since
when, and from where. A session ends after `SESSION_IDLE_MINUTES` without a request, and in any
case `SESSION_HOURS` after the log-in.
"""

from datetime import timedelta

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from billing.rate_limits import client_address

TOUCH = 60  # seconds for which a process remembers that a session was in use
MOST_AGENT = 200  # characters


def goes_on(request: HttpRequest) -> bool:
    """Notes that the session is in use. False where its time was over before this request.

    It asks the database once a minute and process: who was here within a minute is not idle.
    """
    key = str(request.session.session_key)
    if not cache.add(f"billing.session.{key}", True, TOUCH):
        return True
    row, _ = UserSession.objects.get_or_create(
        session_key=key,
        defaults={
            "user": request.user,
            "ip": client_address(request),
            "user_agent": request.META.get("HTTP_USER_AGENT", "")[:MOST_AGENT],
        },
    )
    if is_over(row):
        cache.delete(f"billing.session.{key}")
        row.end()
        return False
    UserSession.objects.filter(pk=row.pk).update(last_seen_at=timezone.now())
    return True


def is_over(row: UserSession) -> bool:
    now = timezone.now()
    idle = timedelta(minutes=settings.SESSION_IDLE_MINUTES)
    return bool(
        now - row.last_seen_at > idle
        or now - row.created_at > timedelta(hours=settings.SESSION_HOURS)
    )


def open_ones(user: AbstractBaseUser | AnonymousUser) -> QuerySet[UserSession]:
    """Somebody's sessions that are not over, the newest first."""
    now = timezone.now()
    alive = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    return UserSession.objects.filter(
        Exists(alive),
        user_id=user.pk,
        last_seen_at__gte=now - timedelta(minutes=settings.SESSION_IDLE_MINUTES),
        created_at__gte=now - timedelta(hours=settings.SESSION_HOURS),
    ).order_by("-created_at", "-pk")


def end_all(user_id: int, *, but: str | None = None) -> int:
    """Ends somebody's sessions at once, all but one's own if that is named; how many."""
    return end(UserSession.objects.filter(user_id=user_id).exclude(session_key=but or ""))


def end(rows: QuerySet[UserSession]) -> int:
    """Ends these sessions: their next request is a stranger's."""
    with transaction.atomic():
        keys = list(rows.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        UserSession.objects.filter(session_key__in=keys).delete()
    return len(keys)


def forget_over() -> int:
    """Removes the rows of sessions that are over, and what is left of those; how many."""
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    alive = Session.objects.filter(session_key=OuterRef("session_key"))
    removed, _ = UserSession.objects.filter(~Exists(alive)).delete()
    return removed
