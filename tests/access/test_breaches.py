"""New passwords are looked up among those that were in breaches."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from billing.access.breaches import BreachedPasswordValidator

BREACHED = "correct horse battery staple"
OTHER = "another horse, another staple"


class Ranges(BaseHTTPRequestHandler):
    """Answers as Pwned Passwords does: what follows the prefix in each hash, and how often."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        answer = f"{'0' * 35}:0\r\n{digest(BREACHED)[5:]}:1,384".encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None: ...


def digest(password: str) -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


@pytest.fixture
def ranges(settings: Settings) -> Iterator[list[str]]:
    """What the service was asked for."""
    Ranges.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        settings.BREACHED_PASSWORDS_URL = f"http://127.0.0.1:{server.server_port}/range/"
        yield Ranges.asked
        server.shutdown()


def test_a_password_that_was_in_a_breach_is_refused_by_five_digits_of_its_hash(
    ranges: list[str],
) -> None:
    with pytest.raises(ValidationError, match="in a breach"):
        BreachedPasswordValidator().validate(BREACHED)
    assert ranges == [f"/range/{digest(BREACHED)[:5]}"]


def test_another_one_is_taken(ranges: list[str]) -> None:
    BreachedPasswordValidator().validate(OTHER)
    assert len(ranges) == 1


def test_where_nobody_answers_django_s_list_decides(settings: Settings) -> None:
    settings.BREACHED_PASSWORDS_URL = "http://127.0.0.1:9/range/"
    BreachedPasswordValidator().validate(OTHER)
    with pytest.raises(ValidationError, match="too common"):
        BreachedPasswordValidator().validate("password1234")
