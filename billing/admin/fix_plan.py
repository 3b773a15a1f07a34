"""What the selected findings recommend, as one plan: grouped by operation, then a job for each."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from billing import tasks
from billing.admin.cells import page_url
from billing.admin.findings import page_of
from billing.admin.forms import OperationForm, User
from billing.admin.operations import FIX_FINDING, PLAN_SECONDS, why
from billing.diagnosis.findings import Fix
from billing.diagnosis.kinds import label_of
from billing.formatting import format_money
from billing.gateway.client import GatewayError
from billing.models import BulkJob, FindingRecord
from billing.operations import bulk
from billing.operations.base import Actor, OperationError, Plan
from billing.operations.fixing import FixFinding

MOST_GROUPS = 50  # as many as there are operations, and more
NAMED = 20  # findings without a fix that the page names; of more it says how many
SHOWN = 3  # plans of each group that the page shows


@dataclass(slots=True)
class Group:
    """The findings that one operation mends, what is at stake, and what their plans say.

    `looked_at` of the `count` were planned in the time that a page has; `approvals` of them
    need a second person, `obstacles` cannot be mended so, and why.
    """

    job: BulkJob
    title: str
    icon: str
    count: int
    stake: str
    refusal: str = ""
    looked_at: int = 0
    approvals: int = 0
    plans: list[tuple[FindingRecord, Plan]] = field(default_factory=list)
    obstacles: list[tuple[FindingRecord, str]] = field(default_factory=list)

    @property
    def is_draft(self) -> bool:
        return self.job.status == BulkJob.Status.DRAFT

    @property
    def url(self) -> str:
        return page_url(self.job)


def draft_and_show(
    model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    """Drafts a job for each operation that the findings recommend, and leads to their plan."""
    rows = list(queryset.only("pk", "state", "fix")[: bulk.MOST + 1])
    if len(rows) > bulk.MOST:
        most = f"That is too many at once: at most {bulk.MOST:,}. Select fewer rows."
        model_admin.message_user(request, most, messages.ERROR)
        return None
    groups, left = grouped(rows)
    if not groups:
        none = "No operation mends any of these: open them, and see."
        model_admin.message_user(request, none, messages.ERROR)
        return None
    actor = Actor.of(request.user)
    jobs = [bulk.draft(FixFinding, groups[name], answers={}, actor=actor) for name in groups]
    query = {"job": [job.pk for job in jobs], "left": left[:NAMED], "more": len(left[NAMED:])}
    return redirect(f"{reverse('admin:billing_fix_plan')}?{urlencode(query, doseq=True)}")


def grouped(rows: list[FindingRecord]) -> tuple[dict[str, list[str]], list[int]]:
    """The findings' numbers by the operation that mends them, and those that none does."""
    groups: dict[str, list[str]] = defaultdict(list)
    left = []
    for row in rows:
        if row.fix and row.state != FindingRecord.State.RESOLVED:
            groups[str(row.fix["operation"])].append(str(row.pk))
        else:
            left.append(row.pk)
    return dict(sorted(groups.items())), left


@require_http_methods(["GET", "POST"])
def fix_plan_view(request: HttpRequest) -> HttpResponse:
    """The plan of the whole selection. POST starts the jobs of all groups with one reason."""
    if not FIX_FINDING.is_permitted(request.user):
        raise PermissionDenied
    jobs = BulkJob.objects.filter(name=FixFinding.name, pk__in=chosen(request, "job"))
    groups = [group_of(job, request.user) for job in jobs.order_by("pk")[:MOST_GROUPS]]
    if not groups:
        raise Http404("These jobs are gone: select the findings again.")
    if request.method == "POST":
        return start(request, groups)
    return show(request, groups, form_of(request, groups))


def chosen(request: HttpRequest, name: str) -> list[int]:
    """Row numbers in the address; anything else there is left out."""
    texts = request.GET.getlist(name)
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]


