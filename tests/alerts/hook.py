"""An address that takes what it is told, over real HTTP: a webhook, or a heartbeat's listener."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

SECRET_PATH = "/services/T0/B0/tell-nobody"


@dataclass
class Hook:
    """Listens on `url`, which is a secret; answers `status` after `delay` seconds."""

    status: int = 200
    delay: float = 0
    texts: list[str] = field(default_factory=list)
    calls: int = 0

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.answer(self, json.loads(body)["text"])

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                """Keeps quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}{SECRET_PATH}"
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, text: str = "") -> None:
        assert request.path == SECRET_PATH
        self.calls += 1
        time.sleep(self.delay)
        if self.status == 200 and text:
            self.texts.append(text)
        try:
            request.send_response(self.status)
            request.send_header("Content-Length", "0")
            request.end_headers()
        except OSError:
            """Whoever asked did not wait."""
