"""Invoices whose payment failed, and what became of them: facts that reports add up."""

from django.db import models
from django.db.models import DateTimeField, Q, Value
from django.db.models.functions import Cast, Coalesce, Least


class InvoiceDunning(models.Model):
    """An invoice of which at least one attempt to charge it has failed.

    `entered_at` is the time of the first charge of it that failed (or, where no charge was made,
    of the event that tells of the failure), `charge_id` that charge and `decline_reason` why:
    the bank's own word, else Stripe's code, '' where nothing says. `recovered_at` is when it was
    paid; `lost_at` when it was given up, `lost_by` how. Both are there where it was paid later
    all the same. `amount` is what was due, minor units. Times in UTC.

    Derived from other tables (billing.revenue.dunning), which also says how it is kept current.
    """

    class LostBy(models.TextChoices):
        VOID = "void", "Voided"
        UNCOLLECTIBLE = "uncollectible", "Marked uncollectible"
        CANCELED = "canceled", "Its subscription was canceled"
        UNPAID = "unpaid", "Its subscription became unpaid"

    stripe_invoice_id = models.TextField(primary_key=True)
    stripe_customer_id = models.TextField(blank=True, db_default="")
    currency = models.TextField(blank=True, db_default="")
    amount = models.BigIntegerField()
    entered_at = models.DateTimeField()
    charge_id = models.TextField(blank=True, db_default="")
    decline_reason = models.TextField(blank=True, db_default="")
    recovered_at = models.DateTimeField(null=True, blank=True)
    lost_at = models.DateTimeField(null=True, blank=True)
    lost_by = models.TextField(choices=LostBy, blank=True, db_default="")

    class Meta:
        db_table = "billing_invoice_dunning"
        default_permissions = ()
        # What moved in some days, what was in dunning at a moment, and what is now
        # (billing.revenue.failed_sums).
        indexes = [
            models.Index("entered_at", name="billing_dunning_entered"),
            models.Index("recovered_at", name="billing_dunning_recovered"),
            models.Index("lost_at", name="billing_dunning_lost"),
            models.Index(
                Coalesce(
                    Least("recovered_at", "lost_at"), Cast(Value("infinity"), DateTimeField())
                ),
                name="billing_dunning_ended",
            ),
            models.Index(
                "currency",
                "amount",
                condition=Q(recovered_at=None, lost_at=None),
                name="billing_dunning_now",
            ),
            models.Index("decline_reason", name="billing_dunning_reason"),
        ]

    def __str__(self) -> str:
        return self.stripe_invoice_id
