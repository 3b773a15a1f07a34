"""Invoices whose payment failed, and what became of them: facts that reports add up."""

from django.db import models


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
        indexes = [models.Index("entered_at", name="billing_dunning_entered")]

    def __str__(self) -> str:
        return self.stripe_invoice_id
