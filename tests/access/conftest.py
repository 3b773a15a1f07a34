"""People who log in as people do, by the form, and what their telephones would show."""

import re
import time
from dataclasses import dataclass, field
from html import unescape

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
)
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

PASSWORD = "a-Long-passphrase-1"
LOG_IN, HOME = ("/admin/login/", "/admin/")


@pytest.fixture(autouse=True)
def as_in_production(settings: Settings) -> None:
    """Second factors are asked for, and the static files are looked for."""
    settings.SECOND_FACTOR = True
    settings.WHITENOISE_AUTOREFRESH = True
    cache.clear()


def person(name: str, *roles: str, superuser: bool = False) -> User:
    """Somebody with an account, a password, and these roles."""
    user = User.objects.create_user(
        name, f"{name}@example.com", PASSWORD, is_staff=True, is_superuser=superuser
    )
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


@dataclass
class Phone:
    """Shows the codes of one secret, never the same one twice."""

    secret: str
    shown: set[str] = field(default_factory=set)

    def code(self) -> str:
        """A code that is good now, and was not shown before."""
        counter = int(time.time()) // 30
        for each in (counter, counter + 1, counter - 1):
            code = format_hotp_value(hotp_value(self.secret, each))
            if code not in self.shown:
                self.shown.add(code)
                return code
        raise AssertionError("All codes of this minute were shown.")


def with_app(user: User) -> "Phone":
    """Somebody's phone, set up before the test began."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return Phone(secret)


def recovery_codes(user: User) -> list[str]:
    """The codes that somebody has written down."""
    row = Authenticator.objects.get(user=user, type=Authenticator.Type.RECOVERY_CODES)
    return list(row.wrap().get_unused_codes())


@dataclass
class Visitor:
    """A browser without scripts, at some address."""

    address: str = "127.0.0.1"
    client: Client = field(default_factory=Client)

    def __post_init__(self) -> None:
        self.client.defaults |= {
            "REMOTE_ADDR": self.address,
            "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux) Firefox/140.0",
        }

    def open(self, path: str) -> HttpResponse:
        return self.client.get(path)

    def send(self, path: str, **answers: str) -> HttpResponse:
        return self.client.post(path, answers)

    def log_in(self, name: str, password: str = PASSWORD) -> HttpResponse:
        return self.send(LOG_IN, login=name, password=password)

    def set_up_app(self) -> Phone:
        """Scans the code, as somebody who is logged in; the phone that shows the codes then."""
        address = reverse("mfa_activate_totp")
        page = self.open(address)
        assert page.status_code == 200
        found = re.search(r'id="authenticator_secret"[^>]*value="([A-Z2-7=]+)"', text(page))
        assert found
        phone = Phone(found[1])
        done = self.send(address, code=phone.code())
        assert done.status_code == 302, text(done)
        return phone

    def recovery_codes(self) -> list[str]:
        page = text(self.open(reverse("mfa_view_recovery_codes")))
        return re.findall(r"\b\d{8}\b", page)

    def enter(self, name: str, phone: Phone) -> None:
        """By password and code."""
        self.log_in(name)
        self.send(reverse("mfa_authenticate"), code=phone.code())
        assert self.is_in()

    def is_in(self) -> bool:
        """Whether the home page answers."""
        return self.open(HOME).status_code == 200


def text(response: HttpResponse) -> str:
    return unescape(response.content.decode())
