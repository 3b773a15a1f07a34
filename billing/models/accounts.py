"""Who buys and what they have: customers, subscriptions and invoices.

These are the tables that the application reads. Their rows are projections of Stripe's
objects (billing.projection); nothing else writes them, except raw SQL, which the
triggers record.
"""

from django.contrib.postgres.fields import DateTimeRangeField
from django.contrib.postgres.indexes import GinIndex, GistIndex, OpClass
from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now, Upper

from billing.models.guards import audit_raw_sql, note_changes
from billing.models.modes import mode_index


class BillingCustomer(models.Model):
    """A Stripe customer and the user of ours that it stands for.

    `user_id` is the application's own id, as text, and null while nobody knows.
    `attributed_by` says how we know: `customer` (the customer's metadata), `checkout`
    (a checkout session's reference) or `operator`; `attributed_at` (UTC) settles which
    of two sessions counts: the earliest.
    """

    id = models.BigAutoField(primary_key=True)
    user_id = models.TextField(null=True, blank=True)
    email = models.TextField(blank=True, db_default="")
    name = models.TextField(blank=True, db_default="")
    stripe_customer_id = models.TextField(unique=True)
    attributed_by = models.TextField(blank=True, db_default="")
    attributed_at = models.DateTimeField(null=True, blank=True)
    delinquent = models.BooleanField(db_default=False)
    deleted = models.BooleanField(db_default=False)
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_customers"
        ordering = ["-created_at", "-id"]
        verbose_name = "customer"
        default_permissions = ("view",)
        permissions = [
            ("sync_from_stripe", "Can sync from Stripe"),
            ("export", "Can export lists"),
        ]
        indexes = [
            models.Index("user_id", name="billing_customers_user"),
            models.Index(Upper("email"), name="billing_customers_email"),
            models.Index("created_at", "id", name="billing_customers_created"),
            models.Index(
                "created_at", "id", condition=Q(deleted=True), name="billing_customers_deleted"
            ),
            models.Index(
                "created_at",
                "id",
                condition=Q(delinquent=True),
                name="billing_customers_delinquent",
            ),
            mode_index("billing_customers_mode"),
            # For any part of an email or a name, in any case (billing.diagnosis.search).
            GinIndex(OpClass(Upper("email"), "gin_trgm_ops"), name="billing_customers_email_part"),
            GinIndex(OpClass(Upper("name"), "gin_trgm_ops"), name="billing_customers_name_part"),
        ]
        triggers = [*audit_raw_sql(), *note_changes(unless_by_stripe=True)]

    def __str__(self) -> str:
        return self.email or self.stripe_customer_id


class BillingSubscription(models.Model):
    """A subscription as the application sees it. Money in minor units, times in UTC."""

    id = models.BigAutoField(primary_key=True)
    user_id = models.TextField(null=True, blank=True)
    stripe_subscription_id = models.TextField(unique=True)
    stripe_customer_id = models.TextField(blank=True, db_default="")
    status = models.TextField()
    price_id = models.TextField(blank=True, db_default="")
    quantity = models.BigIntegerField(db_default=1)
    amount = models.BigIntegerField(null=True, blank=True, help_text="Per period, minor units.")
    currency = models.TextField(blank=True, db_default="")
    current_period_start = models.DateTimeField(null=True, blank=True)
    current_period_end = models.DateTimeField(null=True, blank=True)
    cancel_at_period_end = models.BooleanField(db_default=False)
    cancel_at = models.DateTimeField(null=True, blank=True)
    canceled_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    cancellation_reason = models.TextField(blank=True, db_default="")
    trial_end = models.DateTimeField(null=True, blank=True)
    collection_paused = models.BooleanField(db_default=False)
    latest_invoice_id = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_subscriptions"
        ordering = ["-created_at", "-id"]
        verbose_name = "subscription"
        default_permissions = ("view",)
        permissions = [("reactivate_subscription", "Can reactivate a subscription")]
        indexes = [
            models.Index("user_id", name="billing_subscriptions_user"),
            models.Index("stripe_customer_id", name="billing_subscriptions_customer"),
            models.Index("status", "created_at", name="billing_subscriptions_status"),
            models.Index("created_at", "id", name="billing_subscriptions_created"),
            models.Index("updated_at", name="billing_subscriptions_updated"),
            models.Index("price_id", name="billing_subscriptions_price"),
            models.Index("latest_invoice_id", name="billing_subscriptions_invoice"),
            models.Index(
                "created_at",
                "id",
                condition=Q(cancel_at_period_end=True) | Q(cancel_at__isnull=False),
                name="billing_subscriptions_ending",
            ),
            mode_index("billing_subscriptions_mode"),
        ]
        triggers = [*audit_raw_sql(), *note_changes(unless_by_stripe=True)]

    def __str__(self) -> str:
        return self.stripe_subscription_id


class WhileOpen(Func):
    """The time during which an invoice was open: from when it was finalised until it was paid,
    voided or marked uncollectible, whatever came first. Empty where it was paid at once."""

    template = (
        "tstzrange(finalized_at, CASE WHEN least(paid_at, voided_at, uncollectible_at)"
        " < finalized_at THEN finalized_at ELSE least(paid_at, voided_at, uncollectible_at) END)"
    )
    output_field = DateTimeRangeField()


class BillingInvoice(models.Model):
    """An invoice as the application sees it. Money in minor units, times in UTC.

    What is uncollectible can still be paid: then it has `uncollectible_at` and `paid_at`.
    """

    id = models.BigAutoField(primary_key=True)
    user_id = models.TextField(null=True, blank=True)
    stripe_invoice_id = models.TextField(unique=True)
    stripe_customer_id = models.TextField(blank=True, db_default="")
    stripe_subscription_id = models.TextField(blank=True, db_default="")
    number = models.TextField(blank=True, db_default="")
    status = models.TextField()
    billing_reason = models.TextField(blank=True, db_default="")
    currency = models.TextField(blank=True, db_default="")
    total = models.BigIntegerField(db_default=0)
    amount_due = models.BigIntegerField(db_default=0)
    amount_paid = models.BigIntegerField(db_default=0)
    amount_remaining = models.BigIntegerField(db_default=0)
    attempt_count = models.IntegerField(db_default=0)
    next_payment_attempt = models.DateTimeField(null=True, blank=True)
    due_date = models.DateTimeField(null=True, blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    finalized_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    uncollectible_at = models.DateTimeField(null=True, blank=True)
    hosted_invoice_url = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_invoices"
        ordering = ["-created_at", "-id"]
        verbose_name = "invoice"
        default_permissions = ("view",)
        indexes = [
            models.Index("user_id", "created_at", name="billing_invoices_user"),
            models.Index("stripe_customer_id", "created_at", name="billing_invoices_customer"),
            models.Index("stripe_subscription_id", name="billing_invoices_subscription"),
            models.Index("status", "created_at", name="billing_invoices_status"),
            models.Index("created_at", "id", name="billing_invoices_created"),
            models.Index("number", name="billing_invoices_number"),
            models.Index("paid_at", name="billing_invoices_paid"),
            mode_index("billing_invoices_mode"),
            # For what was open at any moment (billing.revenue.ageing).
            GistIndex(
                WhileOpen(),
                condition=Q(finalized_at__isnull=False),
                name="billing_invoices_while_open",
            ),
        ]
        triggers = [*audit_raw_sql(), *note_changes(unless_by_stripe=True)]

    def __str__(self) -> str:
        return self.number or self.stripe_invoice_id
