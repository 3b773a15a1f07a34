"""Who asked how often, for the limits on what is open to strangers (billing.rate_limits)."""

from django.db import models


class RateLimit(models.Model):
    """Until when one address has used up its share of one limit. Forgotten soon after.

    The table is UNLOGGED: it costs no write-ahead log, and a crash of the server empties it.
    """

    key = models.TextField(primary_key=True)
    due_at = models.DateTimeField()

    class Meta:
        db_table = "billing_rate_limits"
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
