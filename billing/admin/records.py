"""What people asked to be changed, what was planned, and what became of it."""

from datetime import timedelta
from operator import attrgetter

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.db.models.fields.json import KT
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import page_url
from billing.admin.decisions import approval_view, undo_view
from billing.admin.filters import choices_filter, since_filter
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.operations import operation_view
from billing.admin.related import Related
from billing.diagnosis import narrowing
from billing.models import BillingEvent, OperationRecord
from billing.operations.base import Actor, OperationError
from billing.operations.registry import ALL, undo

TITLES = {operation.name: operation.title for operation in ALL}

CLOCKS_APART = timedelta(minutes=1)  # between this machine's clock and the database's


def audit_events(row: OperationRecord) -> QuerySet[BillingEvent]:
    """The audit event that the operation left, looked for where the index on time leads."""
    if row.finished_at is None:
        return BillingEvent.objects.none()
    span = (row.created_at - CLOCKS_APART, row.finished_at + CLOCKS_APART)
    named = BillingEvent.objects.alias(operation=KT("payload__operation"))
    return named.filter(operation=row.key, created_at__range=span)


@admin.register(OperationRecord)
class RecordAdmin(ReadOnlyAdmin):
    list_display = ("what", "state", "about", "actor_words", "reason_brief", "created")
    related_columns = ("what", "state", "actor_words", "reason_brief", "created")
    list_filter = (
        choices_filter("status", OperationRecord.Status.choices),
        choices_filter("name", sorted(TITLES.items())),
        since_filter("created_at", "time"),
    )
    search_fields = ("subject",)
    search_help_text = "User, email, customer, subscription, invoice or event"
    empty_text = "Nobody has changed anything by hand."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("what", "state"),
                    ("about", "actor_words"),
                    ("reason_code_words", "ticket_words"),
                    "reason_words",
                    ("approval_words", "decided_words"),
                    ("undoes_words", "undone_words"),
                    "result_words",
                    "error_words",
                    ("created", "finished"),
                    "incident_words",
                )
            },
        ),
        ("Asked for", {"fields": ("pretty_parameters", "key")}),
        ("Planned", {"fields": ("planned_changes",)}),
        ("Result", {"fields": ("pretty_result",)}),
    )
    related = (
        Related(
            "Audit event",
            BillingEvent,
            "None: it was not applied.",
            rows=audit_events,
            query=attrgetter("subject"),
        ),
    )

    state = cells.status_column()
    about = cells.stripe_id_column("subject", "About")
    actor_words = cells.text_column("actor", "By")
    reason_code_words = cells.text_column("reason_code", "Kind of reason")
    ticket_words = cells.text_column("ticket", "Ticket")
    approval_words = cells.text_column("approval", "Needed approval")
    reason_words = cells.paragraph_column("reason", "Reason")
    reason_brief = cells.brief_column("reason", "Reason")
    error_words = cells.paragraph_column("error", "Error")
    incident_words = cells.incident_column()
    created = cells.time_column("created_at", "Started")
    finished = cells.time_column("finished_at", "Finished")
    pretty_parameters = cells.json_column("parameters", "Parameters")
    pretty_result = cells.json_column("result", "Result")

    @display(description="What")
    def what(self, row: OperationRecord) -> str:
        return TITLES.get(row.name, row.name)

    @display(description="Result")
    def result_words(self, row: OperationRecord) -> str:
        return cells.paragraph(str(row.result.get("summary", "")))

    @display(description="Changes")
    def planned_changes(self, row: OperationRecord) -> str:
        return render_to_string(
            "admin/billing/changes.html",
            {"changes": row.plan.get("changes"), "none": "No change of our rows was planned."},
        )

    def headline(self, row: OperationRecord) -> tuple[str, str]:
        if row.status == OperationRecord.Status.FAILED:
            return f"It was not done. {row.error}", "danger"
        if row.status == OperationRecord.Status.REQUESTED:
            return f"It waits for another person. {row.approval}", "warning"
        if row.status in (OperationRecord.Status.REJECTED, OperationRecord.Status.EXPIRED):
            return f"It was {row.status}: nothing was done. {row.decision}", "info"
        if row.status == OperationRecord.Status.STARTED:
            return (
                "It was started and has not come to its end. If that was long ago, it was"
                " interrupted: look at what it was about, and run it again."
            ), "warning"
        return "", ""

    def buttons(self, row: OperationRecord, user: User) -> list[ShownOffer]:
        if row.status == OperationRecord.Status.REQUESTED:
            url = reverse("admin:billing_approval", args=[row.pk])
            return [ShownOffer("Decide", "how_to_vote", url, "")]
        if row.status == OperationRecord.Status.APPLIED:
            return [undo_button(row, user)]
        return []

    @display(description="Decided")
    def decided_words(self, row: OperationRecord) -> str:
        if not row.decided_by:
            return cells.EMPTY
        return f"by {row.decided_by}: {row.decision}" if row.decision else f"by {row.decided_by}"

    @display(description="Undoes")
    def undoes_words(self, row: OperationRecord) -> str:
        return cells.link(page_url(row.undoes), str(row.undoes)) if row.undoes else cells.EMPTY

    @display(description="Undone by")
    def undone_words(self, row: OperationRecord) -> str:
        done = row.undone_by.filter(status=OperationRecord.Status.APPLIED).first()
        return cells.link(page_url(done), str(done)) if done else cells.EMPTY

    def find(self, rows: QuerySet[OperationRecord], term: str) -> QuerySet[OperationRecord]:
        named = narrowing.people(term)
        return rows.filter(subject__in=named.customers | named.users)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("run/<slug:name>/", view(operation_view), name="billing_operation"),
            path("<int:pk>/approval/", view(approval_view), name="billing_approval"),
            path("<int:pk>/undo/", view(undo_view), name="billing_undo"),
            *super().get_urls(),
        ]


def undo_button(row: OperationRecord, user: User) -> ShownOffer:
    """The button that leads to the undo, or the sentence why there is none."""
    url = reverse("admin:billing_undo", args=[row.pk])
    try:
        operation = undo(row, actor=Actor.of(user), reason="")
        refusal = "" if operation.actor.may(operation.permission) else "your role may not."
    except OperationError as error:
        refusal = str(error)
    return ShownOffer("Undo", "undo", url, refusal)
