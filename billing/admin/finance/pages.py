"""The pages of finance: any report, the rows behind a figure of it, and their files."""

import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.admin.finance import rendering
from billing.admin.finance.acting import acts_of
from billing.admin.finance.rendering import with_query
from billing.database import adding_up
from billing.formatting import format_time
from billing.models import SavedView
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.permissions import EXPORT, VIEW_FINANCE
from billing.revenue import exporting
from billing.revenue.asked import Asked, InvalidReportError, checked_text
from billing.revenue.days import ONE_DAY
from billing.revenue.exporting import About
from billing.revenue.notices import notices
from billing.revenue.periods import By
from billing.revenue.report import Drill, Report, Table
from billing.revenue.reports import BY_NAME

PAGE = 200  # rows behind a figure, on one page
KINDS = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
COMPARED = {"previous": "period", "year": "year"}
COMMON = ("from", "to", "timezone", "by", "currency", "against", "reporting")


@require_GET
@adding_up()
def report_view(request: HttpRequest, name: str) -> HttpResponse:
    """A report's tables and charts, for those who may see finance."""
    report = permitted(request, name)
    context = page_context(request, report)
    try:
        asked = asked_of(report, request.GET)
        view = report.view(asked)
    except InvalidReportError as error:
        context["error"] = str(error)
        return TemplateResponse(request, "admin/billing/finance.html", context, status=400)
    query = asked.params()
    address = rows_address(name, query)
    context |= {
        "asked": asked,
        "filter_words": filter_words(report, asked),
        "notices": notices(report, asked, timezone.now()),
        "tables": [
            (
                rendering.shown(table, address, acts_of(table, request.user)),
                file_urls(request, report, {**query, "table": table.name}),
            )
            for table in view.tables
        ],
        "notes": view.notes,
        "files": file_urls(request, report, query),
        "query": with_query("", query).removeprefix("?"),
    }
    return TemplateResponse(request, "admin/billing/finance.html", context)


@require_GET
@adding_up()
def rows_view(request: HttpRequest, name: str) -> HttpResponse:
    """The rows behind a figure, page by page."""
    report = permitted(request, name)
    context = page_context(request, report)
    try:
        asked = asked_of(report, request.GET)
        start = _start(request.GET.get("after", ""))
        table = report.behind(asked, drill_of(request.GET.dict()))
    except InvalidReportError as error:
        context["error"] = str(error)
        return TemplateResponse(request, "admin/billing/finance_rows.html", context, status=400)
    here = {k: v for k, v in request.GET.dict().items() if k != "after"}
    path = request.path
    shown = rendering.page(
        table,
        start,
        PAGE,
        lambda n: with_query(path, {**here, "after": str(n)}),
        acts_of(table, request.user),
        rows_address(name, asked.params()),
    )
    context |= {
        "asked": asked,
        "filter_words": filter_words(report, asked),
        "notices": notices(report, asked, timezone.now()),
        "shown": shown,
        "start": start,
        "title": f"{report.title}: {table.title}",
        "back": with_query(reverse("admin_finance:report", args=[name]), asked.params()),
        "files": file_urls(request, report, {**here, "table": "behind"}),
    }
    return TemplateResponse(request, "admin/billing/finance_rows.html", context)


@require_GET
def export_view(request: HttpRequest, name: str, kind: str) -> HttpResponseBase:
    """A table of a report, all of them (a workbook only), or the rows behind a figure, as a file.

    For those who may export; each file leaves an audit event before its first row.
    """
    report = permitted(request, name)
    if not request.user.has_perm(EXPORT):
        raise PermissionDenied
    try:
        asked = asked_of(report, request.GET)
        tables = exported(report, asked, request.GET.dict())
    except InvalidReportError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    if kind not in KINDS or (kind == "csv" and len(tables) != 1):
        raise Http404
    record_export(
        Actor.of(request.user), f"{name}: {tables[0].title}", request.GET.urlencode(), kind
    )
    about = about_of(report, asked, request)
    filename = f"{name}-{asked.first}-{asked.last}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    if kind == "csv":
        lines = exporting.csv_lines(tables[0], about)
        return StreamingHttpResponse(lines, content_type=KINDS[kind], headers=headers)
    file = tempfile.NamedTemporaryFile(suffix=".xlsx")  # noqa: SIM115  (the response closes it)
    exporting.write_workbook(Path(file.name), tables, about)
    return FileResponse(file, content_type=KINDS[kind], headers=headers)


def rows_address(name: str, query: Mapping[str, str]) -> rendering.Address:
    """Where the rows behind a figure of a report are, which was asked for so."""
    path = reverse("admin_finance:rows", args=[name])
    return lambda drill: with_query(path, {**query, **drill})


