"""Alerts: what people are told of by itself, the messages that tell it, and what rules remember."""

from django.db import models
from django.db.models import Q

from billing.models.events import ClockTimestamp
from billing.models.guards import note_changes
from billing.models.incidents import Incident, IncidentEntry


class Alert(models.Model):
    """Something that people are told of while it is so, once, and once more when it is over.

    `rule` and `key` name it: at most one is open of each. `page` is the path that shows it.
    `told_at` and `over_told_at` (UTC) are when it went out by every configured way,
    `delivery_error` why it has not yet.
    """

    rule = models.TextField()
    key = models.TextField(blank=True, db_default="")
    severity = models.TextField()
    title = models.TextField()
    detail = models.TextField(blank=True, db_default="")
    page = models.TextField(blank=True, db_default="")
    opened_at = models.DateTimeField(db_default=ClockTimestamp())
    last_seen_at = models.DateTimeField(db_default=ClockTimestamp())
    resolved_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    over_told_at = models.DateTimeField(null=True, blank=True)
    delivery_error = models.TextField(blank=True, db_default="")
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="alerts"
    )

    class Meta:
        db_table = "billing_alerts"
        ordering = ["-opened_at", "-id"]
        verbose_name = "alert"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "key"],
                condition=Q(resolved_at__isnull=True),
                name="billing_alerts_one_open",
            )
        ]
        triggers = note_changes()

    def __str__(self) -> str:
        return self.title


class AlertMessage(models.Model):
    """One message of an alert, or of an incident's entry, by one way: kept until it went out.

    `next_attempt_at` (UTC) is when it may be tried (again), and serves as the lease of who tries
    it; null once it is given up. A message whose sender is killed goes out a second time rather
    than never.
    """

    class Occasion(models.TextChoices):
        OPENED = "opened", "Opened"
        RESOLVED = "resolved", "Resolved"
        WRITTEN = "written", "Written by hand"

    class Way(models.TextChoices):
        EMAIL = "email", "Email"
        WEBHOOK = "webhook", "Webhook"

    alert = models.ForeignKey(Alert, null=True, on_delete=models.CASCADE, related_name="messages")
    entry = models.ForeignKey(
        IncidentEntry, null=True, on_delete=models.PROTECT, related_name="messages"
    )
    occasion = models.TextField(choices=Occasion)
    way = models.TextField(choices=Way)
    attempts = models.PositiveIntegerField(db_default=0)
    next_attempt_at = models.DateTimeField(null=True, db_default=ClockTimestamp())
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_alert_messages"
        ordering = ["id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "occasion", "way"], name="billing_alert_messages_once"
            ),
            models.UniqueConstraint(fields=["entry", "way"], name="billing_entry_messages_once"),
            models.CheckConstraint(
                condition=Q(alert__isnull=True) ^ Q(entry__isnull=True),
                name="billing_alert_messages_of_one",
            ),
        ]
        indexes = [
            models.Index(
                "next_attempt_at",
                condition=Q(sent_at__isnull=True),
                name="billing_alert_messages_due",
            )
        ]

    def __str__(self) -> str:
        return f"{self.occasion} by {self.way}"


class WatchedRule(models.Model):
    """What a rule of the alerts remembers from one look to the next, and when it looks again."""

    rule = models.TextField(primary_key=True)
    next_at = models.DateTimeField(db_default=ClockTimestamp())
    memory = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))

    class Meta:
        db_table = "billing_watched_rules"
        default_permissions = ()

    def __str__(self) -> str:
        return self.rule
