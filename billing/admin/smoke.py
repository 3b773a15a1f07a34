"""Smoke tests: whether the payment flows worked when they were tried, step by step."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from billing.admin import cells
from billing.admin.alerts import is_path
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choice_filter, since_filter
from billing.admin.related import Table
from billing.models import SmokeTest
from billing.smoke.trying import OVER_AFTER

COMMAND = "manage.py smoke"
EMPTY = (
    f"Nobody has tried the payment flows yet. On a server: {COMMAND}. With a live key it changes"
    " nothing."
)


@admin.register(SmokeTest)
class SmokeTestAdmin(ReadOnlyAdmin):
    list_display = ("what", "state", "mode_words", "failed_words", "actor_words", "created")
    list_filter = (
        choice_filter(
            "ok",
            "result",
            [
                ("yes", "All well", Q(ok=True)),
                ("no", "Failed", Q(ok=False)),
                ("open", "Not ended", Q(ok=None)),
            ],
        ),
        since_filter("started_at", "time"),
    )
    empty_text = EMPTY
    change_form_template = "admin/billing/checked.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "mode_words"),
                    ("created", "finished"),
                    ("watched", "actor_words"),
                )
            },
        ),
    )

    what = cells.column(str, "Test")
    mode_words = cells.text_column("mode", "Where")
    actor_words = cells.text_column("actor", "By")
    created = cells.time_column("started_at", "Started")
    finished = cells.time_column("finished_at", "Ended")
    watched = cells.time_column("watched_until", "Watched until")

    @display(description="Result")
    def state(self, row: SmokeTest) -> str:
        if row.finished_at is None:
            return cells.label("Not ended", "info")
        return cells.label("All well", "success") if row.ok else cells.label("Failed", "danger")

    @display(description="Failed at")
    def failed_words(self, row: SmokeTest) -> str:
        return cells.brief(", ".join(step["name"] for step in failed(row)))

    def headline(self, row: SmokeTest) -> tuple[str, str]:
        if row.finished_at is None:
            return "It is under way, or was killed: then the next one cleans up after it.", "info"
        if row.ok:
            return "Every step did what it must.", "success"
        first = next(iter(failed(row)), None)
        said = f"It failed at: {first['name']}. {first['detail']}" if first else "It failed."
        return said, "danger"

    def page_context(self, request: HttpRequest, row: SmokeTest) -> dict[str, Any]:
        running = row.finished_at is None and row.started_at > timezone.now() - OVER_AFTER
        done = f"Steps done: {len(row.steps):,}."
        return {"is_running": running, "progress": done, "checked": [steps_table(row)]}


def failed(row: SmokeTest) -> list[dict[str, Any]]:
    return [step for step in row.steps if not step["ok"]]


def steps_table(row: SmokeTest) -> Table:
    """Every step; one that failed leads to the page that shows it."""
    return Table(
        title="Steps",
        headers=["Step", "Result", "Took", "What was seen", "What to do"],
        rows=[(page_of(step), step_cells(step)) for step in row.steps],
        empty="None yet.",
    )


def page_of(step: dict[str, Any]) -> str:
    return str(step["page"]) if is_path(step["page"]) else ""


def step_cells(step: dict[str, Any]) -> list[str]:
    mark = cells.label("ok", "success") if step["ok"] else cells.label("failed", "danger")
    took = cells.no_wrap(f"{step['seconds']:,.1f} s")
    return [step["name"], mark, took, step["detail"], step["advice"] or cells.EMPTY]
