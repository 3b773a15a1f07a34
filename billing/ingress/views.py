"""The webhook: verify, insert one inbox row, wake the worker, answer (DESIGN, rule 1)."""

import logging

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import rate_limits
from billing.ingress import inbox
from billing.ingress.signature import SignatureError, verify

logger = logging.getLogger(__name__)

MAX_BODY = 512 * 1024  # bytes
TEXT = "text/plain; charset=utf-8"


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """200 once the event is safe in the inbox (or was before); 4xx with a reason else.

    Stripe's signature takes the place of the CSRF token. Nothing of a body is kept
    before its signature is verified.
    """
    try:
        body = _read(request)
        verify(body, request.headers.get("Stripe-Signature", ""), settings.STRIPE_WEBHOOK_SECRETS)
        event = inbox.parse(body)
    except inbox.RejectedError as error:
        return _refuse(request, error.status, str(error), error.detail)
    except SignatureError as error:
        return _refuse(request, 400, str(error))
    _keep(event)
    return HttpResponse("received", content_type=TEXT)


def _keep(event: inbox.IncomingEvent) -> None:
    """Into the inbox, on a new connection where the old one turns out to be dead.

    Django would ask an old connection whether it lives, once a request: a third of all
    that a delivery costs the database. Receiving twice does no harm.
    """
    connection.health_check_done = True  # type: ignore[attr-defined]  # Django keeps it to itself
    try:
        inbox.receive([event])
    except (InterfaceError, OperationalError):
        connection.close()
        inbox.receive([event])


def _read(request: HttpRequest) -> bytes:
    """The body, unless it came in the clear, or is too large, by its own word or in truth.

    Without a Content-Length, as in a chunked request, Django would read an empty body.
    """
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        raise inbox.RejectedError("plain HTTP", status=403)
    if "Transfer-Encoding" in request.headers:
        raise inbox.RejectedError("no Content-Length", status=411)
    try:
        announced = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        announced = MAX_BODY + 1
    if announced > MAX_BODY:
        raise inbox.RejectedError("body too large", status=413)
    body = request.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise inbox.RejectedError("body too large", status=413)
    return bytes(body)


def _refuse(request: HttpRequest, status: int, reason: str, detail: str = "") -> HttpResponse:
    """A refusal, counted; of an address that is refused too often, no more than a short no.

    The limit comes after the signature: what Stripe has signed never waits for anybody.
    """
    if seconds := rate_limits.take(rate_limits.WEBHOOK, request):
        return HttpResponse(
            "refused: too many bad requests",
            status=429,
            content_type=TEXT,
            headers={"Retry-After": str(seconds)},
        )
    logger.warning("webhook refused: %s%s", reason, f" ({detail})" if detail else "")
    inbox.count_rejection(reason, detail)
    return HttpResponse(f"refused: {reason}", status=status, content_type=TEXT)
