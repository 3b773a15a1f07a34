"""Subscriptions and invoices side by side: Stripe, ours, and ours after a sync.

One page for each kind, at `side-by-side/?id=...`, also for what has no row here. Stripe is asked
on demand (`ask=stripe`), and nothing is changed by it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from billing.addresses import address
from billing.admin import cells
from billing.admin.cells import Column
from billing.admin.findings import fix_url, page_of
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.opening import of_id
from billing.admin.operations import SYNC
from billing.diagnosis.causes import NOT_RECEIVED, Cause
from billing.diagnosis.sides import Kind, Sides, sides_of
from billing.diagnosis.terms import kind_of
from billing.models import BillingInvoice, BillingSubscription

MODELS = {"subscription": BillingSubscription, "invoice": BillingInvoice}


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event with the address of its page, or of Stripe's where it is not here.

    `is_cause` marks the one that should have changed our row. `fix_url` is '' where a replay
    has nothing to do, or is not for this user.
    """

    cause: Cause
    url: str
    is_cause: bool
    fix_url: str = ""
    fix_title: str = ""


def url_of(kind: Kind, stripe_id: str) -> str:
    """The page that compares an object of Stripe's."""
    return f"{address(f'admin:billing_{kind}_sides')}?{urlencode({'id': stripe_id})}"


def button(kind: Kind, stripe_id: str) -> ShownOffer:
    """The button on a row's page."""
    return ShownOffer("Side by side", "compare_arrows", url_of(kind, stripe_id), "")


def column(kind: Kind, field: str) -> Column:
    """A column that leads there, by the field that has the Stripe id."""
    return cells.column(
        lambda row: cells.link(url_of(kind, getattr(row, field)), "Compare"), "Side by side"
    )


def url_pattern(kind: Kind, wrap: Callable[..., Any]) -> URLPattern:
    """The page's address among those of the kind's admin."""
    pattern: URLPattern = path("side-by-side/", wrap(view_of(kind)), name=f"billing_{kind}_sides")
    return pattern


def view_of(kind: Kind) -> Callable[[HttpRequest], HttpResponse]:
    """The page of one kind. 403 for those who may not see its rows, 404 for what is no id."""

    @require_GET
    def view(request: HttpRequest) -> HttpResponse:
        if not admin.site._registry[MODELS[kind]].has_view_permission(request):
            raise PermissionDenied
        stripe_id = request.GET.get("id", "").strip()
        if kind_of(stripe_id) != kind:
            raise Http404(f"This is not the id of a {kind}. Open it from the {kind}'s own page.")
        context = {
            **admin.site.each_context(request),
            "title": f"{kind.capitalize()} side by side",
            "stripe_id": stripe_id,
            "row_url": of_id(stripe_id),
            "ask_url": f"{url_of(kind, stripe_id)}&ask=stripe",
        }
        if request.GET.get("ask") == "stripe":
            context |= compared(sides_of(kind, stripe_id), request.user)
        return TemplateResponse(request, "admin/billing/sides.html", context)

    return view


def compared(sides: Sides, user: User) -> dict[str, Any]:
    """What the page shows of a comparison."""
    back = url_of(sides.kind, sides.id)
    answers = {"kind": sides.kind, "target": sides.id, "back": back}
    return {
        "sides": sides,
        "events": [shown(cause, sides, user, back) for cause in sides.events],
        "sync_title": SYNC.title,
        "sync_url": "" if sides.is_unknown or not SYNC.is_permitted(user) else SYNC.url(answers),
        "at_stripe": cells.json_block(sides.stripe) if sides.stripe else "",
        "our_row": cells.json_block(sides.row_as_dict()) if sides.ours else "",
    }


def shown(cause: Cause, sides: Sides, user: User, back: str) -> ShownEvent:
    """An event for the page at `back`, to which its replay leads back."""
    livemode = bool(sides.stripe and sides.stripe.get("livemode") is True)
    url = (
        cells.dashboard_url(cause.event_id, livemode=livemode)
        if cause.state == NOT_RECEIVED
        else cells.open_url(id=cause.event_id)
    )
    is_cause = cause == sides.cause
    page = page_of(cause.fix) if cause.fix else None
    if page is None or cause.fix is None or not page.is_permitted(user):
        return ShownEvent(cause, url, is_cause)
    return ShownEvent(cause, url, is_cause, fix_url(page, cause.fix, back), page.title)
