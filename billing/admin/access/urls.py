"""The addresses of log-in and of one's own account. Allauth's others (sign-up, email addresses,
connections) are left out: what has no address cannot be reached."""

from collections.abc import Callable
from typing import Any

from allauth.account import views as account
from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from billing.access import openid
from billing.admin.access import views

View = Callable[..., HttpResponseBase]


def if_letters_go_out(view: View) -> View:
    """Nobody resets a password where no letter could arrive."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.PASSWORD_RESET:
            raise Http404("EMAIL_URL is not set.")
        return view(request, *args, **kwargs)

    return guarded


of_admin = admin.site.admin_view
RESET = [
    path("", account.password_reset, name="account_reset_password"),
    path("done/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
]
for pattern in RESET:
    pattern.callback = if_letters_go_out(pattern.callback)

urlpatterns = [
    path("login/", account.login, name="account_login"),
    path(
        "account/",
        include(
            [
                path(
                    "", of_admin(RedirectView.as_view(pattern_name="mfa_index")), name="access_home"
                ),
                path("logout/", account.logout, name="account_logout"),
                path("inactive/", account.account_inactive, name="account_inactive"),
                path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
                path("password/", include(RESET)),
                path("2fa/", include("allauth.mfa.urls")),
                path(
                    "oidc/login/",
                    openid.login,
                    {"provider_id": "oidc"},
                    name="openid_connect_login",
                ),
                path(
                    "oidc/callback/",
                    openid.callback,
                    {"provider_id": "oidc"},
                    name="openid_connect_callback",
                ),
                path("sessions/", of_admin(views.sessions_view), name="access_sessions"),
                path("log-ins/", of_admin(views.history_view), name="access_history"),
            ]
        ),
    ),
    path("access/log-ins/", of_admin(views.log_ins_view), name="access_log_ins"),
    path("access/rights/", of_admin(views.rights_view), name="access_rights"),
]
