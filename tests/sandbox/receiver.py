"""An HTTP server that takes webhooks and answers as it is told."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Received:
    """One webhook as it came."""

    body: bytes
    signature: str

    @property
    def event(self) -> Any:
        """The event in it."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """Listens on `url`; answers `status` after `delay` seconds."""

    status: int = 200
    delay: float = 0
    received: list[Received] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, *args: object) -> None:
                """Keeps quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if self.delay:
            time.sleep(self.delay)
        with self._lock:
            self._now -= 1
            self.received.append(Received(body, request.headers["Stripe-Signature"]))
        request.send_response(self.status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    @property
    def types(self) -> list[str]:
        """The types of the events received, in order of arrival."""
        return [one.event["type"] for one in self.received]

    def wait_for(self, count: int, seconds: float = 10) -> list[Received]:
        """What was received, once that is `count` webhooks or more."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(self.received)} of {count} webhooks came")
            time.sleep(0.01)
        return list(self.received)
