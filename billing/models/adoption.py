"""That this database was an application's own before, and since when it is ours as well."""

from django.db import models
from django.db.models.functions import Now


class Adoption(models.Model):
    """One row, where the tables were adopted (billing.adoption); none where migrations made them.

    What was bought, refunded or disputed before `adopted_at` (UTC) is in the opening balances
    already: its entries are followed by what takes them out again (billing.projection.ledger).
    """

    adopted_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    tables = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))

    class Meta:
        db_table = "billing_adoption"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="billing_adoption_once"),
        ]

    def __str__(self) -> str:
        return f"adopted at {self.adopted_at:%Y-%m-%d %H:%M}"
