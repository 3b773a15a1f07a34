"""An object store on loopback that speaks as much of S3 as an export needs, over real HTTP.

It keeps what a store must keep: a request that is not signed by a known key is refused, and with
If-None-Match an object is never overwritten (`keeps` off: as stores do that do not know it).
"""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "export-key", "tell-nobody-this-secret"


@dataclass
class Bucket:
    """One bucket, `books`; `is_down` answers 503 to everything."""

    keeps: bool = True
    is_down: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> Self:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if refusal := bucket.refusal(self):
                    return self.answer(*refusal)
                is_kept = bucket.keeps and self.headers.get("If-None-Match") == "*"
                if is_kept and bucket.name(self) in bucket.objects:
                    return self.answer(412, "<Error><Code>PreconditionFailed</Code></Error>")
                bucket.objects[bucket.name(self)] = body
                return self.answer(200, "", {"ETag": '"1"'})

            def do_GET(self) -> None:
                if refusal := bucket.refusal(self):
                    return self.answer(*refusal)
                query = parse_qs(urlsplit(self.path).query)
                if "list-type" in query:
                    return self.answer(200, bucket.listing(query["prefix"][0]))
                found = bucket.objects.get(bucket.name(self))
                if found is None:
                    return self.answer(404, "<Error><Code>NoSuchKey</Code></Error>")
                return self.answer(200, found, {"ETag": '"1"', "Last-Modified": LONG_AGO})

            def answer(
                self, status: int, body: str | bytes, headers: dict[str, str] | None = None
            ) -> None:
                content = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Keeps quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def refusal(self, request: BaseHTTPRequestHandler) -> tuple[int, str] | None:
        if self.is_down:
            return 503, "<Error><Code>SlowDown</Code></Error>"
        signed = request.headers.get("Authorization", "")
        if f"AWS4-HMAC-SHA256 Credential={KEY}/" not in signed or "Signature=" not in signed:
            return 403, "<Error><Code>InvalidAccessKeyId</Code></Error>"
        if not urlsplit(request.path).path.startswith("/books"):
            return 404, "<Error><Code>NoSuchBucket</Code></Error>"
        return None

    def name(self, request: BaseHTTPRequestHandler) -> str:
        return urlsplit(request.path).path.removeprefix("/books/")

    def listing(self, prefix: str) -> str:
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f'</LastModified><ETag>"1"</ETag><Size>{len(body)}</Size></Contents>'
            for name, body in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"


LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"
