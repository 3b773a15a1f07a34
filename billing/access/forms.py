"""The forms that take a code, each of which is good once, in whatever process it is tried."""

import logging

from allauth.core import context
from allauth.mfa.base import forms as stock
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import forms as webauthn
from cryptography.fernet import InvalidToken
from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.crypto import constant_time_compare, salted_hmac

from billing.access import throttling

logger = logging.getLogger(__name__)

REMEMBERED = 5  # codes; no more are valid at a time
TOO_OFTEN = "Too many wrong codes. Wait, and try again."
USED = "This code was used already. Wait for the next one."
UNREADABLE = "Your second factor cannot be read any more. Ask an administrator to reset it."


class CodeForm(stock.BaseAuthenticateForm):
    """Counts wrong codes with the wrong passwords, and refuses a used one."""

    def clean_code(self) -> str:
        username = self.user.get_username()
        if throttling.refuses_codes(context.request, username):
            raise ValidationError(TOO_OFTEN)
        try:
            code: str = super().clean_code()
        except InvalidToken as error:
            logger.error("a second factor was encrypted with another DJANGO_SECRET_KEY")
            raise ValidationError(UNREADABLE) from error
        if self.authenticator.type == Authenticator.Type.TOTP:
            use_up(self.authenticator, code)
        return code


class AddWebAuthnForm(webauthn.AddWebAuthnForm):
    """A passkey, unless somebody wants a mere key."""

    passwordless = forms.BooleanField(
        label="A passkey: it lets me in without a password",
        initial=True,
        required=False,
        help_text="It asks for your finger, your face or a PIN. Without this it only takes the"
        " place of the code, after the password.",
    )


class AuthenticateForm(CodeForm, stock.AuthenticateForm):
    pass


class ReauthenticateForm(CodeForm, stock.ReauthenticateForm):
    pass


def use_up(authenticator: Authenticator, code: str) -> None:
    """Notes that a code was used. Raises ValidationError where it was used before."""
    digest = salted_hmac("billing.access.code", code.replace(" ", "")).hexdigest()
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
        used = row.data.get("used", [])
        if any(constant_time_compare(digest, each) for each in used):
            raise ValidationError(USED)
        row.data["used"] = [*used, digest][-REMEMBERED:]
        row.save(update_fields=["data"])
    authenticator.data = row.data
