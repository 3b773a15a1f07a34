"""What every answer carries, and what is refused before anything looks at it."""

import re
import uuid
from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.middleware.security import SecurityMiddleware
from django.shortcuts import render

from backoffice.policies import policy_for
from billing import rate_limits
from billing.formatting import TURNED
from billing.log_context import about
from billing.rate_limits import Limit
from billing.tracing import span

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
# In UTF-8: what turns the direction of text (billing.formatting).
TURNING = re.compile(rb"\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
NEVER = ("CONNECT", "TRACE", "TRACK")  # what would send back headers that no script may read
# What neither the views nor Django say for themselves.
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        f"{feature}=()"
        for feature in (
            *("accelerometer", "browsing-topics", "camera", "display-capture", "geolocation"),
            *("gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial"),
            *("usb", "xr-spatial-tracking"),
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
}
# The webhook counts only what it refuses (billing.ingress.views).
UNLIMITED = ("/webhooks/stripe",)
BILLING_PAGES = "/billing"

GetResponse = Callable[[HttpRequest], HttpResponse]


class SecurityHeaders(SecurityMiddleware):
    """Django's own headers and ours on every answer, those of errors and static files, too.

    It is the outermost: a refused host or a redirect to TLS leaves by no middleware within the
    one that it comes from. The redirect itself stays with Django's own, right after it.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method in NEVER:
            return self.process_response(request, HttpResponseNotAllowed(METHODS))
        return cast(HttpResponse, super().__call__(request))

    def process_request(self, request: HttpRequest) -> None:
        """Nothing: see above."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        response.headers.setdefault("Content-Security-Policy", policy_for(request))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class ReadingOrder:
    """Shows what turns the direction of text on pages, instead of letting it do so.

    Customers choose their names, and all of them are shown among amounts and verdicts.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if is_page and not response.streaming and TURNING.search(response.content):
            response.content = TURNING.sub(TURNED.encode(), response.content)
        return response


class RateLimits:
    """Refuses strangers who ask too often (billing.rate_limits), with 429 and Retry-After."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = limit_of(request)
        seconds = rate_limits.take(limit, request) if limit else 0
        if not seconds:
            return self.get_response(request)
        response = render(request, "429.html", {"seconds": seconds}, status=429)
        response["Retry-After"] = str(seconds)
        return response


def limit_of(request: HttpRequest) -> Limit | None:
    """The limit that a request counts towards; none for who is logged in."""
    if request.path.startswith(UNLIMITED):
        return None
    if request.path.startswith(BILLING_PAGES):
        return rate_limits.BILLING_PAGE
    if request.user.is_authenticated:
        return None
    return rate_limits.LOG_IN if request.method == "POST" else rate_limits.ELSE


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
