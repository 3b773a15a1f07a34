"""Views of reports that are saved by name, for everybody who sees finance."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing.admin.finance.pages import asked_of, permitted
from billing.admin.finance.rendering import with_query
from billing.models import SavedView
from billing.operations.base import Actor, OperationError
from billing.operations.finance import remove_view, save_view
from billing.revenue.asked import InvalidReportError


@require_POST
def save(request: HttpRequest, name: str) -> HttpResponse:
    """Saves the view that the form's filters ask for, and shows it."""
    report = permitted(request, name)
    try:
        query = asked_of(report, request.POST).params()
        made = save_view(
            Actor.of(request.user),
            request.POST.get("view_name", ""),
            name,
            with_query("", query).removeprefix("?"),
        )
    except (InvalidReportError, OperationError) as error:
        messages.error(request, str(error))
        return redirect(reverse("admin_finance:report", args=[name]))
    messages.success(request, f"The view “{made.name}” is saved: everybody finds it here.")
    return redirect(with_query(reverse("admin_finance:report", args=[name]), query))


@require_POST
def remove(request: HttpRequest, name: str) -> HttpResponse:
    """Removes a saved view."""
    permitted(request, name)
    given = request.POST.get("view", "")
    view = get_object_or_404(SavedView, report=name, pk=int(given) if given.isdecimal() else 0)
    try:
        remove_view(Actor.of(request.user), view)
    except OperationError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The view “{view.name}” is removed.")
    return redirect(reverse("admin_finance:report", args=[name]))
