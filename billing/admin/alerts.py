"""What the alerts' rules found: open and over, who was told, and the page that shows it."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.incident_forms import proposed_start
from billing.admin.offers import Offer, ShownOffer
from billing.admin.operations import OPEN_INCIDENT
from billing.alerts.rules import ALL, names
from billing.alerts.telling import lasted
from billing.formatting import format_time
from billing.models import Alert
from billing.operations.incidents import of_alert


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("title_words", "state", "detail_brief", "opened", "resolved", "told", "shows")
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("open", "Open", Q(resolved_at=None)),
                ("resolved", "Resolved", Q(resolved_at__isnull=False)),
            ],
        ),
        choice_filter(
            "severity",
            "severity",
            [
                ("danger", "Danger", Q(severity="danger")),
                ("warning", "Warning", Q(severity="warning")),
            ],
        ),
        choice_filter("rule", "rule", [(rule, rule, Q(rule=rule)) for rule in sorted(names(ALL))]),
        since_filter("opened_at", "time"),
    )
    list_before_template = "admin/billing/list_starts.html"  # type: ignore[assignment]  # a path
    search_fields = ("title",)
    search_help_text = "Words of the title or the detail"
    sortable_by = ("opened",)
    empty_text = (
        "No alert was ever opened. The worker looks every minute; manage.py check_alerts does now."
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "severity_words"),
                    "detail_words",
                    "shows",
                    ("opened", "resolved"),
                    ("seen", "rule_words"),
                    "incident_words",
                )
            },
        ),
        ("Who was told", {"fields": (("told", "over_told"), "delivery_error_words")}),
    )

    offers = (
        Offer(
            OPEN_INCIDENT,
            target=lambda row: row.title,
            answers=lambda row: {"alert": str(row.pk), "started_at": proposed_start()},
            refusal=lambda row: of_alert(row.pk),
            single=True,
        ),
    )

    title_words = cells.text_column("title", "What")
    severity_words = cells.text_column("severity", "Severity")
    detail_words = cells.paragraph_column("detail", "Detail")
    detail_brief = cells.brief_column("detail", "Detail")
    incident_words = cells.incident_column()
    opened = cells.time_column("opened_at", "Since")
    seen = cells.time_column("last_seen_at", "Last seen")
    resolved = cells.time_column("resolved_at", "Resolved")
    over_told = cells.time_column("over_told_at", "End told")
    delivery_error_words = cells.paragraph_column("delivery_error", "Why it could not be told yet")

    @display(description="State")
    def state(self, row: Alert) -> str:
        return cells.label("Resolved", "success") if row.resolved_at else open_label(row)

    @display(description="Told (UTC)")
    def told(self, row: Alert) -> str:
        if row.told_at is None and row.delivery_error:
            return cells.label("In vain", "warning")
        return cells.time(row.told_at)

    @display(description="Where")
    def shows(self, row: Alert) -> str:
        return cells.link(row.page, "Show it") if is_path(row.page) else cells.EMPTY

    @display(description="Rule")
    def rule_words(self, row: Alert) -> str:
        return f"{row.rule} ({row.key})" if row.key else row.rule

    def headline(self, row: Alert) -> tuple[str, str]:
        if row.resolved_at:
            return f"It is over: {row.title}. {lasted(row)}", "success"
        return f"{row.title}, since {format_time(row.opened_at)}.", row.severity

    def buttons(self, row: Alert, user: User) -> list[ShownOffer]:
        shows = [ShownOffer("Show it", "visibility", row.page, "")] if is_path(row.page) else []
        return [*shows, to_do()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().changelist_view(request, {"starts": [to_do()], **(extra_context or {})})

    def find(self, rows: QuerySet[Alert], term: str) -> QuerySet[Alert]:
        return rows.filter(Q(title__icontains=term) | Q(detail__icontains=term))


def to_do() -> ShownOffer:
    """Where it says what to do."""
    return ShownOffer("Emergencies", "emergency", reverse("admin:billing_emergencies"), "")


def open_label(row: Alert) -> str:
    """`Open`, in the colour of how bad it is."""
    return cells.label("Open", row.severity)


def is_path(page: str) -> bool:
    """Whether it leads to a page of ours, and nowhere else."""
    return page.startswith("/") and not page.startswith("//")
