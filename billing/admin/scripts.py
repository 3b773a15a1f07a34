"""The support scripts as pages: what a customer says, looked into step by step."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from billing.admin.cells import open_url, page_url
from billing.admin.findings import shown
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Person
from billing.diagnosis.findings import Evidence
from billing.diagnosis.replies import reply, was_mended
from billing.diagnosis.runbook import BY_SLUG, SCRIPTS
from billing.diagnosis.scripts import State, Step, follow
from billing.models import BillingCustomer

MARKS = {
    State.FINE: ("check_circle", "Fine", "text-green-700 dark:text-green-400"),
    State.FOUND: ("error", "Found something", "text-red-700 dark:text-red-500"),
    State.UNKNOWN: ("help", "Could not be checked", "text-orange-700 dark:text-orange-400"),
}


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step with its mark, and the address of what each piece of evidence names, or ''."""

    step: Step
    icon: str
    mark: str
    tone: str
    evidence: list[tuple[Evidence, str]]

    @classmethod
    def of(cls, step: Step) -> "ShownStep":
        links = [(item, open_url(id=item.id) if item.id else "") for item in step.outcome.evidence]
        return cls(step, *MARKS[step.outcome.state], links)


def script_links(row: BillingCustomer) -> list[tuple[str, str]]:
    """The address and the complaint of each script, for a customer's page."""
    return [(script_url(row, script.slug), script.complaint) for script in SCRIPTS]


def script_url(row: BillingCustomer, slug: str) -> str:
    return reverse("admin:billing_script", args=[row.pk, slug])


@require_safe
def script_view(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    """The script, after Stripe was asked. Nothing is changed by it."""
    if not admin.site._registry[BillingCustomer].has_view_permission(request):
        raise PermissionDenied
    if slug not in BY_SLUG:
        raise Http404
    row = get_object_or_404(BillingCustomer, pk=pk)
    return TemplateResponse(request, "admin/billing/script.html", context(request, row, slug))


def context(request: HttpRequest, row: BillingCustomer, slug: str) -> dict[str, Any]:
    """What the page shows."""
    script = BY_SLUG[slug]
    facts, report = examine(Person.of_customer(row), ask_stripe=True)
    followed = follow(script, facts, report)
    recommended, back = followed.recommended, script_url(row, slug)
    return {
        **admin.site.each_context(request),
        "title": f"“{script.complaint}”",
        "whose": row.email or row.name or row.stripe_customer_id,
        "customer_url": page_url(row),
        "report": report,
        "steps": [ShownStep.of(step) for step in followed.steps],
        "found": shown(recommended, request.user, back) if recommended else None,
        "well": followed.well,
        "others": followed.others,
        "reply": reply(followed, mended=was_mended(facts)),
        "again_url": back,
        "other_scripts": [link for link in script_links(row) if link[0] != back],
    }
