"""Who tried too often waits: one place for passwords and codes, which is django-axes.

Five failures for a name from one address lock it there. Codes are few, and who comes as far as
to be asked for one has the password: ten wrong ones from whatever addresses lock the name there.
"""

from datetime import datetime, timedelta
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_cool_off
from axes.models import AccessAttempt, AccessFailureLog
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from billing.rate_limits import client_address

WRONG_CODES = 10  # for one name, from all addresses


def pause(request: HttpRequest | None = None) -> timedelta:
    return get_cool_off(request) or timedelta()


def note_wrong_code(request: HttpRequest, user: User, **more: Any) -> None:
    """Counts a wrong code like a wrong password."""
    AxesProxyHandler.user_login_failed(
        sender=__name__, credentials={"username": user.get_username()}, request=request
    )


def refuses_codes(request: HttpRequest, username: str) -> bool:
    """Whether no code is looked at now; the answer to the request is then the page of a lock."""
    credentials = {"username": username}
    if not AxesProxyHandler.is_allowed(request, credentials):
        refused = True
    else:
        refused = wrong_codes(username).count() >= WRONG_CODES
    if refused:
        request.axes_locked_out = True  # type: ignore[attr-defined]
        request.axes_credentials = credentials  # type: ignore[attr-defined]
    return refused


def wrong_codes(username: str) -> Any:
    """The wrong codes of late for a name, the newest first."""
    since = timezone.now() - pause()
    paths = [reverse("mfa_authenticate"), reverse("mfa_reauthenticate")]
    return AccessFailureLog.objects.filter(
        username=username, path_info__in=paths, attempt_time__gte=since
    ).order_by("-attempt_time")


def over_at(request: HttpRequest, username: str) -> datetime:
    """When somebody who is locked out may try again (UTC)."""
    failed = AccessAttempt.objects.filter(username=username, ip_address=client_address(request))
    newest = failed.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    times = list(wrong_codes(username).values_list("attempt_time", flat=True)[:WRONG_CODES])
    oldest_code = times[-1] if len(times) >= WRONG_CODES else None
    return max([t for t in (newest, oldest_code) if t] or [timezone.now()]) + pause(request)
