"""What was bought for credits, and what was taken back."""

from operator import attrgetter

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, choice_filter, choices_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import ATTRIBUTE, GRANT, GRANT_PURCHASE, SYNC
from billing.admin.related import (
    Related,
    events_about,
    inbox_about,
    matching,
    operations_on,
)
from billing.diagnosis import narrowing
from billing.models import (
    CreditEntry,
    PaymentReversal,
    Purchase,
)
from billing.projection.settlement import grant_sources

HAS_CREDITS = "this purchase has its credits."
ABOUT = {
    Purchase.Status.UNATTRIBUTED: (
        "It was paid, and nobody knows by which user: nothing is granted. If you know who it"
        " was, attribute the payment."
    ),
    Purchase.Status.UNPRICED: (
        "It was paid, and no price of it is mapped to credits: nothing is granted. Map the"
        " price and sync, or grant the credits for it."
    ),
}


def sync_answers(row: Purchase) -> dict[str, str]:
    return {"kind": "invoice" if row.kind == Purchase.Kind.SUBSCRIPTION else "customer"}


def sync_target(row: Purchase) -> str:
    """The invoice of a subscription; a pack comes with its customer."""
    return row.source if row.kind == Purchase.Kind.SUBSCRIPTION else row.stripe_customer_id


@admin.register(Purchase)
class PurchaseAdmin(ReadOnlyAdmin):
    list_display = (
        "source_brief", "state", "what", "user", "customer", "amount_words", "credits_words",
        "created",
    )  # fmt: skip
    related_columns = (
        "source_brief", "state", "what", "user", "amount_words", "credits_words", "created",
    )  # fmt: skip
    customer_field = "stripe_customer_id"
    list_filter = (
        choices_filter("status", Purchase.Status.choices),
        choices_filter("kind", Purchase.Kind.choices),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("source",)
    search_help_text = "Email, user, checkout session, invoice, payment or customer"
    empty_text = "A purchase appears when a checkout or a subscription's invoice is paid."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "what"),
                    ("user", "email"),
                    ("customer", "granted"),
                    ("amount_words", "credits_words"),
                )
            },
        ),
        ("Lines", {"fields": ("bought",)}),
        (
            "At Stripe",
            {
                "fields": (
                    ("source_text", "dashboard"),
                    ("payment_intent_id", "mode"),
                    ("created", "updated"),
                )
            },
        ),
    )
    offers = (
        Offer(
            GRANT_PURCHASE,
            target=attrgetter("source"),
            refusal=lambda row: HAS_CREDITS if row.status == Purchase.Status.GRANTED else "",
        ),
        Offer(
            ATTRIBUTE,
            target=attrgetter("source"),
            refusal=lambda row: f"it is user {row.user_id}'s." if row.user_id else "",
        ),
        Offer(
            GRANT,
            target=lambda row: row.user_id or "",
            answers=lambda row: {"purchase": row.source, "amount": str(row.credits or "")},
            refusal=lambda row: HAS_CREDITS if row.status == Purchase.Status.GRANTED else "",
        ),
        Offer(
            SYNC,
            target=sync_target,
            answers=sync_answers,
            refusal=lambda row: (
                "" if sync_target(row) else "it has no customer at Stripe; replay its event."
            ),
        ),
    )
    related = (
        Related(
            "Ledger",
            CreditEntry,
            "No credits were granted for it.",
            rows=lambda row: CreditEntry.objects.filter(source__in=grant_sources(row)),
            query=attrgetter("source"),
        ),
        matching(
            "Refunds and disputes",
            PaymentReversal,
            "payment_intent_id",
            "payment_intent_id",
            "Nothing was taken back.",
        ),
        inbox_about("source"),
        events_about("source"),
        operations_on("source"),
    )

    state = cells.status_column()
    source_text = cells.text_column("source", "Purchase")
    source_brief = cells.id_text_column("source", "Purchase")
    user = cells.user_column()
    customer = cells.customer_column()
    amount_words = cells.money_column("amount", "Paid")
    granted = cells.time_column("granted_at", "Granted")
    mode = cells.mode_column()
    dashboard = cells.dashboard_column("source")
    created = cells.time_column("created_at", "Paid")
    updated = cells.time_column("updated_at", "Updated here")

    @display(description="What")
    def what(self, row: Purchase) -> str:
        return str(row.get_kind_display())

    @display(description="Credits")
    def credits_words(self, row: Purchase) -> str:
        return cells.EMPTY if row.credits is None else f"{row.credits:,}"

    @display(description="Bought")
    def bought(self, row: Purchase) -> str:
        return cells.json_block(row.lines)

    def find(self, rows: QuerySet[Purchase], term: str) -> QuerySet[Purchase]:
        ids = ("source", "payment_intent_id")
        return narrowing.find(rows, term, ids, customer="stripe_customer_id", user="user_id")

    def headline(self, row: Purchase) -> tuple[str, str]:
        return ABOUT.get(Purchase.Status(row.status), ""), "warning"


@admin.register(PaymentReversal)
class ReversalAdmin(ReadOnlyAdmin):
    list_display = (
        "id_text",
        "what",
        "state",
        "amount_words",
        "active_words",
        "payment",
        "created",
    )
    related_columns = ("id_text", "what", "state", "amount_words", "active_words", "created")
    list_filter = (
        choices_filter("kind", PaymentReversal.Kind.choices),
        choice_filter(
            "active",
            "effect",
            [
                ("yes", "Credits taken back", Q(active=True)),
                ("no", "Without effect", Q(active=False)),
            ],
        ),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_id",)
    search_help_text = "Refund, dispute, payment or charge"
    empty_text = "Refunds and disputes appear when Stripe tells of them."
    fieldsets = (
        (None, {"fields": (("what", "state"), ("amount_words", "active_words"), "payment")}),
        (
            "At Stripe",
            {"fields": (("stripe_id", "dashboard"), ("charge_id", "mode"), ("created", "updated"))},
        ),
    )
    related = (
        matching(
            "Purchase",
            Purchase,
            "payment_intent_id",
            "payment_intent_id",
            "No purchase here was paid with this payment.",
        ),
        inbox_about("stripe_id"),
    )

    id_text = cells.text_column("stripe_id", "Refund or dispute")
    state = cells.status_column()
    amount_words = cells.money_column("amount", "Amount")
    active_words = cells.yes_no_column("active", "Money taken back")
    payment = cells.stripe_id_column("payment_intent_id", "Payment")
    mode = cells.mode_column()
    dashboard = cells.dashboard_column("stripe_id")
    created = cells.time_column("created_at", "Created")
    updated = cells.time_column("updated_at", "Updated here")

    @display(description="What")
    def what(self, row: PaymentReversal) -> str:
        return str(row.get_kind_display())

    def find(self, rows: QuerySet[PaymentReversal], term: str) -> QuerySet[PaymentReversal]:
        ids = ("stripe_id", "payment_intent_id", "charge_id")
        return narrowing.find(rows, term, ids)
