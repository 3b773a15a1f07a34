"""What people asked the back office to change, and what became of it."""

from django.db import models

from billing.models.events import ClockTimestamp


class OperationRecord(models.Model):
    """One operation that was started, unique by its idempotency key.

    The key is made when a form is rendered or a command starts, and goes to Stripe too:
    a second click, a reload or a retry after a crash finds this row. `plan` and
    `result` are what was shown before and after; `reason` and `actor` always stand.
    """

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        APPLIED = "applied", "Applied"
        FAILED = "failed", "Failed"

    key = models.TextField(unique=True)
    name = models.TextField()
    subject = models.TextField()
    parameters = models.JSONField(default=dict)
    actor = models.TextField()
    reason = models.TextField()
    status = models.TextField(choices=Status, db_default=Status.STARTED)
    plan = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_operations"
        ordering = ["-created_at", "-id"]
        verbose_name = "operation"
        default_permissions = ("view",)
        indexes = [
            models.Index("subject", "created_at", name="billing_operations_subject"),
            models.Index("created_at", "id", name="billing_operations_created"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.subject}"
