"""Incidents: since when, who looks after them, how far they reach, and what happened meanwhile."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url, page_url
from billing.admin.filters import choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.home.figures import Figure, Section
from billing.admin.home.findings import worth
from billing.admin.offers import Offer, ShownOffer
from billing.admin.operations import CLOSE_INCIDENT, HAND_OVER_INCIDENT, OPEN_INCIDENT
from billing.admin.related import Related, Table
from billing.formatting import format_age, format_time, iso_time
from billing.models import FindingRecord, InboxEvent, Incident, OperationRecord
from billing.operations.incidents import PREFIX, closed
from billing.reconciliation import incidents

Status = InboxEvent.Status


def operations_of(row: Incident) -> QuerySet[OperationRecord]:
    """What people did to the incident itself."""
    return OperationRecord.objects.filter(Q(subject=f"{PREFIX}{row.pk}") | Q(key=row.operation_key))


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
    related = (
        Related(
            "Work on it",
            OperationRecord,
            "Nobody has done anything about it.",
            rows=operations_of,
            query=lambda row: f"{PREFIX}{row.pk}",
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

    def page_context(self, request: HttpRequest, row: Incident) -> dict[str, Any]:
        return {
            "scope": scope_section(row, request.user),
            "happened": happened_table(row, request.user),
        }


def starts(user: User) -> list[ShownOffer]:
    """The button above the list, for those who may open an incident."""
    if not OPEN_INCIDENT.is_permitted(user):
        return []
    url = OPEN_INCIDENT.url({"back": changelist_url(Incident)})
    return [ShownOffer(OPEN_INCIDENT.title, OPEN_INCIDENT.icon, url, "")]


def may_view(user: User, model: type[Any]) -> bool:
    return user.has_perm(f"billing.view_{model._meta.model_name}")  # type: ignore[union-attr]


def scope_section(row: Incident, user: User) -> Section:
    """How far it reaches, as far as the user may see it; each figure leads to its rows."""
    scope = incidents.scope(row)
    made = Section("Scope", {"success": "Nothing of it is open", "warning": "Some of it is open"})
    if may_view(user, FindingRecord):
        made.figures += finding_figures(row, scope)
    if may_view(user, InboxEvent):
        made.figures += inbox_figures(row, scope)
    return made


def finding_figures(row: Incident, scope: incidents.Scope) -> Iterator[Figure]:
    """Whom the open findings of its time are about, and what they are worth."""
    url = changelist_url(FindingRecord, incident=str(row.pk))
    many = "1 open finding was" if scope.findings == 1 else f"{scope.findings:,} open findings were"
    said = f"{many if scope.findings else 'No open finding was'} seen in its time."
    tone = "warning" if scope.findings else "success"
    yield Figure("Customers touched", f"{scope.customers:,}", url, said, tone)
    yield Figure("Money at stake", worth(scope.amounts, 0), url, "Each currency by itself.")
    yield Figure("Credits at stake", f"{scope.credits:,}", url, "By the same findings.")


def inbox_figures(row: Incident, scope: incidents.Scope) -> Iterator[Figure]:
    """The events of its time that are not through."""
    since, until = incidents.span(row)
    told = {
        Status.PENDING: ("Events pending", "Each waits for its turn."),
        Status.FAILED: ("Events failed", "They will be tried again by themselves."),
        Status.DEAD: ("Events dead", "They need a person: see why, put it right, replay."),
    }
    for status, (title, verdict) in told.items():
        asked = {"received_at__gte": iso_time(since)}
        if row.ended_at:
            asked["received_at__lt"] = iso_time(until)
        url = changelist_url(InboxEvent, status=status, **asked)
        count = scope.waiting.get(status, 0)
        yield (
            Figure(title, f"{count:,}", url, verdict, "warning")
            if count
            else Figure(title, "0", url, "None of its time.")
        )


def happened_table(row: Incident, user: User) -> Table:
    """What happened meanwhile, the newest first, as far as the user may see it."""
    found = incidents.happened(row, incidents.SHOWN + 1)
    shown = found[: incidents.SHOWN]
    first = f", the newest {incidents.SHOWN}" if len(found) > incidents.SHOWN else ""
    return Table(
        title=f"What happened meanwhile{first}",
        headers=["What", "Kind", "More", "Time (UTC)"],
        rows=[
            (
                page_url(each.row),
                [each.title, each.kind, cells.brief(each.detail), cells.time(each.at)],
            )
            for each in shown
            if may_view(user, type(each.row))
        ],
        empty="Nobody did anything, nothing was told of and nothing was compared in its time.",
    )
