"""Attempts to charge somebody: what was paid, and why what was not paid was refused."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.guards import audit_raw_sql, note_changes
from billing.models.modes import mode_index


class BillingPayment(models.Model):
    """A charge at Stripe, whether it went through or not. Minor units, times in UTC.

    Whose it is follows from the customer or, where Checkout made none, from the purchase with
    the same payment intent. `failure_code` is Stripe's, `decline_reason` the bank's own (such as
    `insufficient_funds`), `failure_message` in words that Stripe wrote for the customer.
    """

    id = models.BigAutoField(primary_key=True)
    stripe_charge_id = models.TextField(unique=True)
    stripe_customer_id = models.TextField(blank=True, db_default="")
    payment_intent_id = models.TextField(blank=True, db_default="")
    status = models.TextField()
    amount = models.BigIntegerField(db_default=0)
    amount_refunded = models.BigIntegerField(db_default=0)
    currency = models.TextField(blank=True, db_default="")
    disputed = models.BooleanField(db_default=False)
    failure_code = models.TextField(blank=True, db_default="")
    decline_reason = models.TextField(blank=True, db_default="")
    failure_message = models.TextField(blank=True, db_default="")
    brand = models.TextField(blank=True, db_default="")
    last4 = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_payments"
        ordering = ["-created_at", "-id"]
        verbose_name = "payment"
        default_permissions = ("view",)
        indexes = [
            models.Index("stripe_customer_id", "created_at", name="billing_payments_customer"),
            models.Index("created_at", "id", name="billing_payments_created"),
            models.Index(
                "payment_intent_id",
                condition=~Q(payment_intent_id=""),
                name="billing_payments_intent",
            ),
            models.Index(
                "last4", "created_at", condition=~Q(last4=""), name="billing_payments_last4"
            ),
            models.Index(
                "updated_at", condition=Q(status="failed"), name="billing_payments_failed"
            ),
            models.Index(
                "created_at", "id", condition=Q(status="pending"), name="billing_payments_pending"
            ),
            mode_index("billing_payments_mode"),
        ]
        triggers = [*audit_raw_sql(), *note_changes(unless_by_stripe=True)]

    def __str__(self) -> str:
        return self.stripe_charge_id
