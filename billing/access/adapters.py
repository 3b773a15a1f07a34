"""How allauth behaves here: nobody signs up, who comes in has an account in the admin, secrets
are encrypted, and an OpenID Connect provider only says whose email address it is."""

import base64
import hashlib
import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from billing.access import second_factor
from billing.rate_limits import client_address

FRESH = 300  # seconds after a log-in in which nobody is asked who they are once more
NO_ACCOUNT = (
    "Nobody here has the email address of that account, or the provider has not verified it."
)
NO_LOG_IN = "The log-in there did not come to its end. Try again."


class AccountAdapter(DefaultAccountAdapter):
    """Log-in with a password."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    def pre_login(  # type: ignore[override]
        self, request: HttpRequest, user: User, **more: Any
    ) -> HttpResponse | None:
        """Refuses accounts that are switched off, and those that are no admin's."""
        refused: HttpResponse | None = super().pre_login(request, user, **more)
        if refused is None and not user.is_staff:
            clear_login(request)
            messages.error(request, "This account has no access to the back office.")
            refused = redirect("admin:login")
        return refused

    def is_reauthentication_required(self, *, app: str, **more: Any) -> bool:
        """Not right after a log-in: it was proved just now who it is."""
        records = get_authentication_records(self.request, self.request.user)
        if records and time.time() - records[-1]["at"] < FRESH:
            return False
        return bool(super().is_reauthentication_required(app=app, **more))

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Without a greeting at each log-in."""
        template = kwargs.get("message_template") or (args[2] if len(args) > 2 else "")
        if template not in ("account/messages/logged_in.txt", "account/messages/logged_out.txt"):
            super().add_message(*args, **kwargs)


def cipher() -> MultiFernet:
    """What encrypts with DJANGO_SECRET_KEY, and decrypts with older ones of them, too."""
    keys = [str(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    digests = [hashlib.sha256(f"billing.access:{key}".encode()).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


class MFAAdapter(DefaultMFAAdapter):
    """The second factor. Its secrets are encrypted: a backup alone is of no use to a thief."""

    def get_totp_label(self, user: AbstractBaseUser) -> str:
        return user.get_username()

    def encrypt(self, text: str) -> str:
        return cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Raises InvalidToken where DJANGO_SECRET_KEY is another one by now."""
        return cipher().decrypt(encrypted_text.encode()).decode()

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Not the last one of those who need one."""
        others = Authenticator.objects.filter(
            user_id=authenticator.user_id, type__in=second_factor.ALONE
        ).exclude(pk=authenticator.pk)
        return not second_factor.is_required(authenticator.user) or others.exists()


class OpenIDAdapter(DefaultSocialAccountAdapter):
    """Log-in by an OpenID Connect provider, for accounts that are here already.

    They are found by the email address each time, if the provider says it is verified. Nothing
    of what it says is stored.
    """

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def list_apps(
        self, request: HttpRequest, provider: Any = None, client_id: Any = None
    ) -> list[Any]:
        """The one of the settings: none that a row in the database brings."""
        found = super().list_apps(request, provider=provider, client_id=client_id)
        return [app for app in found if not app.pk]

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        user = account_of(sociallogin)
        if user is None or sociallogin.state.get("process") != "login":
            messages.error(request, NO_ACCOUNT)
            raise ImmediateHttpResponse(redirect("admin:login"))
        sociallogin.user = user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = AuthError.UNKNOWN,
        exception: Any = None,
        extra_context: Any = None,
    ) -> None:
        messages.error(request, NO_LOG_IN)
        raise ImmediateHttpResponse(redirect("admin:login"))


def account_of(sociallogin: SocialLogin) -> User | None:
    """The one account with the login's verified email address; None where there is not just one."""
    verified = [each.email for each in sociallogin.email_addresses if each.verified and each.email]
    if len(verified) != 1:
        return None
    found = list(User.objects.filter(email__iexact=verified[0])[:2])
    return found[0] if len(found) == 1 else None
