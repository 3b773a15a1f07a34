"""People whose data was erased: what arrives of them later is redacted before it is stored.

The triggers that do it are made by the migration `0019_privacy`, on our tables and on dj-stripe's.
"""

from django.db import models
from django.db.models.functions import Now

from billing.models.guards import note_changes

ERASED = "[erased]"  # what stands in the place of what was erased


class ErasedObject(models.Model):
    """One id at Stripe by which an erased person is known: customer, card, payment, session.

    Ids of what comes of such a customer later are added by the triggers. Times are UTC.
    """

    object_id = models.TextField(unique=True)
    operation_key = models.TextField(blank=True, db_default="")
    erased_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_erased"
        ordering = ["id"]
        default_permissions = ()
        triggers = note_changes()

    def __str__(self) -> str:
        return self.object_id
