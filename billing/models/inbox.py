"""`billing_inbox`: every event that Stripe has had a 200 for, and what became of it."""

from django.db import models
from django.db.models import Q

from billing.models.events import ClockTimestamp
from billing.models.modes import mode_index


class InboxEvent(models.Model):
    """One webhook delivery to process, unique by Stripe's event id.

    `body` is the request's body as it was signed. An event is `processed` only in the
    transaction in which its effects commit; `next_attempt_at` is when a worker may take
    it (again), and serves as the lease of the worker that has it. Times are UTC.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        FAILED = "failed", "Failed, will be retried"
        DEAD = "dead", "Dead, needs a person"
        PROCESSED = "processed", "Processed"
        IGNORED = "ignored", "Needs nothing"
        SET_ASIDE = "set_aside", "Set aside"

    OPEN = (Status.PENDING, Status.FAILED)

    class Source(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        API = "api", "Fetched from Stripe"

    stripe_event_id = models.TextField(unique=True)
    type = models.TextField()
    object_id = models.TextField(blank=True, db_default="")
    customer_id = models.TextField(blank=True, db_default="")
    api_version = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    body = models.TextField()
    source = models.TextField(choices=Source, db_default=Source.WEBHOOK)
    status = models.TextField(choices=Status, db_default=Status.PENDING)
    reason = models.TextField(blank=True, db_default="", help_text="Why it is where it is.")
    attempts = models.PositiveIntegerField(db_default=0)
    next_attempt_at = models.DateTimeField(db_default=ClockTimestamp())
    stripe_created_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=ClockTimestamp())
    processed_at = models.DateTimeField(null=True, blank=True)
    receivers_due = models.BooleanField(
        db_default=False, help_text="The company's own dj-stripe receivers are still to be called."
    )
    receiver_error = models.TextField(blank=True, db_default="")
    payload_dropped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_inbox"
        ordering = ["-received_at", "-id"]
        verbose_name = "inbox event"
        verbose_name_plural = "inbox"
        default_permissions = ("view",)
        permissions = [("replay_event", "Can replay an event")]
        indexes = [
            models.Index(
                "next_attempt_at",
                "id",
                condition=Q(status__in=["pending", "failed"]),
                name="billing_inbox_open",
            ),
            models.Index("id", condition=Q(receivers_due=True), name="billing_inbox_receivers_due"),
            models.Index("status", "received_at", name="billing_inbox_status"),
            models.Index("received_at", "id", name="billing_inbox_received"),
            models.Index("type", "received_at", name="billing_inbox_type"),
            models.Index("object_id", name="billing_inbox_object"),
            models.Index("customer_id", name="billing_inbox_customer"),
            models.Index("stripe_created_at", name="billing_inbox_created"),
            models.Index(
                "received_at",
                condition=Q(payload_dropped_at=None),
                name="billing_inbox_payload",
            ),
            models.Index(
                "received_at", condition=~Q(receiver_error=""), name="billing_inbox_receivers"
            ),
            mode_index("billing_inbox_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"


class WebhookRejection(models.Model):
    """How many requests to the webhook were refused in an hour, by reason.

    The bodies are never stored: nobody has vouched for them.
    """

    hour = models.DateTimeField()
    reason = models.TextField()
    count = models.PositiveBigIntegerField(db_default=0)
    last_at = models.DateTimeField(db_default=ClockTimestamp())
    last_detail = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_webhook_rejections"
        ordering = ["-hour", "reason"]
        verbose_name = "refused webhook"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["hour", "reason"], name="billing_rejection_hour_reason")
        ]

    def __str__(self) -> str:
        return f"{self.count} x {self.reason}"
