"""Decisions about an operation that stands: approving a request, undoing what was done.

Each has a page that shows what would happen now, and asks for a word on it. GET changes
nothing; POST decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from billing.admin.cells import page_url
from billing.admin.forms import ReasonCodeField
from billing.gateway.client import GatewayError
from billing.models import OperationRecord
from billing.operations import approvals
from billing.operations.base import (
    Actor,
    AnyOperation,
    NotPermittedError,
    OperationError,
    Plan,
    PlanChangedError,
)
from billing.operations.registry import named, undo
from billing.permissions import APPROVE

VIEW = "billing.view_operationrecord"


@dataclass(slots=True)
class Situation:
    """What a page shows: the plan as it is now, and why nothing can be done, if so."""

    plan: Plan | None = None
    obstacle: str = ""


@require_http_methods(["GET", "POST"])
def approval_view(request: HttpRequest, pk: int) -> HttpResponse:
    """A request: what it would do, who asks and why; approve or reject it with a word."""
    record = found(request, pk)
    actor = Actor.of(request.user)
    refusal = ""
    if request.method == "POST":
        try:
            return decide(request, record, actor)
        except (OperationError, GatewayError) as error:
            refusal = str(error)
    own = record.actor == actor.name
    situation = look(lambda: approvals.current_plan(record))
    context = {
        "record": record,
        "operation": named(record.name),
        "situation": situation,
        "refusal": refusal,
        "is_open": record.status == OperationRecord.Status.REQUESTED,
        "may_approve": actor.may(APPROVE) and not own,
        "may_reject": actor.may(APPROVE) or own,
        "own": own,
        "words": request.POST.get("words", ""),
        "back": reverse("admin:billing_operationrecord_changelist") + "?status=requested",
    }
    return show(request, "approval", f"Approval: {named(record.name).title}", context)


def decide(request: HttpRequest, record: OperationRecord, actor: Actor) -> HttpResponse:
    """Raises OperationError with a sentence for people."""
    words = request.POST.get("words", "")
    if "_reject" in request.POST:
        approvals.reject(record, actor=actor, words=words)
        messages.success(request, "Rejected. Nothing was done.")
    else:
        result = approvals.approve(
            record, actor=actor, words=words, seen=request.POST.get("seen", "")
        )
        messages.success(request, f"Approved and done. {result.summary}")
        for warning in result.warnings:
            messages.warning(request, warning)
    return redirect(page_url(record))


@require_http_methods(["GET", "POST"])
def undo_view(request: HttpRequest, pk: int) -> HttpResponse:
    """What taking an operation back would do, and the form that does it."""
    record = found(request, pk)
    actor = Actor.of(request.user)
    answers = request.POST

    def operation() -> AnyOperation:
        return undo(
            record,
            actor=actor,
            reason=answers.get("reason", ""),
            reason_code=answers.get("reason_code", ""),
            ticket=answers.get("ticket", ""),
            key=f"undo-{record.key}",
        )

    refusal = ""
    if request.method == "POST":
        try:
            result = operation().apply(seen=answers.get("seen", ""))
        except (OperationError, GatewayError) as error:
            refusal = str(error)
        else:
            waits = " It waits for another person's approval." if result.requested else ""
            messages.success(request, f"{result.summary}{waits}")
            return redirect(page_url(record))
    context = {
        "record": record,
        "operation": named(record.name),
        "situation": look(lambda: permitted(operation()).plan()),
        "refusal": refusal,
        "reasons": ReasonCodeField().choices,
        "answers": {name: answers.get(name, "") for name in ("reason", "reason_code", "ticket")},
        "back": page_url(record),
    }
    return show(request, "undo", f"Undo: {named(record.name).title}", context)


def permitted(operation: AnyOperation) -> AnyOperation:
    """The operation, if its actor may do it. Raises NotPermittedError."""
    if not operation.actor.may(operation.permission):
        raise NotPermittedError(
            f"You may not do this: it needs the permission “{operation.permission}”."
        )
    return operation


def found(request: HttpRequest, pk: int) -> OperationRecord:
    """The record; 403 for those who may not see it, 404 where there is none."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    return get_object_or_404(OperationRecord, pk=pk)


def look(plan: Callable[[], Plan]) -> Situation:
    """The plan as it is now, or why there is none."""
    try:
        made = plan()
    except PlanChangedError as changed:
        return Situation(changed.plan)
    except (OperationError, GatewayError) as error:
        return Situation(obstacle=str(error))
    return Situation(made, made.blocked)


def show(request: HttpRequest, name: str, title: str, more: dict[str, Any]) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": title, **more}
    return TemplateResponse(request, f"admin/billing/{name}.html", context)
