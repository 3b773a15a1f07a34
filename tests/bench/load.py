"""Signed webhook deliveries, several at a time, as Stripe sends them."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from urllib.parse import urlsplit

from billing.ingress.signature import sign

CONNECTIONS = 16
REQUESTS_A_CONNECTION = 50
TIMEOUT = 60  # seconds for one answer
CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(slots=True)
class Deliveries:
    """What came of a number of deliveries: answers in seconds each, by acceptance."""

    seconds: float = 0.0
    taken: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Accepted deliveries a second."""
        return len(self.taken) / self.seconds

    def latency(self, part: float) -> float:
        """The seconds within which this part of them were answered. RuntimeError if none was."""
        if not self.taken:
            raise RuntimeError(f"none was accepted: {sorted(set(self.refused))}")
        ordered = sorted(self.taken)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Source:
    """Events for many senders, each event once."""

    def __init__(self, bodies: Iterator[bytes]) -> None:
        self.bodies = bodies
        self.lock = Lock()

    def take(self) -> bytes | None:
        with self.lock:
            return next(self.bodies, None)


def deliver(url: str, secret: str, source: Source, seconds: float) -> Deliveries:
    """Delivers to `url` for that long, always `CONNECTIONS` at a time, and each at least once.

    Those under way at the end are waited for, and count.
    """
    result = Deliveries()
    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        senders = [
            pool.submit(_send, url, secret, source, started + seconds, result)
            for _ in range(CONNECTIONS)
        ]
    for sender in senders:
        sender.result()
    result.seconds = time.perf_counter() - started
    return result


def _send(url: str, secret: str, source: Source, until: float, result: Deliveries) -> None:
    target = urlsplit(url)
    sent = 0
    connection: Connection | None = None
    while ((started := time.perf_counter()) < until or not sent) and (body := source.take()):
        if sent % REQUESTS_A_CONNECTION == 0:
            connection = Connection(str(target.hostname), int(target.port or 80))
        assert connection
        status = connection.post(target.path, body, sign(body, secret))
        if status == HTTPStatus.OK:
            result.taken.append(time.perf_counter() - started)
        else:
            result.refused.append(status)
        sent += 1


class Connection:
    """One HTTP connection, with little else than a socket: the sender shares the processor
    with what it measures."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.socket = socket.create_connection((host, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path: str, body: bytes, signature: str) -> int:
        """The status of the answer."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nX-Forwarded-Proto: https\r\n"
            f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Stripe-Signature: {signature}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        headers, _, rest = answer.partition(b"\r\n\r\n")
        found = CONTENT_LENGTH.search(headers)
        if not found:
            raise ConnectionError(f"no length: {headers!r}")
        while len(rest) < int(found[1]):
            rest += self._receive()
        return int(headers.split(b" ", 2)[1])

    def _receive(self) -> bytes:
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionError("the web server closed the connection")
        return received
