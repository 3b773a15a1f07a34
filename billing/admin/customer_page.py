"""A customer's page: how they stand and what is wrong, with Stripe's word where it is asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from billing.admin import timeline
from billing.admin.cells import page_url
from billing.admin.findings import ShownFinding, shown
from billing.admin.forms import User
from billing.admin.scripts import script_links
from billing.diagnosis import checks
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Facts, Person
from billing.diagnosis.findings import Report
from billing.diagnosis.standing import money_of, standing_of
from billing.models import BillingCustomer


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A report as its section of the page shows it; `at` is when the checks were made, UTC."""

    report: Report
    findings: list[ShownFinding]
    at: datetime
    asked: bool
    ask_url: str
    fragment_url: str
    checks: int = len(checks.ALL)


def diagnose(row: BillingCustomer, user: User, *, ask_stripe: bool) -> tuple[Facts, Diagnosis]:
    """What is known of the customer and of the others of the same user, and what is wrong."""
    facts, report = examine(Person.of_customer(row), ask_stripe=ask_stripe)
    back = page_url(row)
    found = [shown(finding, user, back) for finding in report.findings]
    fragment = reverse("admin:billing_diagnosis", args=[row.pk])
    ask_url = f"{back}?ask=stripe"
    return facts, Diagnosis(report, found, facts.now, ask_stripe, ask_url, fragment)


def page_context(request: HttpRequest, row: Any) -> dict[str, Any]:
    """What the page shows besides the customer's own fields and tables.

    The row is given its `facts`, from which its fields and tables read.
    """
    asks = request.GET.get("ask") == "stripe"
    facts, diagnosis = diagnose(row, request.user, ask_stripe=asks)
    row.facts = facts
    return {
        "diagnosis": diagnosis,
        "balance_url": page_url(facts.credits) if facts.credits else "",
        "standing": standing_of(facts, money_of(facts)),
        "timeline": timeline.shown(facts, row, request),
        "complaints": script_links(row),
        "others": [
            (page_url(other), other.stripe_customer_id)
            for other in facts.customers
            if other.pk != row.pk
        ],
    }


def diagnosis_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Diagnosis and timeline anew, after Stripe was asked. Nothing is changed by it."""
    if not admin.site._registry[BillingCustomer].has_view_permission(request):
        raise PermissionDenied
    row = get_object_or_404(BillingCustomer, pk=pk)
    facts, diagnosis = diagnose(row, request.user, ask_stripe=True)
    context = {"diagnosis": diagnosis, "timeline": timeline.shown(facts, row, request)}
    return render(request, "admin/billing/asked.html", context)
