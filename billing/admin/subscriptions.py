"""Subscriptions: their period, how they end, and what was invoiced."""

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern
from djstripe.models import Subscription

from billing.admin import cells, overrides, side_by_side
from billing.admin.base import NOT_RECEIVED, ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, choice_filter, since_filter, status_filter
from billing.admin.forms import User
from billing.admin.offers import Offer, ShownOffer, sync_offer
from billing.admin.operations import (
    CANCEL,
    CHECKOUT,
    END_OVERRIDE,
    OVERRIDE,
    PORTAL,
    REACTIVATE,
)
from billing.admin.raw import RAW, raw_column
from billing.admin.related import events_about, inbox_about, matching, operations_on
from billing.diagnosis import narrowing
from billing.models import (
    BillingInvoice,
    BillingSubscription,
    StatusOverride,
)
from billing.operations.cancellation import NOT_YET
from billing.operations.subscriptions import FINAL, NEW_ONE


def cannot_cancel(row: BillingSubscription) -> str:
    """Why a cancellation cannot be scheduled, as far as we know here; '' where it can."""
    if row.cancel_at_period_end or row.cancel_at:
        return "Its cancellation is scheduled already."
    return FINAL.get(row.status) or NOT_YET.get(row.status, "")


@admin.register(BillingSubscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    list_display = (
        "subscription_id", "state", "customer", "user", "amount_words", "ends", "created",
    )  # fmt: skip
    related_columns = (
        "subscription_id", "state", "price", "amount_words", "ends", "created", "sides",
    )  # fmt: skip
    customer_field = "stripe_customer_id"
    list_filter = (
        status_filter(
            "active", "trialing", "past_due", "unpaid", "paused", "incomplete",
            "incomplete_expired", "canceled",
        ),
        choice_filter(
            "cancellation",
            "cancellation",
            [("scheduled", "Scheduled", Q(cancel_at_period_end=True) | Q(cancel_at__isnull=False))],
        ),
        choice_filter(
            "override",
            "set by hand",
            [("overridden", "Status set by hand", overrides.IS_OVERRIDDEN)],
        ),
        LIVEMODE,
        since_filter("created_at", "time"),
    )  # fmt: skip
    search_fields = ("stripe_subscription_id",)
    search_help_text = "Email, user, subscription, customer, price or invoice"
    empty_text = NOT_RECEIVED
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "paused_words"),
                    ("customer", "user"),
                    ("price", "quantity"),
                    ("amount_words", "trial_ends"),
                    ("period_start", "period_end"),
                )
            },
        ),
        (
            "Cancellation",
            {
                "fields": (
                    ("at_period_end_words", "cancels"),
                    ("canceled", "ended"),
                    "cancellation_reason",
                )
            },
        ),
        (
            "At Stripe",
            {
                "fields": (
                    ("stripe_subscription_id", "dashboard"),
                    ("latest_invoice", "mode"),
                    ("created", "updated"),
                )
            },
        ),
        RAW,
    )
    offers = (
        sync_offer("subscription", "stripe_subscription_id"),
        Offer(
            REACTIVATE,
            target=lambda row: row.stripe_subscription_id,
            refusal=lambda row: f"{FINAL[row.status]}{NEW_ONE}" if row.status in FINAL else "",
        ),
        Offer(CANCEL, target=lambda row: row.stripe_subscription_id, refusal=cannot_cancel),
        Offer(PORTAL, target=lambda row: row.stripe_customer_id, single=True),
        Offer(
            CHECKOUT,
            target=lambda row: row.stripe_customer_id,
            answers=lambda row: {"price": row.price_id},
            refusal=lambda row: "" if row.status in FINAL else "It has not ended.",
            single=True,
        ),
        Offer(
            OVERRIDE,
            target=lambda row: row.stripe_subscription_id,
            refusal=lambda row: "it is set by hand already." if row.by_hand else "",
        ),
    )
    related = (
        matching(
            "Invoices",
            BillingInvoice,
            "stripe_subscription_id",
            "stripe_subscription_id",
            "No invoice.",
        ),
        events_about("stripe_subscription_id"),
        inbox_about("stripe_subscription_id"),
        operations_on("stripe_subscription_id"),
        matching(
            "Statuses set by hand",
            StatusOverride,
            "stripe_subscription_id",
            "stripe_subscription_id",
            "None.",
        ),
    )

    subscription_id = cells.id_text_column("stripe_subscription_id", "Subscription")
    state = cells.column(overrides.status_words, "Status")
    user = cells.user_column()
    customer = cells.customer_column()
    price = cells.stripe_id_column("price_id", "Price")
    amount_words = cells.money_column("amount", "Amount a period")
    period_start = cells.time_column("current_period_start", "From")
    period_end = cells.time_column("current_period_end", "To")
    trial_ends = cells.time_column("trial_end", "Trial ends")
    paused_words = cells.yes_no_column("collection_paused", "Collection paused")
    at_period_end_words = cells.yes_no_column("cancel_at_period_end", "At the period's end")
    cancels = cells.time_column("cancel_at", "Scheduled for")
    canceled = cells.time_column("canceled_at", "Canceled")
    ended = cells.time_column("ended_at", "Ended")
    latest_invoice = cells.stripe_id_column("latest_invoice_id", "Latest invoice")
    mode = cells.mode_column()
    raw = raw_column(Subscription, "stripe_subscription_id")
    dashboard = cells.dashboard_column("stripe_subscription_id")
    created = cells.time_column("created_at", "Created")
    sides = side_by_side.column("subscription", "stripe_subscription_id")
    updated = cells.time_column("updated_at", "Updated here")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingSubscription]:
        return overrides.marked(super().get_queryset(request))

    @display(description="Renews or ends (UTC)")
    def ends(self, row: BillingSubscription) -> str:
        if row.ended_at:
            return cells.time(row.ended_at)
        return cells.time(row.cancel_at or row.current_period_end)

    def find(self, rows: QuerySet[BillingSubscription], term: str) -> QuerySet[BillingSubscription]:
        ids = ("stripe_subscription_id", "price_id", "latest_invoice_id")
        return narrowing.find(rows, term, ids, customer="stripe_customer_id", user="user_id")

    def buttons(self, row: BillingSubscription, user: User) -> list[ShownOffer]:
        end = Offer(END_OVERRIDE, target=lambda row: row.stripe_subscription_id).on(row, user)
        sides = side_by_side.button("subscription", row.stripe_subscription_id)
        return [end, sides] if end and overrides.warning(row) else [sides]

    def get_urls(self) -> list[URLPattern]:
        sides = side_by_side.url_pattern("subscription", self.admin_site.admin_view)
        return [sides, *super().get_urls()]

    def headline(self, row: BillingSubscription) -> tuple[str, str]:
        if by_hand := overrides.warning(row):
            return by_hand, "danger"
        if row.status in FINAL:
            why = f" The reason: {row.cancellation_reason.replace('_', ' ')}."
            return FINAL[row.status] + (why if row.cancellation_reason else ""), "info"
        if row.cancel_at_period_end or row.cancel_at:
            return "A cancellation is scheduled.", "warning"
        if row.status in ("past_due", "unpaid", "incomplete", "paused"):
            return f"It is {row.status.replace('_', ' ')}: see its latest invoice.", "warning"
        return "", ""
