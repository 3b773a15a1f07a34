"""A person's timeline on the customer's page: filtered by links, older pages in place."""

from dataclasses import dataclass
from datetime import UTC
from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from billing.admin.cells import label, page_url
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Facts, Person
from billing.diagnosis.timeline import Entry, Kind, Place, timeline
from billing.models import BillingCustomer


@dataclass(frozen=True, slots=True)
class ShownTimeline:
    """A page of it: the kinds to choose from, its entries, what is older.

    The addresses are those of the whole page; `fragment` is where console.js gets a part.
    """

    filters: list[tuple[str, str, bool]]  # words, query, whether it is chosen
    entries: list["ShownEntry"]
    older: str
    fragment: str


class ShownEntry(NamedTuple):
    """An entry as the template takes it apart: `at` in ISO form, `words` in UTC, `url` of its row
    or ''."""

    at: str
    words: str
    label: SafeString
    url: str
    title: str
    detail: str


def shown(facts: Facts, row: BillingCustomer, request: HttpRequest) -> ShownTimeline:
    """The page that the address asks for (`kind`, `before`); anything else is the first one."""
    chosen = request.GET.get("kind", "")
    kind = chosen if chosen in Kind.values else ""
    before = Place.read(request.GET.get("before", ""))
    page = timeline(facts, kinds=[kind] if kind else (), before=before)
    choices = [("", "Everything"), *Kind.choices]
    asked: dict[str, str] = {Kind.DELIVERY: "stripe"}  # which alone knows what it sent in vain
    return ShownTimeline(
        [
            (str(words), query(kind=value, ask=asked.get(value, "")), value == kind)
            for value, words in choices
        ],
        [_entry(entry) for entry in page.entries],
        query(kind=kind, before=str(page.older), ask=asked.get(kind, "")) if page.older else "",
        reverse("admin:billing_timeline", args=[row.pk]),
    )


def query(**parts: str) -> str:
    return "?" + urlencode({name: value for name, value in parts.items() if value})


def _entry(entry: Entry) -> ShownEntry:
    at = entry.place.at.astimezone(UTC)
    return ShownEntry(
        at.isoformat(),
        f"{at:%Y-%m-%d %H:%M:%S}",
        label(entry.kind, entry.tone),
        page_url(entry.model(pk=entry.place.id)) if entry.model else "",
        entry.title,
        entry.detail,
    )


@require_GET
def timeline_view(request: HttpRequest, pk: int) -> HttpResponse:
    """The section alone. With `ask=stripe`, with what Stripe sent in vain, too."""
    if not admin.site._registry[BillingCustomer].has_view_permission(request):
        raise PermissionDenied
    row = get_object_or_404(BillingCustomer, pk=pk)
    facts, _ = examine(Person.of_customer(row), ask_stripe=request.GET.get("ask") == "stripe")
    return render(request, "admin/billing/timeline.html", {"timeline": shown(facts, row, request)})
