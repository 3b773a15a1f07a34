"""Statuses that were set by hand: seen wherever the subscription is, and as a list of their own."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choice_filter, since_filter
from billing.admin.offers import Offer
from billing.admin.operations import END_OVERRIDE
from billing.admin.related import matching
from billing.diagnosis import narrowing
from billing.formatting import format_time
from billing.models import BillingSubscription, OperationRecord, StatusOverride

IN_FORCE = StatusOverride.objects.filter(ended_at=None)
OF_ROW = IN_FORCE.filter(stripe_subscription_id=OuterRef("stripe_subscription_id"))
IS_OVERRIDDEN = Q(pk__in=narrowing.ids(BillingSubscription.objects.filter(Exists(OF_ROW))))
BY_HAND = "by hand"


def marked(rows: QuerySet[BillingSubscription]) -> QuerySet[BillingSubscription]:
    """The subscriptions, each knowing whether its status was set by hand."""
    return rows.annotate(by_hand=Exists(OF_ROW))


def status_words(row: Any) -> str:
    """A subscription's status, as a danger where it was set by hand."""
    if getattr(row, "by_hand", False):
        return cells.label(f"{row.status.replace('_', ' ')} ({BY_HAND})", "danger")
    return cells.status_label(row.status)


def warning(row: BillingSubscription) -> str:
    """A sentence on the override in force; '' where there is none."""
    found = IN_FORCE.filter(stripe_subscription_id=row.stripe_subscription_id).first()
    if found is None:
        return ""
    return (
        f"{found.actor} set its status to {found.status} by hand, against what came from Stripe"
        f" ({found.status_before}). It ends with Stripe's own word, or on"
        f" {format_time(found.expires_at)}. The reason: {found.reason}"
    )


@admin.register(StatusOverride)
class OverrideAdmin(ReadOnlyAdmin):
    list_display = (
        "subscription_id", "state", "by_hand", "before", "actor_words", "expires", "created",
    )  # fmt: skip
    related_columns = ("state", "by_hand", "before", "actor_words", "expires", "created")
    list_filter = (
        choice_filter(
            "state",
            "state",
            [
                ("in_force", "In force", Q(ended_at=None)),
                ("ended", "Ended", Q(ended_at__isnull=False)),
            ],
        ),
        since_filter("created_at", "time"),
    )
    search_fields = ("stripe_subscription_id",)
    search_help_text = "Subscription"
    empty_text = "No status was ever set by hand, as it should be."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "about"),
                    ("by_hand", "before"),
                    "reason_words",
                    ("actor_words", "created"),
                    ("expires", "ended_words"),
                )
            },
        ),
    )
    offers = (
        Offer(
            END_OVERRIDE,
            target=lambda row: row.stripe_subscription_id,
            refusal=lambda row: "it has ended." if row.ended_at else "",
        ),
    )
    related = (
        matching("Operation", OperationRecord, "key", "operation_key", "Its operation is gone."),
    )

    subscription_id = cells.id_text_column("stripe_subscription_id", "Subscription")
    about = cells.stripe_id_column("stripe_subscription_id", "Subscription")
    by_hand = cells.text_column("status", "Set by hand")
    before = cells.text_column("status_before", "Before")
    actor_words = cells.text_column("actor", "By")
    reason_words = cells.paragraph_column("reason", "Reason")
    created = cells.time_column("created_at", "Set")
    expires = cells.time_column("expires_at", "Stands until")

    @display(description="State")
    def state(self, row: StatusOverride) -> str:
        return cells.label("Ended") if row.ended_at else cells.label("In force", "danger")

    @display(description="Ended (UTC)")
    def ended_words(self, row: StatusOverride) -> str:
        by = {"stripe": "Stripe's own word", "expiry": "its time being over"}
        if row.ended_at is None:
            return cells.EMPTY
        return f"{format_time(row.ended_at)}, by {by.get(row.ended_by, row.ended_by)}"

    def find(self, rows: QuerySet[StatusOverride], term: str) -> QuerySet[StatusOverride]:
        return narrowing.find(rows, term, ["stripe_subscription_id"])
