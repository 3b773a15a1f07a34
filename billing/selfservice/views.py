"""The page behind a customer's link, and the button that opens Stripe's portal."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from billing import signed_links
from billing.gateway.client import (
    GatewayError,
    StripeNotFoundError,
    StripeRefusedError,
    giving_up_on_silence,
)
from billing.models import BillingCustomer
from billing.operations.base import OperationError
from billing.selfservice import portal
from billing.selfservice.access import customer_of
from billing.selfservice.page import MOST_PAGES, page_of
from billing.signed_links import Link, UnusableLinkError

logger = logging.getLogger(__name__)

TRY_AGAIN = (
    "The billing portal cannot be opened at the moment. Nothing was changed. Please try again in"
    " a few minutes."
)
CLOSED = (
    "Your billing account was closed, so there is nothing to manage any more. Please reply to the"
    " message that this link came with if you would like to start again."
)
REFUSED = (
    "The billing portal cannot be opened for your account. Nothing was changed. Please reply to"
    " the message that this link came with, and we will help you."
)
TOO_OFTEN = (
    "You have opened the billing portal very often within the last hour. Please try again in an"
    " hour."
)

View = Callable[..., HttpResponse]


class SeeOther(HttpResponseRedirect):
    """To be fetched with GET, whatever the method was."""

    status_code = 303


def confidential(view: View) -> View:
    """Adds the headers with which the page stays between us and the customer.

    The referrer is the origin alone: with none at all, browsers send forms without an origin,
    which the protection against forged ones refuses.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Cache-Control"] = "no-store, private"
        response["X-Robots-Tag"] = "noindex, nofollow"
        response["Referrer-Policy"] = "strict-origin"
        response["Content-Security-Policy"] = "; ".join(
            [
                "default-src 'none'",
                "script-src 'none'",
                "style-src 'self'",
                "img-src 'self'",
                f"form-action 'self' {portal.portal_origin()}",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            ]
        )
        return response

    return guarded


@confidential
@require_safe
def without_link(request: HttpRequest) -> HttpResponse:
    """What /billing/ says by itself."""
    return render(request, "billing/without_link.html")


@confidential
def unusable(request: HttpRequest, rest: str = "") -> HttpResponse:
    """The same for every link that opens nothing, whatever the reason."""
    return render(request, "billing/unusable.html", status=404)


@confidential
@require_safe
@sensitive_variables()
def billing_page(request: HttpRequest, token: str) -> HttpResponse:
    """A customer's page. 404 for a link that opens nothing."""
    try:
        customer, _ = opened(token)
    except UnusableLinkError:
        return unusable(request)
    return show(request, customer, token)


@confidential
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables()
def manage_billing(request: HttpRequest, token: str) -> HttpResponse:
    """Leads to a fresh session of Stripe's portal, or says on the page why not.

    Whoever comes back to it without having pressed the button is led to the page.
    """
    if request.method != "POST":
        return redirect("billing-page", token=token)
    try:
        customer, link = opened(token)
    except UnusableLinkError:
        return unusable(request)
    try:
        with giving_up_on_silence():
            return SeeOther(portal.open_session(customer, link))
    except portal.TooManySessionsError:
        return show(request, customer, token, problem=TOO_OFTEN, status=429)
    except StripeRefusedError as error:
        logger.warning("no portal for %s: %s", customer.stripe_customer_id, error)
        is_gone = isinstance(error, StripeNotFoundError)
        problem = CLOSED if is_gone else REFUSED
        return show(request, customer, token, problem=problem, status=410 if is_gone else 502)
    except (GatewayError, OperationError) as error:
        logger.warning("no portal for %s: %s", customer.stripe_customer_id, error)
        return show(request, customer, token, problem=TRY_AGAIN, status=503)


def opened(token: str) -> tuple[BillingCustomer, Link]:
    """Whose page it is, and the link. Raises UnusableLinkError."""
    link = signed_links.read(token)
    return customer_of(link), link


def show(
    request: HttpRequest,
    customer: BillingCustomer,
    token: str,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    number = request.GET.get("page", "1")
    is_number = number.isascii() and number.isdigit() and len(number) <= 4
    page = page_of(customer, min(max(int(number), 1), MOST_PAGES) if is_number else 1)
    more = {"billing": page, "token": token, "problem": problem}
    return render(request, "billing/page.html", more, status=status)


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Nothing here is for search engines."""
    rules = "User-agent: *\nDisallow: /billing/\nDisallow: /admin/\n"
    return HttpResponse(rules, content_type="text/plain; charset=utf-8")
