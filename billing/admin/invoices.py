"""Invoices: what is due, what was paid, and how often it was tried."""

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.urls import URLPattern
from djstripe.models import Invoice

from billing.admin import cells, side_by_side
from billing.admin.base import NOT_RECEIVED, ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, since_filter, status_filter
from billing.admin.forms import User
from billing.admin.offers import Offer, ShownOffer, sync_offer
from billing.admin.operations import MARK_PAID, PAY, RESEND, VOID, OperationPage
from billing.admin.raw import RAW, raw_column
from billing.admin.related import events_about, inbox_about, matching, operations_on
from billing.diagnosis import narrowing
from billing.models import (
    BillingInvoice,
    Purchase,
)
from billing.operations.invoices import (
    InvoiceOperation,
    MarkInvoicePaid,
    PayInvoice,
    ResendInvoice,
    VoidInvoice,
)


def invoice_offer(
    page: OperationPage, operation: type[InvoiceOperation], *, single: bool = False
) -> Offer:
    """An operation on an invoice, where its status here allows it."""
    return Offer(
        page,
        target=lambda row: row.stripe_invoice_id,
        refusal=lambda row: operation.refused.get(row.status, ""),
        single=single,
    )


@admin.register(BillingInvoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = (
        "invoice_id", "state", "customer", "user", "total_words", "remaining_words",
        "subscription", "created",
    )  # fmt: skip
    related_columns = (
        "invoice_id", "state", "total_words", "remaining_words", "attempt_count_words", "created",
        "sides",
    )  # fmt: skip
    customer_field = "stripe_customer_id"
    list_filter = (
        status_filter("draft", "open", "paid", "uncollectible", "void"),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_invoice_id",)
    search_help_text = "Email, user, number, invoice, customer or subscription"
    empty_text = NOT_RECEIVED
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "number"),
                    ("customer", "user"),
                    ("subscription", "why"),
                    ("total_words", "due_words"),
                    ("paid_words", "remaining_words"),
                )
            },
        ),
        (
            "Collection",
            {
                "fields": (
                    ("attempt_count_words", "next_attempt"),
                    ("due", "paid"),
                    "hosted_page",
                )
            },
        ),
        (
            "At Stripe",
            {
                "fields": (
                    ("stripe_invoice_id", "dashboard"),
                    ("period_from", "period_to"),
                    ("created", "updated"),
                    "mode",
                )
            },
        ),
        RAW,
    )
    offers = (
        sync_offer("invoice", "stripe_invoice_id"),
        invoice_offer(RESEND, ResendInvoice),
        invoice_offer(PAY, PayInvoice),
        invoice_offer(MARK_PAID, MarkInvoicePaid, single=True),
        invoice_offer(VOID, VoidInvoice, single=True),
    )
    related = (
        matching("Purchase", Purchase, "source", "stripe_invoice_id", "It is worth no credits."),
        events_about("stripe_invoice_id"),
        inbox_about("stripe_invoice_id"),
        operations_on("stripe_invoice_id"),
    )

    state = cells.status_column()
    user = cells.user_column()
    customer = cells.customer_column()
    subscription = cells.stripe_id_column("stripe_subscription_id", "Subscription")
    total_words = cells.money_column("total", "Total")
    due_words = cells.money_column("amount_due", "Due")
    paid_words = cells.money_column("amount_paid", "Paid")
    remaining_words = cells.money_column("amount_remaining", "Remaining")
    attempt_count_words = cells.text_column("attempt_count", "Attempts")
    next_attempt = cells.time_column("next_payment_attempt", "Next attempt")
    due = cells.time_column("due_date", "Due by")
    paid = cells.time_column("paid_at", "Paid")
    period_from = cells.time_column("period_start", "Period from")
    period_to = cells.time_column("period_end", "Period to")
    mode = cells.mode_column()
    raw = raw_column(Invoice, "stripe_invoice_id")
    dashboard = cells.dashboard_column("stripe_invoice_id")
    created = cells.time_column("created_at", "Created")
    sides = side_by_side.column("invoice", "stripe_invoice_id")
    updated = cells.time_column("updated_at", "Updated here")

    @display(description="Invoice")
    def invoice_id(self, row: BillingInvoice) -> str:
        return cells.no_wrap(row.number or cells.shorten(row.stripe_invoice_id))

    @display(description="Why it was made")
    def why(self, row: BillingInvoice) -> str:
        return row.billing_reason.replace("_", " ") or cells.EMPTY

    @display(description="The customer's page")
    def hosted_page(self, row: BillingInvoice) -> str:
        # Stripe's own address, but from outside: nothing but https becomes a link.
        if not row.hosted_invoice_url.startswith(("https://", "http://")):
            return row.hosted_invoice_url or cells.EMPTY
        return cells.link(row.hosted_invoice_url, "Open", outside=True)

    def buttons(self, row: BillingInvoice, user: User) -> list[ShownOffer]:
        return [side_by_side.button("invoice", row.stripe_invoice_id)]

    def get_urls(self) -> list[URLPattern]:
        sides = side_by_side.url_pattern("invoice", self.admin_site.admin_view)
        return [sides, *super().get_urls()]

    def find(self, rows: QuerySet[BillingInvoice], term: str) -> QuerySet[BillingInvoice]:
        ids = ("stripe_invoice_id", "number", "stripe_subscription_id")
        return narrowing.find(rows, term, ids, customer="stripe_customer_id", user="user_id")
