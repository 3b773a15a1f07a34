"""An incident's files: its report to be printed or downloaded, and whom it touches as CSV.

They are for those who may export, and each leaves an audit event before its first line.
"""

import csv
from collections.abc import Iterator

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from billing.admin.cells import page_url
from billing.admin.export import cell
from billing.incidents.document import as_markdown, document
from billing.incidents.scope import Touched, all_touched
from billing.models import Incident
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.permissions import EXPORT, VIEW_INCIDENT
from billing.revenue.exporting import Echo

NAMES = {name: f"billing_incident_{name}" for name in ("report", "markdown", "customers")}
COLUMNS = (
    "user_id", "customer_id", "email", "no_access", "purchases", "ungranted", "amounts", "credits",
    "findings", "events",
)  # fmt: skip


def url(row: Incident, name: str) -> str:
    """The address of one of its files."""
    return reverse(f"admin:{NAMES[name]}", args=[row.pk])


def exported(request: HttpRequest, pk: int, what: str, kind: str) -> Incident:
    """The incident, once it is written down who takes what of it away."""
    if not (request.user.has_perm(VIEW_INCIDENT) and request.user.has_perm(EXPORT)):
        raise PermissionDenied
    row = get_object_or_404(Incident, pk=pk)
    record_export(Actor.of(request.user), f"incident {row.pk}: {what}", "", kind)
    return row


@require_GET
def report_view(request: HttpRequest, pk: int) -> HttpResponse:
    """The report as a page by itself, to be read, printed or saved."""
    row = exported(request, pk, "report", "html")
    context = {"document": document(row), "back": page_url(row)}
    return render(request, "admin/billing/incident_report.html", context)


@require_GET
def markdown_view(request: HttpRequest, pk: int) -> HttpResponse:
    row = exported(request, pk, "report", "md")
    return HttpResponse(
        as_markdown(document(row)),
        content_type="text/markdown; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="incident-{row.pk}.md"'},
    )


@require_GET
def csv_view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """All customers whom it touches, the gravest first. Money is in minor units by currency."""
    row = exported(request, pk, "customers", "csv")
    return StreamingHttpResponse(
        lines(all_touched(row)),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="incident-{row.pk}-customers.csv"'},
    )


def lines(found: Iterator[Touched]) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield str(writer.writerow(COLUMNS))
    for each in found:
        yield str(writer.writerow([cell(getattr(each, name)) for name in COLUMNS]))
