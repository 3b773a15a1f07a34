"""Search by anything, from every page: the list of what was found, and the command palette."""

from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_GET
from unfold.dataclasses import SearchResult

from billing.admin import cells
from billing.admin.findings import fix_url, page_of
from billing.admin.forms import User
from billing.admin.related import Table
from billing.diagnosis.search import Found, Hit, Looked, Thing, look_up, search
from billing.formatting import format_money
from billing.models import BillingPayment, LeadCredits

MOST_IN_PALETTE = 8
HEADERS = [
    "Customer",
    "Found by",
    "Subscription",
    "Last payment",
    "Credits",
    "User",
    "Mode",
    "Since",
]
EXAMPLES = (
    ("Email", "ada@example.com, or any part of it"),
    ("Name", "Ada Lovelace, or any part of it"),
    ("User", "our own id, such as u_42"),
    ("Any id of Stripe's", "cus_, sub_, in_, pi_, ch_, re_, dp_, cs_, evt_, price_"),
    ("Invoice number", "F3A9B1C2-0001"),
    ("Card", "4242 49.00, 4242 $49 2026-11-20, or 4242 20 Nov"),
    ("Event or operation", "evt_, or op_ as a log line has it"),
    ("Lead or claim", "the lead's id, or claim:17"),
)


@require_GET
def search_view(request: HttpRequest) -> HttpResponse:
    """What `q` names. One that is found is opened; what only Stripe knows is shown.

    403 for those who may not see customers.
    """
    if not request.user.has_perm("billing.view_billingcustomer"):
        raise PermissionDenied
    found = search(request.GET.get("q", ""))
    if only := found.only:
        return redirect(address(only, found.kind))
    looked = look_up(found.term) if found.is_empty and found.kind else None
    context = {
        **admin.site.each_context(request),
        "title": "Search",
        "found": found,
        "people": people_table(found),
        "things": things_table(found.things),
        "looked": looked,
        "looked_table": looked_table(looked) if looked and not looked.error else None,
        "bring_in": bring_in(looked, request.user, request.get_full_path()),
        "known": people_table(search(looked.customer_id))
        if looked and looked.customer_id
        else None,
        "examples": EXAMPLES,
    }
    return TemplateResponse(request, "admin/billing/search.html", context)


def address(one: Hit | Thing, kind: str = "") -> str:
    """The page of somebody or something that was found; an event's own, by the event's id."""
    if kind == "event" and one.row is not None:
        return cells.page_url(one.row)
    if isinstance(one, Hit) and one.customer is not None:
        return cells.page_url(one.customer)
    if isinstance(one, Hit) and one.balance is not None:
        return cells.page_url(LeadCredits(user_id=one.person.user_id or ""))
    return cells.page_url(one.row) if one.row else reverse("admin:index")


def people_table(found: Found) -> Table:
    rows = [(address(hit), cells_of(hit)) for hit in found.hits]
    return Table(f"Customers found by “{found.term}”", HEADERS, rows, "")


def cells_of(hit: Hit) -> list[str]:
    """What people choose by, in the order of HEADERS."""
    customer = hit.customer
    name = customer.name if customer and customer.name != hit.title else ""
    return [
        f"{hit.title} ({name})" if name else hit.title,
        format_html('<span class="block" style="min-width: 8rem">{}</span>', hit.matched),
        cells.status_label(hit.status) if hit.status else _without_subscription(hit),
        _last_payment(hit.payment) if hit.payment else cells.EMPTY,
        cells.EMPTY if hit.balance is None else f"{hit.balance:,}",
        hit.person.user_id or cells.EMPTY,
        ("live" if customer.livemode else "test") if customer else cells.EMPTY,
        cells.no_wrap(f"{customer.created_at:%Y-%m-%d}") if customer else cells.EMPTY,
    ]


def _last_payment(payment: BillingPayment) -> str:
    paid = format_money(payment.amount, payment.currency)
    return f"{paid}, {payment.status}, {payment.created_at:%Y-%m-%d}"


def _without_subscription(hit: Hit) -> str:
    if hit.customer is None:
        return cells.label("No customer", "warning")
    return cells.label("Deleted", "warning") if hit.customer.deleted else "none"


def things_table(things: list[Thing]) -> Table:
    rows = [(address(thing), [thing.words]) for thing in things]
    return Table("Things that are nobody's", ["What was found"], rows, "")


def looked_table(looked: Looked) -> list[tuple[str, str]]:
    """What Stripe has, in words."""
    amount = cells.money(looked.amount, looked.currency)
    shown = [
        ("Kind", looked.kind.replace("_", " ").replace(".", " ").capitalize()),
        ("Id", looked.id),
        ("Customer", looked.customer_id),
        ("User", looked.user_id),
        ("Amount", "" if looked.amount is None else amount),
        ("Status", looked.status),
        ("Created", cells.time(looked.created) if looked.created else ""),
        ("Mode", "live" if looked.livemode else "test"),
    ]
    at_stripe = cells.dashboard_link(looked.id, livemode=looked.livemode)
    return [*((name, value) for name, value in shown if value), ("At Stripe", at_stripe)]


def bring_in(looked: Looked | None, user: User, back: str) -> dict[str, str]:
    """The button of the operation that brings it in; {} where there is none for this user."""
    if looked is None or looked.bring_in is None:
        return {}
    page = page_of(looked.bring_in)
    url = fix_url(page, looked.bring_in, back) if page.is_permitted(user) else ""
    return {"url": url, "title": page.title, "icon": page.icon}


def palette(request: HttpRequest, term: str) -> list[SearchResult]:
    """The command palette's results; its own `term` is in lower case, which no id survives."""
    if not request.user.has_perm("billing.view_billingcustomer"):
        return []
    typed = request.GET.get("s", term)
    found = search(typed)
    shown = [
        *(SearchResult(h.title, h.matched, address(h, found.kind), "person") for h in found.hits),
        *(SearchResult(t.words, "Nobody's", address(t), "category") for t in found.things),
    ]
    everything = f"{reverse('admin:billing_search')}?{urlencode({'q': typed})}"
    if found.is_empty and found.kind:
        return [SearchResult(f"Look {found.term} up at Stripe", "Not here", everything, "search")]
    more = [SearchResult("Show all that was found", "Search", everything, "search")]
    return shown[:MOST_IN_PALETTE] + (more if len(shown) > MOST_IN_PALETTE else [])