def form_of(request: HttpRequest, groups: list[Group]) -> OperationForm:
    """The reasons, asked for once; the first finding stands for all."""
    answers = request.POST.copy()
    answers["target"] = first_of(groups[0].job)
    if request.method == "POST":
        return FIX_FINDING.form.answered(answers, need_reason=True)
    return FIX_FINDING.form.asking(answers)


def start(request: HttpRequest, groups: list[Group]) -> HttpResponse:
    """Has the worker carry out every group that the user may; the plan again where wrong."""
    form = form_of(request, groups)
    if not form.is_valid():
        return show(request, groups, form)
    reasons = {name: form.cleaned_data[name] for name in ("reason", "reason_code", "ticket")}
    for group in groups:
        if group.refusal or not group.is_draft:
            continue
        try:
            bulk.start(group.job, answers={}, actor=Actor.of(request.user), **reasons)
        except OperationError as error:
            messages.error(request, f"{group.title}: {error}")
            return show(request, groups, form)
        tasks.wake_bulk_job(group.job.pk)
    return redirect(request.get_full_path())


def group_of(job: BulkJob, user: User) -> Group:
    """A job's findings: what mends them, how many, and what is at stake."""
    numbers = [int(target) for target in job.items.values_list("target", flat=True)]
    rows = FindingRecord.objects.filter(pk__in=numbers)
    first = rows.exclude(fix=None).order_by("pk").first()
    if first is None or not first.fix:
        nothing = "none of them needs it any more."
        return Group(job, FIX_FINDING.title, FIX_FINDING.icon, len(numbers), "", nothing)
    page = page_of(Fix.read(first.fix))
    refusal = "" if page.is_permitted(user) else "your role may not."
    return Group(job, page.title, page.icon, len(numbers), stake_of(rows), refusal)


def stake_of(rows: QuerySet[FindingRecord]) -> str:
    """The amounts by currency and the credits, in words."""
    sums = rows.exclude(amount=None).order_by("currency").values_list("currency")
    amounts = [format_money(int(total), code) for code, total in sums.annotate(Sum("amount"))]
    credits_ = rows.aggregate(total=Sum("credits"))["total"]
    return ", ".join([*amounts, *([f"{credits_:,} credits"] if credits_ else [])])


def first_of(job: BulkJob) -> str:
    return str(job.items.order_by("id").values_list("target", flat=True)[0])


def look_at(group: Group, user: User, seconds: float) -> None:
    """Plans a group's findings, for so long at most."""
    until = time.monotonic() + seconds
    targets = group.job.items.order_by("id").values_list("target", flat=True)
    rows = FindingRecord.objects.in_bulk([int(target) for target in targets])
    for row in rows.values():
        if time.monotonic() >= until:
            return
        group.looked_at += 1
        try:
            plan = FixFinding(finding_id=row.pk, actor=Actor.of(user), reason="").plan()
        except (OperationError, GatewayError) as error:
            group.obstacles.append((row, str(error)))
            continue
        if plan.blocked:
            group.obstacles.append((row, plan.blocked))
        else:
            group.approvals += bool(plan.approval)
            group.plans.append((row, plan))


def show(request: HttpRequest, groups: list[Group], form: OperationForm) -> HttpResponse:
    drafts = [group for group in groups if group.is_draft and not group.refusal]
    for group in drafts:
        look_at(group, request.user, PLAN_SECONDS / len(drafts))
    wrong = {name: list(map(str, errors)) for name, errors in form.errors.items()}
    left = FindingRecord.objects.filter(pk__in=chosen(request, "left"))
    more = sum(chosen(request, "more"))
    context = {
        **admin.site.each_context(request),
        "title": "Fix findings",
        "groups": groups,
        "total": sum(group.count for group in groups),
        "may_start": bool(drafts),
        "key": form["key"],
        "why": why(form, wrong),
        "left": [(page_url(row), label_of(row.kind), row) for row in left[:NAMED]],
        "more": more,
        "shown": SHOWN,
        "back": reverse("admin:billing_findingrecord_changelist"),
    }
    return TemplateResponse(request, "admin/billing/fix_plan.html", context)
