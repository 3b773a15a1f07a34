"""What is looked at before every page of the admin: whether the session's time is over, and
whether it was begun with a second factor by those who need one."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect

from billing.access import second_factor, sessions
from billing.addresses import address

Respond = Callable[[HttpRequest], HttpResponse]

# Where one sets a second factor up, gives one, or leaves.
OPEN = {
    "account_inactive",
    "account_login",
    "account_logout",
    "account_reauthenticate",
    "admin:jsi18n",
    "admin:logout",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_authenticate",
    "mfa_index",
    "mfa_login_webauthn",
    "openid_connect_callback",
    "openid_connect_login",
}


def is_admin(request: HttpRequest) -> bool:
    """Whether it is a page of the admin, by somebody who is logged in."""
    return request.path.startswith(address("admin:index")) and request.user.is_authenticated


class SessionLimits:
    """Ends a session whose time is over, so that the page asks to log in."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_admin(request) and not sessions.goes_on(request):
            logout(request)
            messages.info(request, "Your session is over. Log in again.")
        return self.get_response(request)


class SecondFactor:
    """Whoever needs a second factor gets the pages to set one up, and nothing else until then."""

    def __init__(self, get_response: Respond) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        if not is_admin(request) or second_factor.is_given(request):
            return None
        if not second_factor.is_required(request.user):
            return None
        if second_factor.is_set_up(request.user):
            # It was set up elsewhere: this session began without one.
            logout(request)
            messages.info(request, "Log in with your second factor.")
            return redirect("admin:login")
        match = request.resolver_match
        if match and match.view_name in OPEN:
            return None
        return redirect("mfa_index")