def permitted(request: HttpRequest, name: str) -> Report:
    """The report of that name, for those who may see finance."""
    if not request.user.has_perm(VIEW_FINANCE):
        raise PermissionDenied
    if name not in BY_NAME:
        raise Http404
    return BY_NAME[name]


def asked_of(report: Report, given: Mapping[str, str]) -> Asked:
    """What an address asks a report for. Raises InvalidReportError."""
    names = [each.name for each in report.filters]
    said = {"by": report.by, **{key: value for key, value in given.items() if value}}
    return Asked.of(said, names=names, zone=settings.REPORT_TIME_ZONE, now=timezone.now())


def drill_of(given: Mapping[str, str]) -> Drill:
    """Which rows an address asks for. Raises InvalidReportError for texts that none can have."""
    return {
        key: checked_text(value) for key, value in given.items() if key not in ("after", "table")
    }


def exported(report: Report, asked: Asked, given: Mapping[str, str]) -> list[Table]:
    """The tables that go into a file. Raises InvalidReportError."""
    wanted = given.get("table", "")
    if wanted == "behind":
        return [report.behind(asked, drill_of(given))]
    tables = [table for table in report.view(asked).tables if wanted in ("", table.name)]
    if not tables:
        raise InvalidReportError("There is no such table.")
    return tables


def about_of(report: Report, asked: Asked, request: HttpRequest) -> About:
    """What a file says of itself: its days, its filters, when and for whom it was made."""
    filters = {key: value for key, value in request.GET.dict().items() if value and key != "table"}
    facts = [
        ("About", report.about),
        ("Days", asked.words),
        *[(f"Filter: {key}", value) for key, value in sorted(filters.items())],
        *[("Note", notice.words) for notice in notices(report, asked, timezone.now())],
        ("Made", f"{format_time(datetime.now(UTC))} by {request.user.get_username()}"),
    ]
    return About(report.title, facts)


def file_urls(request: HttpRequest, report: Report, query: dict[str, str]) -> list[tuple[str, str]]:
    """The files of what is shown (words, address); none for those who may not export."""
    if not request.user.has_perm(EXPORT):
        return []
    kinds = ("csv", "xlsx") if "table" in query else ("xlsx",)
    return [
        (kind.upper(), with_query(reverse("admin_finance:export", args=[report.name, kind]), query))
        for kind in kinds
    ]


def page_context(request: HttpRequest, report: Report) -> dict[str, Any]:
    """What the report's pages show besides its tables."""
    given = request.GET
    return {
        **admin.site.each_context(request),
        "title": report.title,
        "report": report,
        "filters": list(_filters(report, given)),
        "given": {key: given.get(key, "") for key in COMMON} | {"by": given.get("by") or report.by},
        "spans": _spans(report, given),
        "bys": get_args(By),
        "views": SavedView.objects.filter(report=report.name),
        "may_remove_any": request.user.has_perm(EXPORT),
        "zone": given.get("timezone") or settings.REPORT_TIME_ZONE,
    }


def filter_words(report: Report, asked: Asked) -> str:
    """What a report shows a part of, or shows besides, for a page that is printed."""
    words = [asked.currency.upper()]
    if report.compares and asked.against:
        words.append(f"compared with the {COMPARED[asked.against]} before")
    if report.converts and asked.reporting:
        words.append(f"also in {asked.reporting.upper()}")
    for each in report.filters:
        if value := asked.more.get(each.name):
            chosen = dict(each.choices()).get(value, value) if each.choices else value
            words.append(f"{each.title.lower()}: {chosen}")
    return ", ".join(filter(None, words))


def _filters(report: Report, given: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for each in report.filters:
        yield {
            "name": each.name,
            "title": each.title,
            "choices": each.choices() if each.choices else None,
            "value": given.get(each.name, ""),
        }


def _spans(report: Report, given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Days that are asked for most, as addresses that keep the other filters."""
    today = datetime.now(ZoneInfo(settings.REPORT_TIME_ZONE)).date()
    month = today.replace(day=1)
    last_month = (month - ONE_DAY).replace(day=1)
    year_ago = (month - timedelta(days=330)).replace(day=1)
    spans: list[tuple[str, date, date, str]] = [
        ("This month", month, today, "day"),
        ("Last month", last_month, month - ONE_DAY, "day"),
        ("The past 12 months", year_ago, today, "month"),
        ("This year", today.replace(month=1, day=1), today, "month"),
    ]
    kept = {key: value for key, value in given.items() if value and key not in ("from", "to", "by")}
    path = reverse("admin_finance:report", args=[report.name])
    return [
        (words, with_query(path, kept | {"from": str(first), "to": str(last), "by": by}))
        for words, first, last, by in spans
    ]


def _start(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InvalidReportError("“after” is the number of a row.")
    return int(text)
