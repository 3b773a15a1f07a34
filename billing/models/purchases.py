"""What was bought, and what was taken back: the sources that credits are keyed by."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.guards import note_changes
from billing.models.modes import mode_index


class Purchase(models.Model):
    """Something that Stripe says was paid and that may be worth credits.

    `source` is the checkout session (`cs_`) of a pack, or the invoice (`in_`) of a
    subscription. `credits` is what it was worth when it was granted or last looked at;
    null where no line of it has a price that is mapped to credits. Money in minor
    units, times in UTC.
    """

    class Kind(models.TextChoices):
        PACK = "pack", "Credit pack"
        SUBSCRIPTION = "subscription", "Subscription"

    class Status(models.TextChoices):
        GRANTED = "granted", "Granted"
        UNATTRIBUTED = "unattributed", "Paid by nobody we know"
        UNPRICED = "unpriced", "No price mapped to credits"

    source = models.TextField(unique=True)
    kind = models.TextField(choices=Kind)
    status = models.TextField(choices=Status)
    user_id = models.TextField(null=True, blank=True)
    stripe_customer_id = models.TextField(blank=True, db_default="")
    email = models.TextField(
        blank=True, db_default="", help_text="What the buyer typed: a hint for a person, no key."
    )
    payment_intent_id = models.TextField(blank=True, db_default="")
    amount = models.BigIntegerField(db_default=0)
    currency = models.TextField(blank=True, db_default="")
    lines = models.JSONField(
        default=list, help_text="What was bought: each line's id, price and quantity."
    )
    credits = models.BigIntegerField(null=True, blank=True)
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField()
    granted_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_purchases"
        ordering = ["-created_at", "-id"]
        verbose_name = "purchase"
        default_permissions = ("view",)
        indexes = [
            models.Index("user_id", "created_at", name="billing_purchases_user"),
            models.Index("stripe_customer_id", name="billing_purchases_customer"),
            models.Index("created_at", "id", name="billing_purchases_created"),
            models.Index(
                "payment_intent_id",
                condition=~Q(payment_intent_id=""),
                name="billing_purchases_payment",
            ),
            models.Index(
                "status",
                "created_at",
                condition=~Q(status="granted"),
                name="billing_purchases_open",
            ),
            models.Index("kind", "created_at", "id", name="billing_purchases_kind"),
            mode_index("billing_purchases_mode"),
        ]
        triggers = note_changes(unless_by_stripe=True)

    def __str__(self) -> str:
        return self.source


class PaymentReversal(models.Model):
    """A refund or a dispute of a payment.

    `active` while the money is (being) taken back: a refund that is neither failed nor
    canceled, a dispute whose funds are withdrawn and not reinstated. Minor units, UTC.
    """

    class Kind(models.TextChoices):
        REFUND = "refund", "Refund"
        DISPUTE = "dispute", "Dispute"

    stripe_id = models.TextField(unique=True)
    kind = models.TextField(choices=Kind)
    payment_intent_id = models.TextField(blank=True, db_default="")
    charge_id = models.TextField(blank=True, db_default="")
    amount = models.BigIntegerField()
    currency = models.TextField(blank=True, db_default="")
    status = models.TextField()
    active = models.BooleanField()
    livemode = models.BooleanField(db_default=False)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_payment_reversals"
        ordering = ["-created_at", "-id"]
        verbose_name = "refund or dispute"
        verbose_name_plural = "refunds and disputes"
        default_permissions = ("view",)
        indexes = [
            models.Index("payment_intent_id", name="billing_reversals_payment"),
            models.Index("created_at", "id", name="billing_reversals_created"),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class InvoicePayment(models.Model):
    """Which payment intent paid which invoice: newer invoices do not say it themselves.

    STRIPE.md, Versions and shapes: invoice -> payment.
    """

    payment_intent_id = models.TextField()
    stripe_invoice_id = models.TextField()

    class Meta:
        db_table = "billing_invoice_payments"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["payment_intent_id", "stripe_invoice_id"],
                name="billing_invoice_payments_pair",
            )
        ]
        indexes = [models.Index("stripe_invoice_id", name="billing_invoice_payments_inv")]

    def __str__(self) -> str:
        return f"{self.payment_intent_id} paid {self.stripe_invoice_id}"
