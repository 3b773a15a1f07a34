"""The inbox of Stripe's events, and the requests that were refused."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, choice_filter, choices_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import REPLAY
from billing.admin.related import matching, operations_on
from billing.diagnosis import narrowing
from billing.formatting import format_time
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import dig, session_user_id
from billing.ingress.retention import GONE
from billing.models import (
    BillingCustomer,
    BillingEvent,
    InboxEvent,
    Purchase,
    WebhookRejection,
)

Status = InboxEvent.Status

# How each status is told on the event's page, with the reason after it.
TOLD = {
    Status.PENDING: ("It waits for the worker.", "info"),
    Status.FAILED: ("It failed and will be tried again.", "warning"),
    Status.DEAD: ("It failed for good: nothing happens until it is replayed.", "danger"),
    Status.PROCESSED: ("Processed.", "success"),
    Status.IGNORED: ("It needed nothing to be done.", "success"),
    Status.SET_ASIDE: ("It was set aside and is not processed.", "warning"),
}

# Where an event's object says how much money it is about: minor units.
AMOUNTS = ("amount_total", "amount_paid", "amount_due", "amount")

GROUPS = choice_filter(
    "group",
    "what it is about",
    [
        ("checkout", "Checkout", Q(type__startswith="checkout.")),
        ("subscription", "Subscriptions", Q(type__startswith="customer.subscription.")),
        ("invoice", "Invoices", Q(type__startswith="invoice")),
        ("payment", "Payments", Q(type__startswith="payment_") | Q(type__startswith="charge.")),
        ("refund", "Refunds", Q(type__startswith="refund.")),
        ("customer", "Customers", Q(type__startswith="customer.")),
    ],
)


def event_object(row: InboxEvent) -> StripeDict:
    """The event's `data.object`; empty where the body cannot be read."""
    try:
        found = dig(json.loads(row.body), "data", "object")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def body_words(row: InboxEvent) -> str:
    """The body, or since when there is none any more."""
    if row.payload_dropped_at:
        return f"{GONE} It was dropped {format_time(row.payload_dropped_at)}."
    return cells.json_block(row.body)


@admin.register(InboxEvent)
class InboxAdmin(ReadOnlyAdmin):
    """Every event that Stripe has had a 200 for, and why it is where it is."""

    not_exported = ("body",)
    list_display = (
        "event_brief", "state", "type_words", "customer", "reason_brief", "received", "about",
    )  # fmt: skip
    related_columns = ("event_brief", "state", "type_words", "reason_brief", "received")
    customer_field = "customer_id"
    list_filter = (
        choices_filter("status", Status.choices),
        GROUPS,
        choice_filter(
            "receivers",
            "the company's receivers",
            [("failed", "Failed", ~Q(receiver_error="")), ("due", "Due", Q(receivers_due=True))],
        ),
        LIVEMODE,
        since_filter("received_at", "time"),
    )
    search_fields = ("stripe_event_id",)
    search_help_text = "Event, customer, email, or the object that it is about"
    sortable_by = ("received",)
    empty_text = (
        "Nothing has come from Stripe. Is the endpoint registered? manage.py check_webhooks"
        " says what is missing."
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "attempts_words"),
                    "reason_words",
                    ("type_words", "next_attempt"),
                    ("about", "amount_words"),
                    ("customer", "user_words"),
                )
            },
        ),
        (
            "At Stripe",
            {
                "fields": (
                    ("event_text", "dashboard"),
                    ("api_version", "mode"),
                    ("source_words", "happened"),
                    ("received", "processed"),
                )
            },
        ),
        ("Receivers of the company's own", {"fields": (("due_words", "receiver_error_words"),)}),
        ("Body, as Stripe signed it", {"fields": ("pretty_body",)}),
    )
    offers = (
        Offer(
            REPLAY,
            target=lambda row: row.stripe_event_id,
            refusal=lambda row: (
                f"it was set aside. {row.reason}" if row.status == Status.SET_ASIDE else ""
            ),
        ),
    )
    related = (
        matching(
            "Customer",
            BillingCustomer,
            "stripe_customer_id",
            "customer_id",
            "No customer here yet.",
        ),
        matching("Purchase", Purchase, "source", "object_id", "No purchase."),
        matching(
            "In the log",
            BillingEvent,
            "stripe_event_id",
            "stripe_event_id",
            "Not in the log: it was never processed.",
        ),
        operations_on("stripe_event_id", "Replays"),
    )

    event_text = cells.text_column("stripe_event_id", "Event")
    event_brief = cells.id_text_column("stripe_event_id", "Event")
    state = cells.status_column()
    type_words = cells.text_column("type", "Type")
    customer = cells.customer_column("customer_id")
    about = cells.stripe_id_column("object_id", "About")
    reason_words = cells.paragraph_column("reason", "Why")
    reason_brief = cells.brief_column("reason", "Why")
    attempts_words = cells.column(lambda row: str(row.attempts), "Attempts")
    source_words = cells.column(lambda row: str(row.get_source_display()), "How it came")
    mode = cells.mode_column()
    dashboard = cells.dashboard_column("stripe_event_id")
    happened = cells.time_column("stripe_created_at", "Happened at Stripe")
    received = cells.time_column("received_at", "Received")
    processed = cells.time_column("processed_at", "Processed")
    due_words = cells.yes_no_column("receivers_due", "Still to be called")
    receiver_error_words = cells.paragraph_column("receiver_error", "Error")
    pretty_body = cells.column(body_words, "Body")

    @display(description="Next try (UTC)")
    def next_attempt(self, row: InboxEvent) -> str:
        return cells.time(row.next_attempt_at) if row.status in InboxEvent.OPEN else cells.EMPTY

    @display(description="Amount in it")
    def amount_words(self, row: InboxEvent) -> str:
        data = event_object(row)
        amount = next((a for name in AMOUNTS if isinstance(a := data.get(name), int)), None)
        return cells.money(amount, str(data.get("currency") or ""))

    @display(description="User in it")
    def user_words(self, row: InboxEvent) -> str:
        return cells.user(session_user_id(event_object(row)))

    def get_queryset(self, request: Any) -> QuerySet[InboxEvent]:
        """Bodies are large: only a row's own page reads them."""
        rows: QuerySet[InboxEvent] = super().get_queryset(request)
        return rows if request.resolver_match.url_name.endswith("_change") else rows.defer("body")

    def find(self, rows: QuerySet[InboxEvent], term: str) -> QuerySet[InboxEvent]:
        ids = ("stripe_event_id", "object_id", "customer_id")
        return narrowing.find(rows, term, ids, customer="customer_id")

    def headline(self, row: InboxEvent) -> tuple[str, str]:
        told, tone = TOLD[Status(row.status)]
        return f"{told} {row.reason}".strip(), tone


@admin.register(WebhookRejection)
class RejectionAdmin(ReadOnlyAdmin):
    """Requests to the webhook that were refused, counted by hour. Their bodies are not kept."""

    list_display = ("reason_text", "count_words", "of_hour", "last", "detail")
    list_filter = (since_filter("hour", "time"),)
    sortable_by = ("of_hour",)
    empty_text = "No request to the webhook was refused."
    fieldsets = ((None, {"fields": ("reason_text", "count_words", "of_hour", "last", "detail")}),)

    reason_text = cells.text_column("reason", "Reason")
    count_words = cells.column(lambda row: f"{row.count:,}", "Requests")
    of_hour = cells.time_column("hour", "In the hour from")
    last = cells.time_column("last_at", "Last")
    detail = cells.paragraph_column("last_detail", "The last one's detail")
