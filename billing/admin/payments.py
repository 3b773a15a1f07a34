"""Payments: what was charged, to which card, and why what did not go through was refused."""

from operator import attrgetter

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from djstripe.models import Charge

from billing.admin import cells
from billing.admin.base import NOT_RECEIVED, ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, since_filter, status_filter
from billing.admin.offers import Offer
from billing.admin.operations import SYNC
from billing.admin.raw import RAW, raw_column
from billing.admin.related import (
    Related,
    events_about,
    inbox_about,
    matching,
    operations_on,
)
from billing.diagnosis import narrowing
from billing.models import (
    BillingInvoice,
    BillingPayment,
    InvoicePayment,
    PaymentReversal,
    Purchase,
)


def invoices_paid(row: BillingPayment) -> QuerySet[BillingInvoice]:
    """The invoices that it paid. Stripe does not say which one a failed payment was to pay."""
    pairs = InvoicePayment.objects.filter(payment_intent_id=row.payment_intent_id)
    ids = pairs.exclude(payment_intent_id="").values("stripe_invoice_id")
    return BillingInvoice.objects.filter(stripe_invoice_id__in=ids)


@admin.register(BillingPayment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = (
        "charge_brief", "state", "amount_words", "refunded_words", "why", "card", "customer",
        "created",
    )  # fmt: skip
    related_columns = (
        "charge_brief", "state", "amount_words", "refunded_words", "why", "card", "created",
    )  # fmt: skip
    customer_field = "stripe_customer_id"
    list_filter = (
        status_filter("succeeded", "pending", "failed"),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_charge_id",)
    search_help_text = "Email, user, customer, charge, payment, or the card's last four digits"
    empty_text = NOT_RECEIVED
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "why"),
                    ("amount_words", "refunded_words"),
                    ("card", "disputed_words"),
                    "customer",
                )
            },
        ),
        ("Why it failed", {"fields": (("bank", "code"), "message")}),
        (
            "At Stripe",
            {
                "fields": (
                    ("stripe_charge_id", "dashboard"),
                    ("payment_intent_id", "mode"),
                    ("created", "updated"),
                )
            },
        ),
        RAW,
    )
    offers = (
        Offer(
            SYNC,
            target=attrgetter("stripe_customer_id"),
            answers=lambda row: {"kind": "customer"},
            refusal=lambda row: (
                ""
                if row.stripe_customer_id
                else "it has no customer at Stripe; sync the purchase that it paid."
            ),
        ),
    )
    related = (
        matching(
            "Purchase",
            Purchase,
            "payment_intent_id",
            "payment_intent_id",
            "It paid for nothing that is worth credits.",
        ),
        Related(
            "Invoice",
            BillingInvoice,
            "It paid no invoice that we know.",
            rows=invoices_paid,
            query=attrgetter("stripe_customer_id"),
        ),
        matching(
            "Refunds and disputes",
            PaymentReversal,
            "payment_intent_id",
            "payment_intent_id",
            "Nothing was taken back.",
        ),
        inbox_about("stripe_charge_id"),
        events_about("stripe_charge_id"),
        operations_on("payment_intent_id"),
    )

    charge_brief = cells.id_text_column("stripe_charge_id", "Payment")
    state = cells.status_column()
    customer = cells.customer_column()
    amount_words = cells.money_column("amount", "Amount")
    disputed_words = cells.yes_no_column("disputed", "Disputed")
    bank = cells.text_column("decline_reason", "The bank's reason")
    code = cells.text_column("failure_code", "Stripe's code")
    message = cells.paragraph_column("failure_message", "In Stripe's words")
    mode = cells.mode_column()
    raw = raw_column(Charge, "stripe_charge_id")
    dashboard = cells.dashboard_column("stripe_charge_id")
    created = cells.time_column("created_at", "Tried")
    updated = cells.time_column("updated_at", "Updated here")

    @display(description="Refunded")
    def refunded_words(self, row: BillingPayment) -> str:
        if not row.amount_refunded:
            return cells.EMPTY
        return cells.money(row.amount_refunded, row.currency)

    @display(description="Why it failed")
    def why(self, row: BillingPayment) -> str:
        """The bank's reason, else Stripe's."""
        if row.status != "failed":
            return cells.EMPTY
        reason = row.decline_reason or row.failure_code
        return cells.brief(reason.replace("_", " ") or row.failure_message or "No reason was given")

    @display(description="Card")
    def card(self, row: BillingPayment) -> str:
        if not row.last4:
            return cells.EMPTY
        return cells.no_wrap(f"{row.brand.capitalize()} •••• {row.last4}".strip())

    def find(self, rows: QuerySet[BillingPayment], term: str) -> QuerySet[BillingPayment]:
        ids = ("stripe_charge_id", "payment_intent_id", "last4")
        return narrowing.find(rows, term, ids, customer="stripe_customer_id")

    def headline(self, row: BillingPayment) -> tuple[str, str]:
        return ("The customer's bank disputes it.", "warning") if row.disputed else ("", "")
