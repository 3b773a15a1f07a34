"""How recent our copy of each Stripe object is. The row is also the object's lock."""

from django.db import models

from billing.models.events import ClockTimestamp


class StripeVersion(models.Model):
    """What we know of when our copy of one Stripe object is from (DESIGN, rule 3).

    `not_before` and `not_after` are Stripe's clock in whole seconds, `recorded_at` is
    ours when it was written; all UTC. `rank` is how far the object had come in its
    life (billing.gateway.lifecycle), `digest` its content's hash: together they order
    events of one second.
    """

    object_id = models.TextField(primary_key=True)
    kind = models.TextField()
    not_before = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)
    rank = models.SmallIntegerField(db_default=0)
    digest = models.TextField(db_default="")
    deleted = models.BooleanField(db_default=False)
    recorded_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "billing_stripe_versions"
        default_permissions = ()

    def __str__(self) -> str:
        return self.object_id
