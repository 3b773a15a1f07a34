"""What reconciliation found, run by run: its runs, their parts, and the findings they leave."""

from typing import Any

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper

from billing.models.events import ClockTimestamp
from billing.models.guards import note_changes
from billing.models.incidents import Incident

GRAVEST_FIRST = (
    "rank",
    F("amount").desc(nulls_last=True),
    F("credits").desc(nulls_last=True),
    "first_seen_at",
    "id",
)
"""Findings by severity, then by what is at stake; what is not known comes last."""


class ReconciliationRun(models.Model):
    """One comparison of our books with Stripe's. Money in minor units, times in UTC.

    It looks at what was made from `since` (null: from the beginning) up to, and without,
    `until`. `counts` has for each kind of object how many there are at Stripe and here, how many
    differ, and what they are worth; `differences` the number of findings by kind, `at_stake` their
    amounts by currency and their `credits`; `measures` completeness, timeliness and clearing,
    events by hour, and the `credits` outstanding by lots, ledger and balances; `report` the weekly
    run's usage and revenue, whose days are those of `timezone`. Finance signs it off with a
    word.
    """

    class Kind(models.TextChoices):
        DAILY = "daily", "Daily"
        WEEKLY = "weekly", "Weekly"
        FULL = "full", "Full"

    class Status(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    kind = models.TextField(choices=Kind)
    status = models.TextField(choices=Status, db_default=Status.RUNNING)
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField()
    timezone = models.TextField(db_default="UTC")
    actor = models.TextField(help_text="Who started it.")
    started_at = models.DateTimeField(db_default=ClockTimestamp())
    finished_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(db_default=0, help_text="Worked on, interruptions left out.")
    stage = models.TextField(blank=True, db_default="", help_text="What it is at.")
    error = models.TextField(blank=True, db_default="")
    counts = models.JSONField(default=dict)
    differences = models.JSONField(default=dict)
    at_stake = models.JSONField(default=dict)
    measures = models.JSONField(default=dict)
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    report = models.JSONField(default=dict)
    api_calls = models.PositiveIntegerField(db_default=0)
    in_flight = models.PositiveIntegerField(
        db_default=0, help_text="Objects left out: an event about them was still on its way."
    )
    signed_off_by = models.TextField(blank=True, db_default="")
    signed_off_at = models.DateTimeField(null=True, blank=True)
    sign_off = models.TextField(blank=True, db_default="", help_text="Finance's own words.")

    class Meta:
        db_table = "billing_reconciliation_runs"
        ordering = ["-started_at", "-id"]
        verbose_name = "reconciliation run"
        default_permissions = ("view",)
        indexes = [models.Index("kind", "started_at", name="billing_runs_kind")]
        triggers = note_changes()

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.until:%Y-%m-%d %H:%M}"

    @property
    def found(self) -> int:
        """How many findings it left."""
        return sum(self.differences.values())


