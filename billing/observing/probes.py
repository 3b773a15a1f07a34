"""What load balancers, orchestrators and Prometheus ask for: /healthz, /readyz and /metrics.

It is answered before all else: probes come by plain HTTP, under an address for a host name, and
log in nowhere.
"""

import logging
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare

from billing.observing import metrics, readiness
from billing.observing.asking import Kept
from billing.observing.readiness import Check

logger = logging.getLogger(__name__)

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Probes:
    """Middleware, the outermost but for what names the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = ANSWERS.get(request.path_info)
        if answer is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={**HEADERS, "Allow": "GET, HEAD"})
        response = answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response


def healthz(request: HttpRequest) -> HttpResponse:
    """The process is up: it asks nothing of anybody."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """The whole back office works: events come in and are processed."""
    return _ready(readiness.everything)


def readyz_web(request: HttpRequest) -> HttpResponse:
    """This web server can take requests."""
    return _ready(readiness.web_server)


def _ready(asked: Kept[list[Check]]) -> HttpResponse:
    checks = asked()
    ready = all(check.ok for check in checks)
    said = {check.name: {"ok": check.ok, "said": check.said} for check in checks}
    return JsonResponse({"ready": ready, "checks": said}, status=200 if ready else 503)


def figures(request: HttpRequest) -> HttpResponse:
    """The figures, for whoever shows METRICS_TOKEN; there is no such page where it is not set."""
    if not settings.METRICS_TOKEN:
        return HttpResponse(status=404)
    shown = request.headers.get("Authorization", "")
    if not constant_time_compare(shown, f"Bearer {settings.METRICS_TOKEN}"):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


ANSWERS: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/readyz/web": readyz_web,
    "/metrics": figures,
}
