"""One's own sessions and log-ins; for administrators everybody's log-ins, and who may do what."""

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_http_methods

from billing.access import history, sessions
from billing.access.rights import Rights, rights
from billing.admin.access.browsers import browser
from billing.admin.related import Table
from billing.formatting import format_time
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.permissions import EXPORT, VIEW_ACCESS
from billing.revenue.exporting import Echo, safe

A_PAGE = 50  # log-ins
MAX_NAME = 150  # characters


@require_http_methods(["GET", "POST"])
def sessions_view(request: HttpRequest) -> HttpResponse:
    """One's own sessions; POST ends one of them, or all the others."""
    rows = sessions.open_ones(request.user)
    own = str(request.session.session_key)
    if request.method == "POST":
        number = request.POST.get("session", "")
        chosen = rows.exclude(session_key=own)
        if number != "others":
            chosen = chosen.filter(pk=int(number)) if number.isdecimal() else chosen.none()
        ended = sessions.end(chosen)
        messages.success(request, f"Ended: {ended}. Whoever used it has to log in again.")
        return redirect("access_sessions")
    shown = [(row, browser(row.user_agent), row.session_key == own) for row in rows]
    return show(request, "sessions", "My sessions", {"sessions": shown})


@require_GET
def history_view(request: HttpRequest) -> HttpResponse:
    """One's own log-ins, and what failed under one's name."""
    return show_history(request, request.user.get_username(), "My log-ins")


@require_GET
def log_ins_view(request: HttpRequest) -> HttpResponse:
    """Everybody's, or one account's."""
    require(request, VIEW_ACCESS)
    name = request.GET.get("user", "").replace("\x00", "")[:MAX_NAME]
    return show_history(request, name or None, "Log-ins")


def show_history(request: HttpRequest, username: str | None, title: str) -> HttpResponse:
    """A page of the history: one row more than is shown says whether there is a next one."""
    number = request.GET.get("page", "1")
    page = max(int(number), 1) if number.isdecimal() and len(number) < 6 else 1
    first = (page - 1) * A_PAGE
    found = list(history.entries(username)[first : first + A_PAGE + 1])
    table = Table(
        title=title,
        headers=["Time", "Account", "What", "From", "Browser"],
        rows=[("", entry(row)) for row in found[:A_PAGE]],
        empty="Nothing yet.",
    )
    more = {
        "table": table,
        "earlier": at_page(request, page + 1) if len(found) > A_PAGE else "",
        "later": at_page(request, page - 1) if page > 1 else "",
        "of": username or "",
        "days": history.KEPT.days,
    }
    return show(request, "history", title, more)


def at_page(request: HttpRequest, page: int) -> str:
    """The same list's address at another page."""
    query = request.GET.copy()
    query["page"] = str(page)
    return f"?{query.urlencode()}"


def entry(row: dict[str, Any]) -> list[str]:
    return [
        format_time(row["attempt_time"]),
        row["username"] or "–",
        row["what"],
        row["ip_address"] or "–",
        browser(row["user_agent"]),
    ]


@require_GET
def rights_view(request: HttpRequest) -> HttpResponseBase:
    """Roles by permissions, and who has which role: as a page to be printed, or as CSV."""
    require(request, VIEW_ACCESS)
    found = rights()
    if request.GET.get("file") == "csv":
        require(request, EXPORT)
        record_export(Actor.of(request.user), "rights", "", "csv")
        return StreamingHttpResponse(
            lines(found),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="rights.csv"'},
        )
    more = {
        "rights": found,
        "may_export": request.user.has_perm(EXPORT),
        "people_headers": ["Account", "Roles", "State", "Second factor", "Last log-in (UTC)"],
    }
    return show(request, "rights", "Rights", more)


def lines(found: Rights) -> Iterator[str]:
    """A line a permission, then a line a person."""
    writer = csv.writer(Echo())
    yield str(writer.writerow(["permission", "meaning", *map(safe, found.roles)]))
    for right in found.rights:
        yield str(writer.writerow([right.name, safe(right.words), *right.cells]))
    yield str(writer.writerow([]))
    header = ["account", "email", "active", "superuser", "roles", "besides", "second_factor"]
    yield str(writer.writerow([*header, "last_login"]))
    for person in found.people:
        user = person.user
        names = (person.roles, person.besides, person.factors)
        cells = [safe(user.username), safe(user.email), user.is_active, user.is_superuser]
        last = user.last_login.isoformat() if user.last_login else ""
        yield str(writer.writerow([*cells, *(safe(" ".join(each)) for each in names), last]))


def require(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def show(request: HttpRequest, name: str, title: str, more: dict[str, Any]) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": title, **more}
    return TemplateResponse(request, f"admin/billing/access/{name}.html", context)
