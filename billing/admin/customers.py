"""Customers: who it is, and all that is theirs."""

from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from djstripe.models import Customer

from billing.admin import anything, cells, customer_page, opening, scripts, timeline
from billing.admin.base import NOT_RECEIVED, ReadOnlyAdmin
from billing.admin.filters import LIVEMODE, choice_filter, since_filter
from billing.admin.forms import User
from billing.admin.notes import NOTES
from billing.admin.offers import Offer, ShownOffer, sync_offer
from billing.admin.operations import (
    ADD_NOTE,
    BILLING_PAGE,
    CHECKOUT,
    CORRECT,
    ERASE,
    GRANT,
    MERGE,
    PORTAL,
    RECORD,
)
from billing.admin.raw import RAW, raw_column
from billing.admin.related import Related, matching
from billing.diagnosis import narrowing
from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    Purchase,
)

CUSTOMER_ID = attrgetter("stripe_customer_id")


def whose(row: BillingCustomer) -> str:
    """What finds all that is the person's in another table's list."""
    return row.user_id or row.stripe_customer_id


def marked_subscriptions(row: Any) -> list[BillingSubscription]:
    """The person's subscriptions, each knowing whether its status was set by hand."""
    by_hand = {override.stripe_subscription_id for override in row.facts.overrides}
    subscriptions: list[Any] = row.facts.subscriptions
    for subscription in subscriptions:
        subscription.by_hand = subscription.stripe_subscription_id in by_hand
    return subscriptions


def deleted(row: BillingCustomer) -> str:
    return "The customer was deleted at Stripe." if row.deleted else ""


@admin.register(BillingCustomer)
class CustomerAdmin(ReadOnlyAdmin):
    """The hub: who it is, what they have, what they paid, and what happened to them."""

    list_display = ("name_or_email", "name_words", "user", "customer_id", "standing", "created")
    related_columns = ("name_or_email", "user", "customer_id", "standing", "created")
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("unknown", "Of no user we know", Q(user_id=None)),
                ("delinquent", "Delinquent", Q(delinquent=True)),
                ("deleted", "Deleted at Stripe", Q(deleted=True)),
            ],
        ),
        LIVEMODE,
        since_filter("created_at", "time"),
    )
    search_fields = ("email",)
    search_help_text = "Email, name, user, or any Stripe id of theirs"
    change_form_template = "admin/billing/customer.html"
    empty_text = NOT_RECEIVED
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("email", "name"),
                    ("user_id", "attribution"),
                    ("stripe_customer_id", "dashboard"),
                    ("created", "mode"),
                )
            },
        ),
        RAW,
    )
    offers = (
        sync_offer("customer", "stripe_customer_id"),
        Offer(GRANT, target=lambda row: row.user_id or ""),
        Offer(CORRECT, target=lambda row: row.user_id or ""),
        Offer(PORTAL, target=CUSTOMER_ID, refusal=deleted, single=True),
        Offer(BILLING_PAGE, target=CUSTOMER_ID, refusal=deleted, single=True),
        Offer(CHECKOUT, target=CUSTOMER_ID, refusal=deleted, single=True),
        Offer(ADD_NOTE, target=CUSTOMER_ID),
        Offer(MERGE, target=CUSTOMER_ID, single=True),
        Offer(ERASE, target=CUSTOMER_ID, single=True),
    )
    related = (
        Related(
            "Subscriptions",
            BillingSubscription,
            "No subscription.",
            rows=marked_subscriptions,
            query=whose,
        ),
        Related(
            "Invoices",
            BillingInvoice,
            "No invoice.",
            rows=lambda row: row.facts.invoices,
            query=whose,
        ),
        Related(
            "Payments",
            BillingPayment,
            "No payment was tried.",
            rows=lambda row: row.facts.payments,
            query=CUSTOMER_ID,
        ),
        Related(
            "Purchases",
            Purchase,
            "Nothing bought that is worth credits.",
            rows=lambda row: row.facts.purchases,
            query=whose,
        ),
        matching("Ledger", CreditEntry, "user_id", "user_id", "No credits have come or gone."),
        matching("Lead claims", LeadClaim, "user_id", "user_id", "No lead claimed."),
        NOTES,
    )

    user = cells.user_column()
    customer_id = cells.id_text_column("stripe_customer_id", "At Stripe")
    name_words = cells.text_column("name", "Name")
    mode = cells.mode_column()
    raw = raw_column(Customer, "stripe_customer_id")
    dashboard = cells.dashboard_column("stripe_customer_id")
    created = cells.time_column("created_at", "Created")

    @display(description="Customer", ordering=None)
    def name_or_email(self, row: BillingCustomer) -> str:
        return row.email or row.name or row.stripe_customer_id

    @display(description="Standing")
    def standing(self, row: BillingCustomer) -> str:
        if row.deleted:
            return cells.label("Deleted", "warning")
        return cells.label("Delinquent", "danger") if row.delinquent else cells.label("Good")

    @display(description="How we know the user")
    def attribution(self, row: BillingCustomer) -> str:
        return {
            "customer": "The customer's metadata at Stripe says so.",
            "checkout": "A checkout session of theirs says so.",
            "operator": "An operator said so.",
        }.get(row.attributed_by, "Nobody knows yet." if row.user_id is None else cells.EMPTY)

    def find(self, rows: QuerySet[BillingCustomer], term: str) -> QuerySet[BillingCustomer]:
        return narrowing.find_customers(rows, term)

    def buttons(self, row: BillingCustomer, user: User) -> list[ShownOffer]:
        record = Offer(RECORD, target=lambda row: "").on(row, user)
        return [record] if record else []

    def headline(self, row: BillingCustomer) -> tuple[str, str]:
        if row.deleted:
            return "This customer was deleted at Stripe.", "warning"
        if row.user_id is None:
            return "Nobody knows which user this is: what they buy is granted to no one.", "warning"
        if row.delinquent:
            return "Delinquent: their latest payment failed.", "warning"
        return "", ""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        diagnosis = view(customer_page.diagnosis_view)
        return [
            path("open/", view(opening.open_view), name="billing_open"),
            path("search-anything/", view(anything.search_view), name="billing_search"),
            path("<int:pk>/diagnosis/", diagnosis, name="billing_diagnosis"),
            path("<int:pk>/timeline/", view(timeline.timeline_view), name="billing_timeline"),
            path("<int:pk>/scripts/<slug:slug>/", view(scripts.script_view), name="billing_script"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: BillingCustomer) -> dict[str, Any]:
        return customer_page.page_context(request, row)
