"""Bulk jobs: started from a selection, watched, stopped, resumed, and had as a file."""

import csv
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from billing import tasks
from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.export import CHUNK, cell
from billing.admin.filters import choices_filter, since_filter
from billing.admin.forms import OperationForm
from billing.admin.operations import PAGES, OperationPage, why
from billing.database import directly
from billing.gateway.client import GatewayError
from billing.models import BulkItem, BulkJob
from billing.operations import bulk
from billing.operations.base import Actor, OperationError
from billing.operations.registry import ALL
from billing.revenue.exporting import Echo

TITLES = {operation.name: operation.title for operation in ALL}
SHOWN = 50  # items of a job's page
PREVIEWED = 3  # items whose plans a draft shows


@admin.register(BulkJob)
class BulkJobAdmin(ReadOnlyAdmin):
    list_display = ("what", "state", "how_far", "actor_words", "reason_brief", "created")
    list_filter = (
        choices_filter("status", BulkJob.Status.choices),
        since_filter("created_at", "time"),
    )
    empty_text = "Select more than a page of rows in a list, and run an action on them."

    state = cells.status_column()
    actor_words = cells.text_column("actor", "By")
    reason_brief = cells.brief_column("reason", "Reason")
    created = cells.time_column("created_at", "Created")

    @display(description="What")
    def what(self, row: BulkJob) -> str:
        return TITLES.get(row.name, row.name)

    @display(description="Done")
    def how_far(self, row: Any) -> str:
        return f"{row.total - row.waiting:,} of {row.total:,}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the numbers of each job's items, all and those that wait."""
        rows: QuerySet[Any] = super().get_queryset(request)
        counted: QuerySet[Any] = rows.annotate(
            total=items_of(), waiting=items_of(status=BulkItem.Status.WAITING)
        )
        return counted

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/results/", view(results_view), name="billing_bulk_results"),
            path("<int:pk>/change/", view(job_view), name="billing_bulkjob_change"),
            *super().get_urls(),
        ]


def items_of(**conditions: str) -> Coalesce:
    """How many such items a job of a query has."""
    found = BulkItem.objects.filter(job=OuterRef("pk"), **conditions).order_by()
    return Coalesce(Subquery(found.values("job").annotate(n=Count("id")).values("n")), 0)


@require_http_methods(["GET", "POST"])
def job_view(request: HttpRequest, pk: int) -> HttpResponse:
    """A draft to be started, or how far a job is. POST starts, stops or resumes it."""
    job = get_object_or_404(BulkJob, pk=pk)
    if not request.user.has_perm("billing.view_bulkjob"):
        raise PermissionDenied
    page = page_of(job)
    if request.method == "POST":
        if not page.is_permitted(request.user):
            raise PermissionDenied
        if "_stop" in request.POST:
            bulk.stop(job)
        elif "_resume" in request.POST:
            bulk.resume(job)
            tasks.wake_bulk_job(job.pk)
        elif job.status == BulkJob.Status.DRAFT:
            return start(request, job, page)
        return redirect(job_url(job))
    if job.status == BulkJob.Status.DRAFT:
        answers = {"target": first_of(job), **job.answers}
        return show_draft(request, job, page, page.form.asking(as_query(answers)))
    return show_progress(request, job, page)


def start(request: HttpRequest, job: BulkJob, page: OperationPage) -> HttpResponse:
    """Checks the answers and has the worker carry out the job; the draft again where wrong."""
    answers = request.POST.copy()
    answers["target"] = first_of(job)
    form = page.form.answered(answers, need_reason=True)
    if not form.is_valid():
        return show_draft(request, job, page, form)
    try:
        bulk.start(
            job,
            answers=form.arguments(),
            actor=Actor.of(request.user),
            reason=form.cleaned_data["reason"],
            reason_code=form.cleaned_data["reason_code"],
            ticket=form.cleaned_data["ticket"],
        )
    except OperationError as error:
        messages.error(request, str(error))
        return show_draft(request, job, page, form)
    tasks.wake_bulk_job(job.pk)
    return redirect(job_url(job))


