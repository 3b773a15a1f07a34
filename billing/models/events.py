"""`billing_events`: the append-only log of Stripe's events and of what people did."""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now

from billing.models.audit import link_audit_events
from billing.models.guards import append_only
from billing.models.modes import mode_index

NOT_STRIPES = Q(stripe_event_id=None)
AUDITED = {who: NOT_STRIPES & Q(type__startswith=f"{who}.") for who in ("manual", "system", "sql")}
"""The audit log's events by who did it: people, the back office itself, raw SQL."""


class CurrentActor(Func):
    """The database's own word on who writes: the actor set, else `sql:<session user>`."""

    template = (
        "coalesce(nullif(current_setting('billing.actor', true), ''), 'sql:' || session_user)"
    )
    output_field = models.TextField()


class ClockTimestamp(Func):
    """The time of the statement, where now() is that of the transaction's start."""

    template = "clock_timestamp()"
    output_field = models.DateTimeField()


class BillingEvent(models.Model):
    """One thing that happened: a Stripe event, or an audit event of ours.

    `type` is Stripe's, or starts with `manual.`, `system.` or `sql.`. `payload` is
    the Stripe event's `data.object`, with `subscription` and `metadata.user_id` filled
    in where newer API versions moved them. `created_at` is when it happened (Stripe's
    time for Stripe's events), `recorded_at` when it was written here. All times UTC.
    """

    id = models.BigAutoField(primary_key=True)
    type = models.TextField()
    payload = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    created_at = models.DateTimeField(db_default=Now())
    recorded_at = models.DateTimeField(db_default=ClockTimestamp())
    stripe_event_id = models.TextField(null=True, blank=True, unique=True)
    api_version = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    actor = models.TextField(db_default=CurrentActor())

    class Meta:
        db_table = "billing_events"
        ordering = ["-created_at", "-id"]
        verbose_name = "event"
        verbose_name_plural = "events and audit log"
        default_permissions = ("view",)
        indexes = [
            models.Index("created_at", "id", name="billing_events_created"),
            models.Index("type", "created_at", name="billing_events_type"),
            models.Index(
                KeyTextTransform("subscription", "payload"),
                "created_at",
                name="billing_events_subscription",
            ),
            models.Index(
                KeyTextTransform("user_id", KeyTextTransform("metadata", "payload")),
                "created_at",
                name="billing_events_metadata_user",
            ),
            models.Index(
                KeyTextTransform("user_id", "payload"), "created_at", name="billing_events_user"
            ),
            models.Index(
                KeyTextTransform("customer", "payload"),
                "created_at",
                name="billing_events_customer",
            ),
            models.Index(
                KeyTextTransform("id", "payload"), "created_at", name="billing_events_object"
            ),
            mode_index("billing_events_mode"),
            # Of those that are not Stripe's: few among millions, and the audit log's pages.
            models.Index("id", condition=NOT_STRIPES, name="billing_events_ours"),
            models.Index(
                "created_at", "id", condition=NOT_STRIPES, name="billing_events_ours_created"
            ),
            models.Index(
                KeyTextTransform("customer", "payload"),
                condition=NOT_STRIPES,
                name="billing_events_ours_customer",
            ),
            models.Index("actor", "created_at", condition=NOT_STRIPES, name="billing_events_actor"),
            GinIndex(
                fields=["payload"],
                opclasses=["jsonb_path_ops"],
                condition=NOT_STRIPES,
                name="billing_events_about",
            ),
        ]
        triggers = [append_only(), link_audit_events()]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id or self.pk}"


class AuditEvent(BillingEvent):
    """What people, the back office itself and raw SQL did: `billing_events` without Stripe's."""

    class Meta:
        proxy = True
        ordering = ["-id"]
        verbose_name = "audit event"
        verbose_name_plural = "audit log"
        default_permissions = ("view",)
