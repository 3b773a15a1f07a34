"""Assessments: whether the database was whole, check by check, and whom the damage touched."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join

from billing.admin import cells
from billing.admin.alerts import is_path
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url
from billing.admin.export import cell
from billing.admin.filters import choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.operations import RUN_ASSESSMENT
from billing.admin.related import Table
from billing.models import Assessment
from billing.operations.assessment import QUICK, WHOLE
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.permissions import EXPORT
from billing.revenue.exporting import Echo

TONES = {"ok": "success", "damaged": "danger", "unsure": "warning"}
GRAVER = {"damaged": 0, "unsure": 1, "ok": 2}
SHOWN = 100  # users; the file has all of them
GIVEN_UP = timedelta(hours=6)  # after which one that has not ended is not running


@admin.register(Assessment)
class AssessmentAdmin(ReadOnlyAdmin):
    list_display = ("what", "state", "damaged_words", "users_words", "actor_words", "created")
    list_filter = (
        choice_filter(
            "whole",
            "result",
            [
                ("yes", "Whole", Q(is_whole=True)),
                ("no", "Damaged, or not looked at", Q(is_whole=False)),
                ("open", "Not ended", Q(is_whole=None)),
            ],
        ),
        since_filter("started_at", "time"),
    )
    empty_text = "Nobody has looked whether the database is whole. Start one, or manage.py assess."
    list_before_template = "admin/billing/list_starts.html"  # type: ignore[assignment]  # a path
    change_form_template = "admin/billing/checked.html"
    not_exported = ("checks", "users")
    fieldsets = (
        (None, {"fields": (("state", "users_words"), ("created", "finished"), "actor_words")}),
    )

    what = cells.column(str, "Assessment")
    actor_words = cells.text_column("actor", "By")
    created = cells.time_column("started_at", "Started")
    finished = cells.time_column("finished_at", "Ended")

    @display(description="Result")
    def state(self, row: Assessment) -> str:
        if row.finished_at is None:
            return cells.label("Not ended", "info")
        if row.is_whole:
            return cells.label("Whole", "success")
        return (
            cells.label("Damaged", "danger") if damaged(row) else cells.label("Unsure", "warning")
        )

    @display(description="Damaged")
    def damaged_words(self, row: Assessment) -> str:
        return cells.brief(", ".join(each["name"] for each in damaged(row)))

    @display(description="Users touched")
    def users_words(self, row: Assessment) -> str:
        return f"{len(row.users):,}"

    def headline(self, row: Assessment) -> tuple[str, str]:
        if row.finished_at is None:
            return "It has not come to its end.", "info"
        if found := damaged(row):
            names = ", ".join(each["name"] for each in found)
            return f"The database is damaged: {names}. Each says below what to do.", "danger"
        unsure = sum(each["verdict"] == "unsure" for each in row.checks)
        if not row.is_whole:
            return "Nothing damaged was found, but not everything could be looked at.", "warning"
        but = f", as far as was looked: of {unsure:,} checks see below" if unsure else ""
        return f"The database is whole{but}.", "success"

    def buttons(self, row: Assessment, user: User) -> list[ShownOffer]:
        if not row.users or not user.has_perm(EXPORT):  # type: ignore[union-attr]
            return []
        url = reverse("admin:billing_assessment_users", args=[row.pk])
        return [ShownOffer("Users as CSV", "download", url, "")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        context = {"starts": starts(request.user), **(extra_context or {})}
        return super().changelist_view(request, context)

    def page_context(self, request: HttpRequest, row: Assessment) -> dict[str, Any]:
        running = row.finished_at is None and row.started_at > timezone.now() - GIVEN_UP
        tables = [checks_table(row), *([users_table(row)] if row.users else [])]
        return {
            "is_running": running,
            "progress": f"Checks done: {len(row.checks):,}.",
            "checked": tables,
        }

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(users_view)
        name = "billing_assessment_users"
        return [path("<int:pk>/users/", view, name=name), *super().get_urls()]


def damaged(row: Assessment) -> list[dict[str, Any]]:
    return [each for each in row.checks if each["verdict"] == "damaged"]


def starts(user: User) -> list[ShownOffer]:
    """The buttons above the list, for those who may look."""
    if not RUN_ASSESSMENT.is_permitted(user):
        return []
    back = changelist_url(Assessment)
    return [
        ShownOffer(
            title, RUN_ASSESSMENT.icon, RUN_ASSESSMENT.url({"target": extent, "back": back}), ""
        )
        for extent, title in ((WHOLE, "Assess the database"), (QUICK, "Assess it quickly"))
    ]


def checks_table(row: Assessment) -> Table:
    """Every check, what is damaged first; each leads to where it is."""
    return Table(
        title="Checks",
        headers=["Check", "Verdict", "What was seen", "Such as", "What to do"],
        rows=[
            (each["page"] if is_path(each["page"]) else "", check_cells(each))
            for each in sorted(row.checks, key=lambda each: GRAVER.get(each["verdict"], 0))
        ],
        empty="None yet.",
    )


def check_cells(each: dict[str, Any]) -> list[str]:
    return [
        each["name"],
        cells.label(each["verdict"], TONES.get(each["verdict"], "")),
        each["detail"],
        examples(each["rows"]),
        each["advice"] or cells.EMPTY,
    ]


def examples(rows: list[dict[str, str]]) -> str:
    """The rows that are named, each linked to its page."""
    parts = [cells.link(r["page"], r["id"]) if is_path(r["page"]) else r["id"] for r in rows]
    return format_html_join(", ", "{}", ((part,) for part in parts)) or cells.EMPTY


def users_table(row: Assessment) -> Table:
    """Whom the damage touches, each linked to the customer's page."""
    more = f", the first {SHOWN} of {len(row.users):,}" if len(row.users) > SHOWN else ""
    return Table(
        title=f"Users touched{more}",
        headers=["User"],
        rows=[(cells.open_url(user=user), [user]) for user in row.users[:SHOWN]],
        empty="Nobody.",
    )


def users_view(request: HttpRequest, pk: int) -> HttpResponseBase:
    """All users whom the damage touches, as CSV, with the checks that name them."""
    row = get_object_or_404(Assessment, pk=pk)
    if not (request.user.has_perm("billing.view_assessment") and request.user.has_perm(EXPORT)):
        raise PermissionDenied
    record_export(Actor.of(request.user), "assessment users", f"assessment={pk}", "csv")
    return StreamingHttpResponse(
        user_lines(row),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="assessment-{pk}-users.csv"'},
    )


def user_lines(row: Assessment) -> Iterator[str]:
    named: dict[str, list[str]] = {}
    for each in damaged(row):
        for user in each["users"]:
            named.setdefault(user, []).append(each["name"])
    writer = csv.writer(Echo())
    yield str(writer.writerow(["user_id", "checks"]))
    for user in row.users:
        yield str(writer.writerow([cell(user), cell(", ".join(named.get(user, [])))]))