@require_GET
def results_view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What became of every target, as CSV."""
    job = get_object_or_404(BulkJob, pk=pk)
    if not request.user.has_perm("billing.view_bulkjob"):
        raise PermissionDenied
    return StreamingHttpResponse(
        result_lines(job),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="bulk-job-{job.pk}.csv"'},
    )


def result_lines(job: BulkJob) -> Iterator[str]:
    writer = csv.writer(Echo())
    names = ("target", "status", "said", "finished_at")
    yield str(writer.writerow(names))
    items = job.items.order_by("id").values_list(*names)
    for row in directly(items).iterator(chunk_size=CHUNK):
        yield str(writer.writerow([cell(value) for value in row]))


def show_draft(
    request: HttpRequest, job: BulkJob, page: OperationPage, form: OperationForm
) -> HttpResponse:
    """What would happen to the first targets, and the form that starts it for all."""
    del form.fields["target"]
    wrong = {name: list(map(str, errors)) for name, errors in form.errors.items()}
    more = {
        "form": form,
        "why": why(form, wrong),
        "own_fields": [form[name] for name in own_fields(page)],
        "previews": previews(request, job, page, form),
    }
    return show(request, job, page, "bulk_draft", more)


def own_fields(page: OperationPage) -> list[str]:
    """What the operation asks for besides its target and the reasons."""
    return [name for name in page.form.base_fields if name not in OperationForm.base_fields]


def previews(
    request: HttpRequest, job: BulkJob, page: OperationPage, form: OperationForm
) -> list[tuple[str, Any, str]]:
    """The first targets, each with its plan or why it has none, where the answers allow."""
    if own_fields(page) and not (form.is_bound and form.is_valid()) and not job.answers:
        return []
    arguments = form.arguments() if form.is_bound and form.is_valid() else job.answers
    found: list[tuple[str, Any, str]] = []
    for target in job.items.order_by("id").values_list("target", flat=True)[:PREVIEWED]:
        try:
            plan = page.operation.on(
                target, **arguments, actor=Actor.of(request.user), reason=""
            ).plan()
            found.append((target, plan, plan.blocked))
        except (OperationError, GatewayError) as error:
            found.append((target, None, str(error)))
    return found


def show_progress(request: HttpRequest, job: BulkJob, page: OperationPage) -> HttpResponse:
    """How many are done, and what became of each."""
    counts = bulk.progress(job)
    finished = counts["total"] - counts[BulkItem.Status.WAITING]
    chosen = request.GET.get("status", "")
    items = job.items.order_by("-finished_at", "id")
    if chosen in BulkItem.Status.values:
        items = items.filter(status=chosen)
    more = {
        "counts": [(value, words, counts[value]) for value, words in BulkItem.Status.choices],
        "finished": finished,
        "total": counts["total"],
        "percent": 100 * finished // max(counts["total"], 1),
        "items": Paginator(items, SHOWN).get_page(request.GET.get("p")),
        "chosen": chosen,
        "is_running": job.status == BulkJob.Status.RUNNING,
        "is_stopped": job.status == BulkJob.Status.STOPPED,
        "incident_url": cells.page_url(job.incident) if job.incident else "",
    }
    return show(request, job, page, "bulk_progress", more)


def show(
    request: HttpRequest, job: BulkJob, page: OperationPage, name: str, more: dict[str, Any]
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": f"{page.title}: {job.items.count():,} at once",
        "job": job,
        "page": page,
        "may_act": page.is_permitted(request.user),
        "results_url": reverse("admin:billing_bulk_results", args=[job.pk]),
        **more,
    }
    return TemplateResponse(request, f"admin/billing/{name}.html", context)


def job_url(job: BulkJob) -> str:
    return reverse("admin:billing_bulkjob_change", args=[job.pk])


def as_query(answers: Mapping[str, Any]) -> QueryDict:
    """Answers as a form takes them."""
    query = QueryDict(mutable=True)
    query.update({name: str(value) for name, value in answers.items() if value is not None})
    return query


def page_of(job: BulkJob) -> OperationPage:
    """The admin's page of a job's operation. 404 for an operation that is no more."""
    for page in PAGES.values():
        if page.operation.name == job.name:
            return page
    raise Http404(f"There is no operation “{job.name}” any more.")


def first_of(job: BulkJob) -> str:
    return job.items.order_by("id").values_list("target", flat=True)[0]
