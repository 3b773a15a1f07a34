"""The webhook as it is served: requests that only a socket can make."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from billing.models import InboxEvent
from tests.ingress.webhook import LIMIT, PATH, about, as_body, event, kept, rejections, signed
from tests.support.back_office import BackOffice


@contextmanager
def connected(back_office: BackOffice) -> Iterator[socket.socket]:
    address = urlsplit(back_office.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        yield connection


def head(back_office: BackOffice, *headers: str, method: str = "POST", path: str = PATH) -> bytes:
    """A request up to its body."""
    host = urlsplit(back_office.url).netloc
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def signature(back_office: BackOffice, body: bytes) -> str:
    secret = back_office.environment["STRIPE_WEBHOOK_SECRET"]
    return f"Stripe-Signature: {signed(body, secret=secret)}"


def answer(connection: socket.socket) -> tuple[int, str]:
    """Status and text of the answer."""
    with connection.makefile("rb") as stream:
        whole = stream.read()
    start, _, text = whole.partition(b"\r\n\r\n")
    return int(start.split()[1]), text.decode()


def ask(back_office: BackOffice, request: bytes) -> tuple[int, str]:
    with connected(back_office) as connection:
        connection.sendall(request)
        return answer(connection)


def deliver(back_office: BackOffice, body: bytes, path: str = PATH) -> tuple[int, str]:
    length = f"Content-Length: {len(body)}"
    return ask(
        back_office, head(back_office, length, signature(back_office, body), path=path) + body
    )


def chunked(body: bytes, size: int = 8192) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


@pytest.fixture(autouse=True)
def still_serving(back_office: BackOffice) -> Iterator[None]:
    """After each test the server takes events, and has answered nothing with a 500."""
    yield
    body = as_body(event(id="evt_afterwards"))
    assert deliver(back_office, body) == (200, "received")
    assert ("evt_afterwards", "pending") in kept()
    assert "Internal Server Error" not in back_office.web.output


def test_both_addresses_take_events(back_office: BackOffice) -> None:
    for path in (PATH, f"{PATH}/"):
        assert deliver(back_office, as_body(event()), path) == (200, "received")
        status, _ = ask(back_office, head(back_office, method="GET", path=path))
        assert status == 405
    assert kept() == [("evt_1", "pending")]


def test_the_runbooks_own_request_is_refused(back_office: BackOffice) -> None:
    body = b'{"test": true}'
    request = head(back_office, "Content-Type: application/json", f"Content-Length: {len(body)}")
    assert ask(back_office, request + body) == (400, "refused: no signature")


def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not(back_office: BackOffice) -> None:
    empty = len(as_body(about(description="")))
    body = as_body(about(description="x" * (LIMIT - empty)))
    assert deliver(back_office, body) == (200, "received")
    assert InboxEvent.objects.get().body == body.decode()
    assert deliver(back_office, body + b" ") == (413, "refused: body too large")


def test_a_length_that_is_announced_too_large_is_refused_unread(back_office: BackOffice) -> None:
    request = head(back_office, f"Content-Length: {10**12}", signature(back_office, b""))
    assert ask(back_office, request) == (413, "refused: body too large")


@pytest.mark.parametrize("size", [100, LIMIT, 2 * LIMIT])
def test_a_chunked_body_is_refused_whatever_its_size(back_office: BackOffice, size: int) -> None:
    body = as_body(about(description="x" * size))
    request = head(back_office, "Transfer-Encoding: chunked", signature(back_office, body))
    with connected(back_office) as connection:
        try:
            connection.sendall(request + chunked(body))
            assert answer(connection) == (411, "refused: no Content-Length")
        except (BrokenPipeError, ConnectionResetError):
            assert size > 100  # it was refused before all of it was sent
    assert kept() == []
    assert rejections() == {"no Content-Length": 1}


def test_a_body_that_breaks_off_is_refused(back_office: BackOffice) -> None:
    body = as_body(event())
    length = f"Content-Length: {len(body)}"
    with connected(back_office) as connection:
        connection.sendall(head(back_office, length, signature(back_office, body)) + body[:50])
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection) == (400, "refused: wrong signature")
    assert kept() == []


def test_what_follows_the_announced_length_is_not_part_of_the_body(back_office: BackOffice) -> None:
    body = as_body(event())
    request = head(back_office, f"Content-Length: {len(body)}", signature(back_office, body))
    assert ask(back_office, request + body + b" and more") == (200, "received")
    assert json.loads(InboxEvent.objects.get().body)["id"] == "evt_1"
