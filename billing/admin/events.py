"""The log of Stripe's events and of what people did."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, OURS, choice_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import REPLAY
from billing.admin.related import Related, matching
from billing.diagnosis import narrowing
from billing.gateway.shapes import event_customer_id, id_of
from billing.models import BillingEvent, InboxEvent, OperationRecord


def replay_refusal(row: BillingEvent) -> str:
    if row.stripe_event_id:
        return ""
    return "only Stripe's events can be replayed, and this one is ours."


@admin.register(BillingEvent)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        "type_words",
        "object_words",
        "customer",
        "user_words",
        "actor_words",
        "created",
    )
    related_columns = ("type_words", "object_words", "user_words", "actor_words", "created")
    list_filter = (
        choice_filter(
            "source",
            "source",
            [
                ("stripe", "Stripe", Q(stripe_event_id__isnull=False)),
                *OURS,
            ],
        ),
        choice_filter(
            "group",
            "what it is about",
            [
                ("checkout", "Checkout", Q(type__startswith="checkout.")),
                ("subscription", "Subscriptions", Q(type__startswith="customer.subscription.")),
                ("invoice", "Invoices", Q(type__startswith="invoice")),
                ("credits", "Credits by hand", Q(type="manual.credit_adjustment")),
            ],
        ),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_event_id",)
    search_help_text = "Event, email, user, customer, subscription, or the object it is about"
    empty_text = "Stripe's events appear as they are processed, and what people do as they do it."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("type_words", "actor_words"),
                    "summary",
                    ("object_words", "customer"),
                    ("user_words", "created"),
                )
            },
        ),
        (
            "At Stripe",
            {"fields": (("event_words", "dashboard"), ("api_version", "mode"), "recorded")},
        ),
        ("What it says", {"fields": ("pretty_payload",)}),
    )
    offers = (Offer(REPLAY, target=lambda row: row.stripe_event_id or "", refusal=replay_refusal),)
    related = (
        matching(
            "In the inbox", InboxEvent, "stripe_event_id", "stripe_event_id", "Not in the inbox."
        ),
        Related(
            "Operation",
            OperationRecord,
            "It is not part of an operation.",
            rows=lambda row: OperationRecord.objects.filter(key=payload_text(row, "operation")),
            query=lambda row: payload_text(row, "operation"),
        ),
    )

    type_words = cells.text_column("type", "Type")
    actor_words = cells.text_column("actor", "By")
    event_words = cells.stripe_id_column("stripe_event_id", "Event")
    mode = cells.mode_column()
    dashboard = cells.dashboard_column("stripe_event_id")
    created = cells.time_column("created_at", "Happened")
    recorded = cells.time_column("recorded_at", "Recorded here")
    pretty_payload = cells.json_column("payload", "Payload")

    @display(description="About")
    def object_words(self, row: BillingEvent) -> str:
        return cells.stripe_id(payload_text(row, "id"))

    @display(description="Customer")
    def customer(self, row: BillingEvent) -> str:
        return cells.stripe_id(event_customer_id(payload(row)))

    @display(description="User")
    def user_words(self, row: BillingEvent) -> str:
        metadata = payload(row).get("metadata")
        user = metadata.get("user_id") if isinstance(metadata, dict) else None
        return cells.user(str(user or payload(row).get("user_id") or ""))

    @display(description="Summary")
    def summary(self, row: BillingEvent) -> str:
        return cells.paragraph(payload_text(row, "summary"))

    def find(self, rows: QuerySet[BillingEvent], term: str) -> QuerySet[BillingEvent]:
        return narrowing.find_events(rows, term)


def payload(row: BillingEvent) -> dict[str, Any]:
    """The payload, which raw SQL may have made something else than an object."""
    return row.payload if isinstance(row.payload, dict) else {}


def payload_text(row: BillingEvent, name: str) -> str:
    return id_of(payload(row).get(name))
