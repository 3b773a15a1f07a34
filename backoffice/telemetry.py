"""Errors to Sentry and traces to a collector of OpenTelemetry, each only where it is asked for.

Their packages are imported only then. What leaves the house is scrubbed as the log is.
"""

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from backoffice.logs import scrub
from billing.log_context import log_context
from billing.tracing import trace_with

SERVICE = "billing-back-office"
KEPT_OF_REQUEST = ("method", "url")
DROPPED = ("breadcrumbs", "extra", "user", "modules")


def lacking(variable: str, extra: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{variable} is set, and the packages for it are not installed:"
        f" pip install the extra “{extra}” of pyproject.toml, or leave the variable empty."
    )


def report_errors(dsn: str) -> None:
    """Sends every error that is logged, and every one that nobody catches, to Sentry."""
    try:
        import sentry_sdk
    except ImportError:
        raise lacking("SENTRY_DSN", "sentry") from None
    sentry_sdk.init(
        dsn=dsn,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=without_secrets,  # type: ignore[arg-type]  # its types are for checkers alone
    )


def without_secrets(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """What is sent of an error: where it happened, scrubbed words, and the ids of a log line."""
    kept = {name: value for name, value in event.items() if name not in DROPPED}
    if "request" in kept:
        kept["request"] = {k: v for k, v in kept["request"].items() if k in KEPT_OF_REQUEST}
    context = log_context()
    ids = {"request": context.request, "event": context.event, "operation": context.operation}
    kept["tags"] = {**kept.get("tags", {}), **{name: i for name, i in ids.items() if i}}
    shown: dict[str, Any] = scrubbed(kept)
    return shown


def scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {name: scrubbed(each) for name, each in value.items() if name != "vars"}
    if isinstance(value, list | tuple):
        return [scrubbed(each) for each in value]
    return value


def send_traces(endpoint: str) -> None:
    """Sends a span of every request and of every batch of events, by OTLP over HTTP."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise lacking("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry") from None
    # It would log every lost collector with a traceback.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace_with(provider.get_tracer(SERVICE))
