"""Emergencies: what was recovered, which backups there are, how far the books are exported."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from billing.models.events import ClockTimestamp
from billing.models.incidents import Incident
from billing.models.reconciliation import ReconciliationRun


class Recovery(models.Model):
    """One recovery of what was lost, from its start, or from where it was, to its end.

    An outage's looks at what happened at Stripe from `since` up to `until` (UTC); a restore's at
    what happened after the backup. `cursor` is the last event that was listed, so that one that
    was killed goes on there. `critical_only` is for while the endpoint is down: the ranked queue
    alone is worked, without an end. `counts` and `report` say what came of it, `run` is the
    reconciliation that it ended with.
    """

    class Kind(models.TextChoices):
        OUTAGE = "outage", "Outage"
        RESTORE = "restore", "Restore"

    class Status(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    kind = models.TextField(choices=Kind)
    status = models.TextField(choices=Status, db_default=Status.RUNNING)
    since = models.DateTimeField()
    until = models.DateTimeField()
    critical_only = models.BooleanField(db_default=False)
    actor = models.TextField(help_text="Who started it.")
    started_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(db_default=0, help_text="Worked on, interruptions left out.")
    stage = models.TextField(blank=True, db_default="", help_text="What it is at.")
    cursor = models.TextField(blank=True, db_default="")
    error = models.TextField(blank=True, db_default="")
    counts = models.JSONField(default=dict)
    report = models.JSONField(default=dict)
    api_calls = models.PositiveIntegerField(db_default=0)
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="recoveries"
    )
    run = models.ForeignKey(
        ReconciliationRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        db_table = "billing_recoveries"
        ordering = ["-started_at", "-id"]
        verbose_name = "recovery"
        verbose_name_plural = "recoveries"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} recovery {self.pk}"


class MissedEvent(models.Model):
    """One event that Stripe has and we had not processed, on its way through a recovery.

    `position` is its place in Stripe's list, which begins with the newest. `missed_as` says how it
    was missed. `rank` is its place in the queue of what is critical, 0 for the most critical.
    """

    class MissedAs(models.TextChoices):
        UNDELIVERED = "undelivered", "Not delivered"
        UNSTORED = "unstored", "Answered, never stored"
        UNPROCESSED = "unprocessed", "Stored, not processed"

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    recovery = models.ForeignKey(Recovery, on_delete=models.CASCADE, related_name="events")
    position = models.BigIntegerField()
    stripe_event_id = models.TextField()
    type = models.TextField()
    object_id = models.TextField(blank=True, db_default="")
    customer_id = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(help_text="Stripe's time.")
    body = models.TextField()
    missed_as = models.TextField(choices=MissedAs)
    rank = models.PositiveSmallIntegerField()
    status = models.TextField(choices=Status, db_default=Status.WAITING)
    said = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_missed_events"
        ordering = ["-position"]
        verbose_name = "missed event"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["recovery", "stripe_event_id"], name="billing_missed_events_once"
            )
        ]
        indexes = [
            models.Index(
                "recovery", "status", F("position").desc(), name="billing_missed_events_order"
            ),
            models.Index(
                "recovery",
                "rank",
                F("position").desc(),
                condition=Q(status="waiting"),
                name="billing_missed_events_rank",
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_event_id


class Backup(models.Model):
    """One backup of the database, as this database knows it: the files themselves say the same.

    `taken_at` is the moment of which it holds the state (UTC), `size` in bytes. It is good once
    it was restored into a scratch database and found the same: `verified_at`. `deleted_at` is
    when it was too old to be kept.
    """

    name = models.TextField(unique=True)
    taken_at = models.DateTimeField()
    actor = models.TextField()
    location = models.TextField()
    size = models.BigIntegerField()
    seconds = models.FloatField()
    verified_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, db_default="")
    manifest = models.JSONField(default=dict)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_backups"
        ordering = ["-taken_at", "-id"]
        verbose_name = "backup"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name


class Assessment(models.Model):
    """One look at whether the database is whole: each check with what it found, and whom."""

    actor = models.TextField()
    started_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    is_whole = models.BooleanField(null=True, blank=True)
    checks = models.JSONField(default=list)
    users = models.JSONField(default=list)

    class Meta:
        db_table = "billing_assessments"
        ordering = ["-started_at", "-id"]
        verbose_name = "assessment"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"Assessment {self.pk}"


class ExportProgress(models.Model):
    """How far one stream of the books is exported to a place outside the database.

    Rows up to `last_id` are in its `segment` segments at `place`, whose last has the SHA-256
    `digest`; everything that was committed before `exported_at` (UTC) is. `pending` is the next
    segment's bytes: they stand here first, so that it is the same one however often it is tried.

    What comes next: up to `next_id`, once every transaction that was writing at `noted_at` is
    over, those in `waits_for`. Ids are given before their rows can be seen.
    """

    stream = models.TextField(primary_key=True)
    place = models.TextField(db_default="")
    segment = models.BigIntegerField(db_default=0)
    digest = models.TextField(blank=True, db_default="")
    last_id = models.BigIntegerField(db_default=0)
    pending = models.BinaryField(null=True)
    next_id = models.BigIntegerField(db_default=0)
    waits_for = ArrayField(models.TextField(), default=list)
    noted_at = models.DateTimeField(null=True)
    exported_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_export_progress"
        default_permissions = ()

    def __str__(self) -> str:
        return self.stream


class ExportChange(models.Model):
    """Rows of one table that one statement wrote and the export has still to take out.

    Made by the triggers `note_changes` (billing.models.guards).
    """

    table_name = models.TextField()
    row_ids = ArrayField(models.BigIntegerField())

    class Meta:
        db_table = "billing_export_changes"
        ordering = ["id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.table_name}: {len(self.row_ids)}"


class SmokeTest(models.Model):
    """One try of the payment flows that everything depends on, step by step."""

    actor = models.TextField()
    mode = models.TextField(help_text="Where: the sandbox, a test account, or live.")
    started_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    watched_until = models.DateTimeField(null=True, blank=True)
    ok = models.BooleanField(null=True, blank=True)
    steps = models.JSONField(default=list)

    class Meta:
        db_table = "billing_smoke_tests"
        ordering = ["-started_at", "-id"]
        verbose_name = "smoke test"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"Smoke test {self.pk}"
