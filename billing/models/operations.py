"""What people asked the back office to change, who agreed, and what became of it."""

from django.db import models
from django.db.models import Q

from billing.models.events import ClockTimestamp
from billing.models.guards import note_changes
from billing.models.incidents import Incident
from billing.permissions import DECLARED


class ReasonCode(models.Model):
    """One of the short list of reasons that an operation is done for; people add words."""

    code = models.SlugField(unique=True, help_text="Short, for reports: it is never changed.")
    label = models.TextField(help_text="What people choose.")
    is_active = models.BooleanField(default=True, db_default=True)
    position = models.PositiveSmallIntegerField(default=100, db_default=100)

    class Meta:
        db_table = "billing_reason_codes"
        ordering = ["position", "label"]
        verbose_name = "reason"
        default_permissions = ("view", "add", "change")
        triggers = note_changes()

    def __str__(self) -> str:
        return self.label


class OperationRecord(models.Model):
    """One operation that was started, unique by its idempotency key.

    The key is made when a form is rendered or a command starts, and goes to Stripe too:
    a second click, a reload or a retry after a crash finds this row. `parameters` are the
    constructor's own arguments, so that the operation can be built again. `plan` and
    `result` are what was shown before and after; `reason` and `actor` always stand.

    One that needs a second person is `requested` until somebody decides or `expires_at`
    (UTC) passes; `approval` says why it needs one. `undoes` is what it takes back.
    """

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        REQUESTED = "requested", "Waits for approval"
        APPLIED = "applied", "Applied"
        FAILED = "failed", "Failed"
        REJECTED = "rejected", "Rejected"
        EXPIRED = "expired", "Expired"

    key = models.TextField(unique=True)
    name = models.TextField()
    subject = models.TextField()
    parameters = models.JSONField(default=dict)
    actor = models.TextField()
    reason = models.TextField()
    reason_code = models.TextField(blank=True, db_default="")
    ticket = models.TextField(blank=True, db_default="")
    status = models.TextField(choices=Status, db_default=Status.STARTED)
    plan = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True, db_default="")
    approval = models.TextField(blank=True, db_default="")
    decided_by = models.TextField(blank=True, db_default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    decision = models.TextField(blank=True, db_default="", help_text="The approver's own words.")
    expires_at = models.DateTimeField(null=True, blank=True)
    undoes = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="undone_by"
    )
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="operations"
    )

    class Meta:
        db_table = "billing_operations"
        ordering = ["-created_at", "-id"]
        verbose_name = "operation"
        default_permissions = ("view",)
        permissions = [
            (permission.removeprefix("billing."), label) for permission, label in DECLARED.items()
        ]
        indexes = [
            models.Index("subject", "created_at", name="billing_operations_subject"),
            models.Index("created_at", "id", name="billing_operations_created"),
            models.Index(
                "created_at",
                condition=Q(status="requested"),
                name="billing_operations_requested",
            ),
            models.Index("actor", "name", "created_at", name="billing_operations_actor"),
            models.Index("status", "created_at", "id", name="billing_operations_status"),
        ]
        triggers = note_changes()

    def __str__(self) -> str:
        return f"{self.name} {self.subject}"


class BulkJob(models.Model):
    """One operation on many targets, which the worker carries out one after another.

    `answers` are the arguments that all targets share. A draft has its targets and waits
    for a person to start it. A stopped one goes on where it was. Times are UTC.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Not started"
        RUNNING = "running", "Running"
        STOPPED = "stopped", "Stopped"
        DONE = "done", "Done"

    key = models.TextField(unique=True)
    name = models.TextField()
    answers = models.JSONField(default=dict)
    actor = models.TextField()
    reason = models.TextField(blank=True, db_default="")
    reason_code = models.TextField(blank=True, db_default="")
    ticket = models.TextField(blank=True, db_default="")
    status = models.TextField(choices=Status, db_default=Status.DRAFT)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="bulk_jobs"
    )

    class Meta:
        db_table = "billing_bulk_jobs"
        ordering = ["-created_at", "-id"]
        verbose_name = "bulk job"
        default_permissions = ("view",)
        triggers = note_changes()

    def __str__(self) -> str:
        return f"{self.name} ({self.created_at:%Y-%m-%d %H:%M})"


class BulkItem(models.Model):
    """One target of a bulk job, and what became of it."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DONE = "done", "Done"
        REQUESTED = "requested", "Waits for approval"
        SKIPPED = "skipped", "Skipped"
        FAILED = "failed", "Failed"

    job = models.ForeignKey(BulkJob, on_delete=models.PROTECT, related_name="items")
    target = models.TextField()
    status = models.TextField(choices=Status, db_default=Status.WAITING)
    said = models.TextField(blank=True, db_default="")
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_bulk_items"
        ordering = ["id"]
        verbose_name = "item of a bulk job"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job", "target"], name="billing_bulk_items_target")
        ]
        indexes = [models.Index("job", "status", "id", name="billing_bulk_items_status")]
        triggers = note_changes()

    def __str__(self) -> str:
        return self.target

    @property
    def key(self) -> str:
        """The idempotency key of this target's operation."""
        return f"{self.job.key}-{self.pk}"


class StatusOverride(models.Model):
    """A subscription's status that a person set against Stripe's, for a time.

    It ends when `expires_at` (UTC) passes or Stripe's own word comes in; `ended_by` says
    which, and is '' while it is in force.
    """

    stripe_subscription_id = models.TextField()
    status_before = models.TextField()
    status = models.TextField()
    actor = models.TextField()
    reason = models.TextField()
    operation_key = models.TextField(unique=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_status_overrides"
        ordering = ["-created_at", "-id"]
        verbose_name = "status override"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["stripe_subscription_id"],
                condition=Q(ended_at__isnull=True),
                name="billing_status_overrides_one",
            )
        ]
        indexes = [
            models.Index(
                "expires_at",
                condition=Q(ended_at__isnull=True),
                name="billing_status_overrides_due",
            )
        ]
        triggers = note_changes()

    def __str__(self) -> str:
        return f"{self.stripe_subscription_id}: {self.status}"


class Note(models.Model):
    """What somebody wrote down about a customer. A withdrawn one stays, and says so."""

    stripe_customer_id = models.TextField(blank=True, db_default="")
    user_id = models.TextField(null=True, blank=True)
    text = models.TextField()
    actor = models.TextField()
    operation_key = models.TextField(unique=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_notes"
        ordering = ["-created_at", "-id"]
        verbose_name = "note"
        default_permissions = ("view",)
        indexes = [
            models.Index("stripe_customer_id", "created_at", name="billing_notes_customer"),
            models.Index("user_id", "created_at", name="billing_notes_user"),
        ]
        triggers = note_changes()

    def __str__(self) -> str:
        return self.text[:60]
