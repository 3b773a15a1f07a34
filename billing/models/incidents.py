"""Incidents: times of trouble that somebody looks after, from their start to a closing report."""

from django.db import models
from django.db.models import Q, QuerySet

from billing.models.events import ClockTimestamp
from billing.models.guards import append_only, audit_raw_sql, note_changes


class Incident(models.Model):
    """A time in which something was wrong as a whole, and who looks after it. Times are UTC.

    The trouble began at `started_at`, which is mostly before `opened_at`, when somebody said so;
    `ended_at` is null while it is open. `alert` is what it was opened from, and `operation_key`
    the operation that opened it. `figures` are what its report says in numbers, as they were when
    it was closed.
    """

    title = models.TextField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    owner = models.TextField(help_text="The user who looks after it.")
    opened_by = models.TextField()
    opened_at = models.DateTimeField(db_default=ClockTimestamp())
    closed_by = models.TextField(blank=True, db_default="")
    closing_report = models.TextField(blank=True, db_default="")
    figures = models.JSONField(default=dict)
    alert = models.ForeignKey(
        "Alert", null=True, blank=True, on_delete=models.PROTECT, related_name="incidents"
    )
    operation_key = models.TextField(unique=True)

    class Meta:
        db_table = "billing_incidents"
        ordering = ["-started_at", "-id"]
        verbose_name = "incident"
        default_permissions = ("view",)
        indexes = [
            models.Index(
                "started_at", condition=Q(ended_at__isnull=True), name="billing_incidents_open"
            )
        ]
        triggers = [*audit_raw_sql(), *note_changes()]

    def __str__(self) -> str:
        return self.title


def open_incidents() -> QuerySet[Incident]:
    """Those that are open, the latest trouble first."""
    return Incident.objects.filter(ended_at=None)


def current_incident() -> Incident | None:
    """The one that what is done now belongs to: the open one with the latest trouble."""
    return open_incidents().first()


class IncidentEntry(models.Model):
    """What was written down in an incident, or who was told of it and how. It stays as it is.

    `told` are the email addresses that a message goes to, and `team` for those whom the alerts
    tell; where somebody told them otherwise, `by` says how, and they are names.
    """

    class Kind(models.TextChoices):
        NOTE = "note", "Note"
        TOLD = "told", "Told"

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="entries")
    kind = models.TextField(choices=Kind)
    text = models.TextField()
    told = models.JSONField(default=list, help_text="Who was told.")
    by = models.TextField(blank=True, db_default="")
    actor = models.TextField()
    operation_key = models.TextField(unique=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "billing_incident_entries"
        ordering = ["-created_at", "-id"]
        verbose_name = "incident entry"
        verbose_name_plural = "incident entries"
        default_permissions = ()
        indexes = [models.Index("incident", "created_at", name="billing_incident_entries_of")]
        triggers = [append_only(), *note_changes()]

    def __str__(self) -> str:
        return self.text[:60]
