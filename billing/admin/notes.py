"""What people wrote down about customers."""

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.utils.html import format_html

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choice_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import WITHDRAW_NOTE
from billing.admin.related import Related, matching
from billing.diagnosis import narrowing
from billing.models import BillingCustomer, Note, OperationRecord


def notes_on(row: BillingCustomer) -> QuerySet[Note]:
    """Those on the customer and on their user, the newest first."""
    about = Q(stripe_customer_id=row.stripe_customer_id)
    return Note.objects.filter(about | Q(user_id=row.user_id) if row.user_id else about)


NOTES = Related("Notes", Note, "No note.", rows=notes_on, query=lambda row: row.stripe_customer_id)


@admin.register(Note)
class NoteAdmin(ReadOnlyAdmin):
    list_display = ("number", "brief_text", "customer", "user", "state", "actor_words", "created")
    related_columns = ("number", "text_words", "state", "actor_words", "created")
    customer_field = "stripe_customer_id"
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("stands", "Stands", Q(withdrawn_at=None)),
                ("withdrawn", "Withdrawn", Q(withdrawn_at__isnull=False)),
            ],
        ),
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_customer_id",)
    search_help_text = "Email, user or customer"
    empty_text = "Nobody has written a note. A customer's page has the button for it."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "text_words",
                    ("customer", "user"),
                    ("actor_words", "created"),
                    ("state", "withdrawn"),
                )
            },
        ),
    )
    offers = (
        Offer(
            WITHDRAW_NOTE,
            target=lambda row: str(row.pk),
            refusal=lambda row: "it was withdrawn." if row.withdrawn_at else "",
        ),
    )
    related = (
        matching("Operation", OperationRecord, "key", "operation_key", "Its operation is gone."),
    )

    number = cells.column(lambda row: str(row.pk), "Note")
    customer = cells.customer_column()
    user = cells.user_column()
    actor_words = cells.text_column("actor", "By")
    created = cells.time_column("created_at", "Written")
    withdrawn = cells.time_column("withdrawn_at", "Withdrawn")

    @display(description="Text")
    def text_words(self, row: Note) -> str:
        text = cells.paragraph(row.text)
        return format_html("<del>{}</del>", text) if row.withdrawn_at else text

    @display(description="Text")
    def brief_text(self, row: Note) -> str:
        text = cells.brief(row.text)
        return format_html("<del>{}</del>", text) if row.withdrawn_at else text

    @display(description="State")
    def state(self, row: Note) -> str:
        if row.withdrawn_at:
            return cells.label(f"Withdrawn by {row.withdrawn_by}", "warning")
        return cells.label("Stands")

    def find(self, rows: QuerySet[Note], term: str) -> QuerySet[Note]:
        return narrowing.find(rows, term, (), customer="stripe_customer_id", user="user_id")
