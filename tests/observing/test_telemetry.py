"""Sentry and OpenTelemetry, each told by a variable alone, against a receiver on this machine."""

import gzip
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import sentry_sdk
from django.test import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from backoffice import telemetry
from billing import tracing
from billing.log_context import about
from billing.tracing import span, trace_with
from tests.support.back_office import run_manage
from tests.support.environment import SECRET_KEY, child_environment

EMAIL, BODY = "ada@example.com", '{"name": "Planted Name"}'
SECRET = ("ada@", "Planted", SECRET_KEY, "hunter22")


class Receiver(BaseHTTPRequestHandler):
    got: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """It is quiet."""


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.got.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_error_reaches_sentry_with_its_ids_and_without_what_is_nobodys_business(
    receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    telemetry.report_errors(f"http://key@{receiver}/1")
    try:
        with about(request="edge-1234", event="evt_1"):
            password = "hunter22"  # of which nothing is sent: it is a local variable
            try:
                raise ValueError(f"cannot parse {BODY} of {EMAIL}")
            except ValueError:
                logging.getLogger("billing.x").exception("it failed with %s", SECRET_KEY)
        sentry_sdk.flush(10)
        assert password
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.init()
    [(path, envelope)] = [each for each in Receiver.got if b'"exception"' in each[1]]
    assert path.startswith("/api/1/")
    said = envelope.decode()
    for secret in SECRET:
        assert secret not in said.replace(f'"{secret}', ""), secret
    event = next(json.loads(line) for line in said.splitlines() if '"exception"' in line)
    assert event["tags"] == {"request": "edge-1234", "event": "evt_1"}
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert not {"user", "extra", "breadcrumbs"} & set(event)


def test_of_a_request_sentry_gets_the_method_and_the_address_alone() -> None:
    request = {
        "method": "POST",
        "url": "https://billing.example.com/billing/eyJrIjoib3BfMSJ9fQ.c2lnbmF0dXJlb2ZpdA/",
        "data": BODY,
        "cookies": {"sessionid": "hunter22"},
        "headers": {"Authorization": "hunter22"},
        "query_string": f"q={EMAIL}",
    }
    sent = telemetry.without_secrets({"request": request, "user": {"email": EMAIL}}, {})
    assert sent["request"] == {
        "method": "POST",
        "url": "https://billing.example.com/billing/(link)/",
    }
    assert "user" not in sent


@pytest.mark.django_db
def test_a_trace_has_a_span_of_each_request_by_its_route(
    receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    telemetry.send_traces(f"http://{receiver}")
    tracer: Any = tracing._tracers[0]
    try:
        Client().post("/webhooks/stripe", BODY, content_type="application/json")
        with pytest.raises(ValueError, match="ada"), span("process events", events=2):
            raise ValueError(EMAIL)
        processor = tracer.span_processor
        processor.force_flush(10_000)
        processor.shutdown()
    finally:
        trace_with(None)
    spans = {}
    for path, body in Receiver.got:
        assert path == "/v1/traces"
        assert b"ada@" not in body
        assert b"Planted" not in body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for one in (one for scope in resource.scope_spans for one in scope.spans):
                spans[one.name] = {a.key: a.value for a in one.attributes}
    assert spans["POST request"]["http.response.status_code"].int_value == 400
    assert "webhooks/stripe" in spans["POST request"]["http.route"].string_value
    assert spans["process events"]["error.type"].string_value == "ValueError"


@pytest.mark.parametrize(
    ("variable", "value", "package", "extra"),
    [
        ("SENTRY_DSN", "https://key@sentry.example.com/1", "sentry_sdk", "sentry"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://127.0.0.1:4318",
            "opentelemetry",
            "opentelemetry",
        ),
    ],
)
def test_without_its_package_the_variable_is_named_with_what_to_install(
    tmp_path: Any, variable: str, value: str, package: str, extra: str
) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError")
    environment = child_environment(**{variable: value}, PYTHONPATH=str(tmp_path))
    done = run_manage("check", env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{variable} is set, and the packages for it are not installed")
    assert f"“{extra}”" in done.stderr
