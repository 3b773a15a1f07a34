"""The audit log: what people, the back office itself and raw SQL did."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.events import payload, payload_text
from billing.admin.filters import OURS, actor_filter, choice_filter, since_filter
from billing.admin.related import Related
from billing.diagnosis import narrowing
from billing.models import AuditEvent, OperationRecord
from billing.models.events import AUDITED, NOT_STRIPES
from billing.operations.registry import ALL

NAMED = ("subject", "subscription", "invoice", "purchase", "operation")  # by what is looked for
TITLES = {operation.audit_type: operation.title for operation in ALL} | {
    "manual.credit_adjustment": "Credits changed by hand",
    "manual.operation_requested": "Approval asked for",
    "manual.operation_approved": "Approved",
    "manual.operation_rejected": "Rejected",
    "manual.operation_expired": "Expired without a decision",
    "manual.export": "Exported",
    "manual.view_saved": "View saved",
    "manual.view_removed": "View removed",
}


@admin.register(AuditEvent)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ("what", "subject_words", "actor_words", "why", "customer", "created")
    list_filter = (
        choice_filter("source", "who", OURS),
        choice_filter(
            "kind", "what", [(kind, title, Q(type=kind)) for kind, title in sorted(TITLES.items())]
        ),
        actor_filter("person"),
        since_filter("created_at", "time"),
    )
    search_fields = ("actor",)
    search_help_text = "Person, email, user, customer, subscription, invoice or operation"
    empty_text = "Nobody has changed anything by hand, nor by raw SQL."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("what", "actor_words"),
                    "summary",
                    "why",
                    ("approver", "ticket"),
                    ("subject_words", "customer"),
                    ("user_words", "created"),
                )
            },
        ),
        ("What changed", {"fields": ("changes",)}),
        ("As it was recorded", {"fields": (("type", "recorded"), "pretty_payload")}),
    )
    related = (
        Related(
            "Operation",
            OperationRecord,
            "It is not part of an operation.",
            rows=lambda row: OperationRecord.objects.filter(key=payload_text(row, "operation")),
            query=lambda row: payload_text(row, "operation"),
        ),
    )

    actor_words = cells.text_column("actor", "By")
    created = cells.time_column("created_at", "Happened")
    recorded = cells.time_column("recorded_at", "Recorded")
    pretty_payload = cells.json_column("payload", "Payload")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        audited = AUDITED["manual"] | AUDITED["system"] | AUDITED["sql"]
        return super().get_queryset(request).filter(audited)

    @display(description="What")
    def what(self, row: AuditEvent) -> str:
        return TITLES.get(row.type, row.type)

    @display(description="About")
    def subject_words(self, row: AuditEvent) -> str:
        for name in ("subject", "subscription", "invoice", "purchase", "claim"):
            if value := payload_text(row, name):
                return cells.stripe_id(value)
        return cells.user(user_of(row))

    @display(description="Customer")
    def customer(self, row: AuditEvent) -> str:
        if value := payload_text(row, "customer"):
            return cells.stripe_id(value)
        return cells.user(user_of(row))

    @display(description="User")
    def user_words(self, row: AuditEvent) -> str:
        return cells.user(user_of(row))

    @display(description="Why")
    def why(self, row: AuditEvent) -> str:
        code, words = payload_text(row, "reason_code"), payload_text(row, "reason")
        return cells.brief(": ".join(part for part in (code.replace("_", " "), words) if part))

    @display(description="Approved by")
    def approver(self, row: AuditEvent) -> str:
        said = payload(row)
        return str(said.get("approved_by") or said.get("decided_by") or cells.EMPTY)

    @display(description="Ticket")
    def ticket(self, row: AuditEvent) -> str:
        return payload_text(row, "ticket") or cells.EMPTY

    @display(description="Summary")
    def summary(self, row: AuditEvent) -> str:
        return cells.paragraph(payload_text(row, "summary"))

    @display(description="Changes")
    def changes(self, row: AuditEvent) -> str:
        """Before and after: the operation's own list, or the row that raw SQL changed."""
        said = payload(row)
        listed = said.get("changes")
        return render_to_string(
            "admin/billing/changes.html",
            {
                "changes": listed if isinstance(listed, list) else sql_changes(said),
                "none": "No row of ours changed.",
            },
        )

    def find(self, rows: QuerySet[AuditEvent], term: str) -> QuerySet[AuditEvent]:
        named = narrowing.people(term)
        about = Q(actor=term) | Q(user__in=named.users) | Q(customer_id__in=named.customers)
        for name in NAMED:
            about |= Q(payload__contains={name: term})
        ours = AuditEvent.objects.filter(NOT_STRIPES)  # as the indexes have them
        return narrowing.found_first(rows, narrowing.with_subjects(ours).filter(about))


def user_of(row: AuditEvent) -> str:
    return str(payload(row).get("user_id") or "")


def sql_changes(said: dict[str, Any]) -> list[dict[str, str]]:
    """The columns of a row that raw SQL changed, each before and after."""
    before, after = said.get("before") or {}, said.get("after") or {}
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    return [
        {
            "label": name,
            "before": str(before.get(name, "not here")),
            "after": str(after.get(name, "not here")),
        }
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