class ReconciliationSlice(models.Model):
    """A part of one of Stripe's lists that a run reads as a whole, or again from its start.

    `list` names it (billing.reconciliation.lists), `since` and `until` bound when its objects
    were made (UTC; null where it is open).
    """

    run = models.ForeignKey(ReconciliationRun, on_delete=models.CASCADE, related_name="slices")
    list = models.TextField()
    since = models.DateTimeField(null=True)
    until = models.DateTimeField()
    done = models.BooleanField(db_default=False)
    counts = models.JSONField(default=dict)

    class Meta:
        db_table = "billing_reconciliation_slices"
        ordering = ["id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.list} until {self.until:%Y-%m-%d %H:%M}"


class ReconciliationSuspect(models.Model):
    """Something that looked different, to be examined by the checks (billing.diagnosis).

    What it is about: a Stripe object (`kind` and `object_id`), a customer, a user of ours, as far
    as they are known; `person` stands for all that is examined together. `event` is what Stripe
    lists and never came here. `in_flight`: an event about it was still on its way.
    """

    run = models.ForeignKey(ReconciliationRun, on_delete=models.CASCADE, related_name="suspects")
    kind = models.TextField(blank=True, db_default="")
    object_id = models.TextField(blank=True, db_default="")
    stripe_customer_id = models.TextField(blank=True, db_default="")
    user_id = models.TextField(blank=True, db_default="")
    event = models.JSONField(null=True)
    person = models.TextField(blank=True, db_default="")
    examined = models.BooleanField(db_default=False)
    in_flight = models.BooleanField(db_default=False)

    class Meta:
        db_table = "billing_reconciliation_suspects"
        ordering = ["id"]
        default_permissions = ()
        indexes = [
            models.Index("run", "person", condition=Q(examined=False), name="billing_suspects_open")
        ]

    def __str__(self) -> str:
        return self.object_id or self.user_id or self.stripe_customer_id


class FindingRecord(models.Model):
    """One difference and the work on it: the same row whenever the same thing is found again.

    What the check said stands as it last said it (billing.diagnosis.findings.Finding). It is open
    until it is true no more; meanwhile somebody may own it, put it off (`snoozed_until`, UTC) or
    accept it with a reason, which holds for what was at stake then. `resolved_by` is the key of
    the operation that mended it, or `itself`. `operation_key` is the operation last tried.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        SNOOZED = "snoozed", "Put off"
        ACCEPTED = "accepted", "Accepted"
        RESOLVED = "resolved", "Resolved"

    ITSELF = "itself"
    # What waits for somebody: open ones, and those put off until a time that has passed.
    OPEN = Q(state=State.OPEN) | Q(state=State.SNOOZED, snoozed_until__lte=Now())

    kind = models.TextField()
    subject = models.TextField()
    severity = models.TextField()
    rank = models.SmallIntegerField(help_text="Of the severity: 0 is the gravest.")
    verdict = models.TextField()
    evidence = models.JSONField(default=list)
    fix = models.JSONField(null=True, blank=True)
    amount = models.BigIntegerField(null=True, blank=True)
    currency = models.TextField(blank=True, db_default="")
    credits = models.BigIntegerField(null=True, blank=True)
    user_id = models.TextField(blank=True, db_default="")
    stripe_customer_id = models.TextField(blank=True, db_default="")
    state = models.TextField(choices=State, db_default=State.OPEN)
    owner = models.TextField(blank=True, db_default="")
    snoozed_until = models.DateTimeField(null=True, blank=True)
    state_reason = models.TextField(blank=True, db_default="")
    state_by = models.TextField(blank=True, db_default="")
    first_seen_at = models.DateTimeField(db_default=ClockTimestamp())
    last_seen_at = models.DateTimeField(db_default=ClockTimestamp())
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.TextField(blank=True, db_default="")
    operation_key = models.TextField(blank=True, db_default="")
    run = models.ForeignKey(
        ReconciliationRun,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="findings",
        help_text="The last one that found it.",
    )

    class Meta:
        db_table = "billing_findings"
        ordering = ["rank", "-amount", "-credits", "first_seen_at", "id"]
        verbose_name = "finding"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "subject"], name="billing_findings_same")
        ]
        indexes = [
            models.Index("state", "rank", "first_seen_at", name="billing_findings_state"),
            models.Index("user_id", name="billing_findings_user"),
            models.Index("stripe_customer_id", name="billing_findings_customer"),
            models.Index("owner", name="billing_findings_owner"),
            models.Index("currency", name="billing_findings_currency"),
            models.Index("first_seen_at", name="billing_findings_first_seen"),
            models.Index("last_seen_at", "id", name="billing_findings_seen"),
            # The worklist's order (billing.reconciliation.worklist), in one state and in all.
            models.Index("state", *GRAVEST_FIRST, name="billing_findings_worklist"),
            models.Index(*GRAVEST_FIRST, name="billing_findings_gravest"),
            GinIndex(OpClass(Upper("verdict"), "gin_trgm_ops"), name="billing_findings_verdict"),
        ]
        triggers = note_changes()

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.subject}"

    @property
    def fix_params(self) -> dict[str, Any]:
        """The recommended operation's arguments; {} where there is no fix."""
        return dict((self.fix or {}).get("params") or {})


class RequestPace(models.Model):
    """When the next request of bulk reading may go to Stripe, for all processes together."""

    name = models.TextField(primary_key=True)
    next_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "billing_request_pace"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
