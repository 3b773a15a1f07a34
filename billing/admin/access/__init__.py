"""Log-in and one's own account: allauth's pages in Unfold's dress, and ours beside them."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from unfold.widgets import INPUT_CLASSES

from billing.access import second_factor, throttling
from billing.addresses import address
from billing.formatting import format_time

# Where allauth's views answer, which know nothing of the admin.
PREFIXES = ("admin:login", "access_home")


def context(request: HttpRequest) -> dict[str, Any]:
    """What Unfold's layouts need, on allauth's pages."""
    if not request.path.startswith(tuple(address(name) for name in PREFIXES)):
        return {}
    return {
        **admin.site.each_context(request),
        "title": "My account",
        "input_classes": " ".join(INPUT_CLASSES),
        "password_reset": settings.PASSWORD_RESET,
        "second_factor_is_missing": is_missing(request),
    }


def is_missing(request: HttpRequest) -> bool:
    """Whether somebody who needs a second factor has none yet, so that nothing else is shown."""
    user = request.user
    return second_factor.is_required(user) and not second_factor.is_set_up(user)


def locked_out(
    request: HttpRequest, response: HttpResponse | None = None, credentials: Any = None
) -> HttpResponse:
    """The page for whoever tried too often: it says when that is over (django-axes calls it)."""
    username = str((credentials or {}).get("username") or "")
    over = throttling.over_at(request, username)
    said = {"over": format_time(over), "title": "Locked for a while"}
    return render(request, "account/locked.html", said, status=429)
