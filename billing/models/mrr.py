"""What subscriptions were at every time, and what that did to the monthly recurring revenue.

Both tables are derived from Stripe's events and objects (billing.revenue.mrr): they are rebuilt
and checked from those, and nothing else writes them.
"""

from django.contrib.postgres.fields import DateTimeRangeField
from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models import Func, Q


class WhileItLasted(Func):
    """The time of a state, as it is asked for: after `at`, up to and with `until`."""

    template = "tstzrange(at, until, '(]')"
    output_field = DateTimeRangeField()


class SubscriptionState(models.Model):
    """What a subscription was from `at` up to, and without, `until` (UTC; null: still).

    `mrr` is its monthly recurring revenue, minor units of `currency`: 0 unless it is active or past
    due. Price, product and quantity are those of its first item. `reason` is why it was canceled,
    in Stripe's words. `trial` says what of a trial happened at `at`.
    """

    class Trial(models.TextChoices):
        STARTED = "started", "Started"
        CONVERTED = "converted", "Converted"
        LOST = "lost", "Lost"

    subscription_id = models.TextField()
    customer_id = models.TextField()
    user_id = models.TextField(blank=True, db_default="")
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)
    status = models.TextField()
    currency = models.TextField(blank=True, db_default="")
    mrr = models.BigIntegerField(db_default=0)
    price_id = models.TextField(blank=True, db_default="")
    product_id = models.TextField(blank=True, db_default="")
    quantity = models.BigIntegerField(db_default=0)
    in_trial = models.BooleanField(db_default=False)
    trial = models.TextField(choices=Trial, blank=True, db_default="")
    reason = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_subscription_states"
        ordering = ["at", "id"]
        verbose_name = "subscription state"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["subscription_id", "at"], name="billing_sub_states_once"
            )
        ]
        indexes = [
            models.Index("customer_id", name="billing_sub_states_customer"),
            models.Index(
                "at",
                include=["currency", "trial"],
                condition=~Q(trial=""),
                name="billing_sub_states_trials",
            ),
            models.Index("at", include=["currency", "status"], name="billing_sub_states_at"),
            models.Index("until", include=["currency", "status"], name="billing_sub_states_until"),
            GistIndex(
                WhileItLasted(),
                condition=Q(status="trialing"),
                name="billing_sub_states_in_trial",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id}: {self.status} since {self.at:%Y-%m-%d %H:%M}"


class MrrChange(models.Model):
    """A moment in which a customer's monthly recurring revenue changed, in one currency.

    `before` and `after` are minor units a month, of all their subscriptions together;
    `subscription_id` is the one that changed most. `first_at` is when they had any for the first
    time (UTC). `voluntary` says of what churned whether the customer asked for it; null elsewhere.
    """

    class Kind(models.TextChoices):
        NEW = "new", "New"
        EXPANSION = "expansion", "Expansion"
        CONTRACTION = "contraction", "Contraction"
        CHURNED = "churned", "Churned"
        REACTIVATED = "reactivated", "Reactivated"

    customer_id = models.TextField()
    currency = models.TextField()
    at = models.DateTimeField()
    kind = models.TextField(choices=Kind)
    before = models.BigIntegerField()
    after = models.BigIntegerField()
    subscription_id = models.TextField()
    user_id = models.TextField(blank=True, db_default="")
    voluntary = models.BooleanField(null=True)
    first_at = models.DateTimeField()

    class Meta:
        db_table = "billing_mrr_changes"
        ordering = ["at", "id"]
        verbose_name = "MRR change"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["customer_id", "currency", "at"], name="billing_mrr_changes_once"
            )
        ]
        indexes = [
            models.Index(
                "at",
                include=["currency", "kind", "voluntary", "before", "after"],
                name="billing_mrr_changes_at",
            ),
            models.Index(
                "first_at",
                include=["at", "currency", "kind", "before", "after"],
                name="billing_mrr_changes_first",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id}: {self.kind} {self.before} to {self.after} {self.currency}"


class MrrDay(models.Model):
    """What moved on one day of UTC in one currency, added up (billing.revenue.mrr.days).

    `item` is a kind of change, or `involuntary` for what churned so: `mrr` as it changed, in minor
    units a month, and `count` of customers. Or it is a status: `count` of the subscriptions that
    came to it, less those that left it.
    """

    day = models.DateTimeField()
    currency = models.TextField()
    item = models.TextField()
    mrr = models.BigIntegerField()
    count = models.BigIntegerField()

    class Meta:
        db_table = "billing_mrr_days"
        ordering = ["day", "currency", "item"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["day", "currency", "item"], name="billing_mrr_days_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.item} {self.currency}"


class SubscriptionsRead(models.Model):
    """How far the states have been derived: one row.

    Everything up to these ids of the event log and of the invoices, and every subscription that
    was written before `written_at` (UTC), is in the states. What changed since `stale_from` is not
    in the days yet.
    """

    event_id = models.BigIntegerField(db_default=0)
    invoice_id = models.BigIntegerField(db_default=0)
    written_at = models.DateTimeField(null=True)
    stale_from = models.DateTimeField(null=True)

    class Meta:
        db_table = "billing_subscriptions_read"
        default_permissions = ()

    def __str__(self) -> str:
        return f"event {self.event_id}"
