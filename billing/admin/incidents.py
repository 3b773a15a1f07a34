"""Incidents: since when, who looks after them, how far they reach, and what is done about them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from billing.admin import cells, emergencies, incident_files
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url, page_url
from billing.admin.filters import choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.incident_tables import (
    happened_table,
    scope_section,
    told_table,
)
from billing.admin.offers import Offer, ShownOffer
from billing.admin.operations import (
    CLOSE_INCIDENT,
    HAND_OVER_INCIDENT,
    NOTE_INCIDENT,
    OPEN_INCIDENT,
    REPLAY_MISSED,
    START_RECONCILIATION,
    TELL_OF_INCIDENT,
)
from billing.formatting import format_age, format_time
from billing.incidents import timeline
from billing.models import Incident
from billing.operations.incidents import closed
from billing.operations.selection import MISSING
from billing.permissions import EXPORT

NOTHING_ELSE = "Nobody did anything else, nothing else was told of or compared in its time."


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = ("title_words", "state", "owner_words", "started", "ended", "opened_words")
    sortable_by = ("started", "ended")
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("open", "Open", Q(ended_at=None)),
                ("closed", "Closed", Q(ended_at__isnull=False)),
            ],
        ),
        since_filter("started_at", "time"),
    )
    search_fields = ("title",)
    search_help_text = "Words of the title or the closing report"
    empty_text = "There was no incident yet. Open one here, or from an alert."
    list_before_template = "admin/billing/list_starts.html"  # type: ignore[assignment]  # a path
    change_form_template = "admin/billing/incident.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "owner_words"),
                    ("started", "ended"),
                    ("opened", "opened_words"),
                    ("alert_words", "closed_words"),
                    "report_words",
                )
            },
        ),
    )
    offers = (
        Offer(NOTE_INCIDENT, target=lambda row: str(row.pk), single=True),
        Offer(TELL_OF_INCIDENT, target=lambda row: str(row.pk), single=True),
        Offer(
            HAND_OVER_INCIDENT,
            target=lambda row: str(row.pk),
            refusal=lambda row: "it is closed." if closed(row) else "",
        ),
        Offer(
            CLOSE_INCIDENT,
            target=lambda row: str(row.pk),
            refusal=lambda row: "it is closed, for good." if closed(row) else "",
            single=True,
        ),
    )
    title_words = cells.text_column("title", "What")
    owner_words = cells.text_column("owner", "Owner")
    started = cells.time_column("started_at", "Began")
    ended = cells.time_column("ended_at", "Ended")
    opened = cells.time_column("opened_at", "Opened")
    opened_words = cells.text_column("opened_by", "Opened by")
    closed_words = cells.text_column("closed_by", "Closed by")
    report_words = cells.paragraph_column("closing_report", "Closing report")

    @display(description="State")
    def state(self, row: Incident) -> str:
        return cells.label("Closed", "success") if row.ended_at else cells.label("Open", "warning")

    @display(description="Opened from")
    def alert_words(self, row: Incident) -> str:
        return cells.link(page_url(row.alert), row.alert.title) if row.alert else cells.EMPTY

    def headline(self, row: Incident) -> tuple[str, str]:
        if row.ended_at:
            return f"{row.title}. It is over since {format_time(row.ended_at)}.", "success"
        age = format_age(row.started_at, timezone.now())
        return f"{row.title}. It began {age}, and {row.owner} looks after it.", "warning"

    def find(self, rows: QuerySet[Incident], term: str) -> QuerySet[Incident]:
        return rows.filter(Q(title__icontains=term) | Q(closing_report__icontains=term))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        context = {"starts": starts(request.user), **(extra_context or {})}
        return super().changelist_view(request, context)

    def buttons(self, row: Incident, user: User) -> list[ShownOffer]:
        return [*remedies(row, user), *files(row, user)]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        names = incident_files.NAMES
        return [
            path("emergencies/", view(emergencies.emergencies_view), name="billing_emergencies"),
            path("<int:pk>/report/", view(incident_files.report_view), name=names["report"]),
            path("<int:pk>/report.md", view(incident_files.markdown_view), name=names["markdown"]),
            path("<int:pk>/customers.csv", view(incident_files.csv_view), name=names["customers"]),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: Incident) -> dict[str, Any]:
        user = request.user
        may_export = user.has_perm(EXPORT)
        return {
            "scope": scope_section(row, user),
            "told": told_table(row),
            "belongs": happened_table(
                row, user, timeline.belonging, "Timeline", "Nothing was done about it yet."
            ),
            "happened": happened_table(
                row, user, timeline.meanwhile, "What else happened meanwhile", NOTHING_ELSE
            ),
            "customers_url": incident_files.url(row, "customers") if may_export else "",
        }


def starts(user: User) -> list[ShownOffer]:
    """The button above the list, for those who may open an incident."""
    if not OPEN_INCIDENT.is_permitted(user):
        return []
    url = OPEN_INCIDENT.url({"back": changelist_url(Incident)})
    return [ShownOffer(OPEN_INCIDENT.title, OPEN_INCIDENT.icon, url, "")]


def remedies(row: Incident, user: User) -> list[ShownOffer]:
    """What mends it: the outage's page, a replay and a reconciliation of its time, filled in."""
    since, back = f"{row.started_at:%Y-%m-%dT%H:%M:%S}", page_url(row)
    filled = (
        ("Replay what was missed", REPLAY_MISSED, {"source": MISSING}),
        ("Reconcile its time", START_RECONCILIATION, {"target": "daily"}),
    )
    outage = emergencies.outage_url(user, since)
    return [
        *([ShownOffer("Recover the outage", "healing", outage, "")] if outage else []),
        *(
            ShownOffer(title, page.icon, page.url({**answers, "since": since, "back": back}), "")
            for title, page, answers in filled
            if page.is_permitted(user)
        ),
    ]


def files(row: Incident, user: User) -> list[ShownOffer]:
    """The report as a document, for those who may export."""
    if not user.has_perm(EXPORT):  # type: ignore[union-attr]
        return []
    return [
        ShownOffer("Report", "description", incident_files.url(row, "report"), ""),
        ShownOffer("Report as Markdown", "download", incident_files.url(row, "markdown"), ""),
    ]
