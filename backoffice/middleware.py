"""Headers that Django does not set by itself."""

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from billing.log_context import about
from billing.tracing import span

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")

# Unfold's dialogs run on Alpine, which evaluates expressions, and its charts set styles
# inline; nothing else is let through (COMPONENTS: Unfold).
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


class SecurityHeaders:
    """Adds the content security policy and the permissions policy to every answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"
        )
        return response


class RequestIds:
    """Gives every request an id, which its log lines carry, and its answer as X-Request-ID.

    One that a proxy gave is kept if it looks like one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with about(request=request_id), span(f"{request.method} request", request=request_id) as it:
            response = self.get_response(request)
            match = request.resolver_match
            it.set_attribute("http.route", match.route if match else "")
            it.set_attribute("http.response.status_code", response.status_code)
        response.headers["X-Request-ID"] = request_id
        return response
