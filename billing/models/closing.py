"""Months that finance closes: who signed and reviewed them, their figures, and their rows."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.balance import RevenueEntry
from billing.models.guards import append_only, audit_raw_sql, no_truncate, note_changes

# What may still be said of a month that was closed.
STILL_SAID = (
    "ARRAY['state', 'reopened_by', 'reopened_at', 'reopened_word', 'later', 'checked_at', 'stage']"
)


class BridgeDay(models.Model):
    """What Stripe's own lists said of a whole day: one row of the bridge, in minor units.

    `day` is one of `zone` (an IANA name); `part` is `collected` or `settled`, whose `items` are
    said in billing.revenue.stripes. `remainder` is what they do not explain, `causes` the ids
    that it comes from. A day that was read and on which nothing moved has a row without currency.
    """

    day = models.DateField()
    zone = models.TextField()
    currency = models.TextField(blank=True, db_default="")
    part = models.TextField()
    items = models.JSONField(default=dict)
    remainder = models.BigIntegerField(db_default=0)
    causes = models.JSONField(default=list)
    read_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_bridge_days"
        ordering = ["day", "part", "currency"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["zone", "day", "part", "currency"], name="billing_bridge_days_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.part} {self.currency}".strip()


class MonthClose(models.Model):
    """A month of `timezone` on its way from open to signed to closed. Times in UTC.

    `month` is its first day. What is signed and reviewed stands in `figures` (minor units), what
    was looked at in `checklist`; `explanation` is the signer's word on what was open in it. Once
    closed, `entries` rows are frozen in `billing_closed_entries`, and `hash` is the SHA-256 of
    them and of the figures; `later` counts what has come since, as the worker last saw it. A
    closed month that is opened again keeps all of that, and goes on as another row. `stage` is
    what a check against Stripe is at, '' for none under way.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        SIGNED = "signed", "Signed"
        CLOSED = "closed", "Closed"
        REOPENED = "reopened", "Opened again"

    id = models.BigAutoField(primary_key=True)
    month = models.DateField()
    timezone = models.TextField()
    state = models.TextField(choices=State, db_default=State.OPEN)
    signed_by = models.TextField(blank=True, db_default="")
    signed_at = models.DateTimeField(null=True, blank=True)
    signed_word = models.TextField(blank=True, db_default="")
    explanation = models.TextField(blank=True, db_default="")
    reviewed_by = models.TextField(blank=True, db_default="")
    reviewed_at = models.DateTimeField(null=True, blank=True)
    reviewed_word = models.TextField(blank=True, db_default="")
    reopened_by = models.TextField(blank=True, db_default="")
    reopened_at = models.DateTimeField(null=True, blank=True)
    reopened_word = models.TextField(blank=True, db_default="")
    figures = models.JSONField(default=dict)
    checklist = models.JSONField(default=list)
    entries = models.BigIntegerField(db_default=0)
    hash = models.TextField(blank=True, db_default="")
    later = models.JSONField(default=dict, help_text="What has come since it was closed.")
    checked_at = models.DateTimeField(null=True, blank=True, help_text="Against Stripe.")
    stage = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_month_closes"
        ordering = ["-month", "-id"]
        verbose_name = "month"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["month"], condition=~Q(state="reopened"), name="billing_month_closes_one"
            )
        ]
        triggers = [
            pgtrigger.Trigger(
                name="closed_stays",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__state__in=["closed", "reopened"]),
                func=f"""
                    IF TG_OP = 'UPDATE' AND NEW.state IN (OLD.state, 'reopened')
                       AND to_jsonb(NEW) - {STILL_SAID} = to_jsonb(OLD) - {STILL_SAID} THEN
                        RETURN NEW;
                    END IF;
                    RAISE EXCEPTION 'A closed month stays as it was signed: % is refused', TG_OP
                    USING ERRCODE = 'integrity_constraint_violation',
                    HINT = 'Open it again: what was closed is kept, and the month is signed anew.';
                """,
            ),
            no_truncate(),
            *audit_raw_sql(),
            *note_changes(),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class ClosedEntry(models.Model):
    """A revenue entry as it was when its month was closed: a copy that nothing changes."""

    id = models.BigAutoField(primary_key=True)
    close = models.ForeignKey(MonthClose, on_delete=models.PROTECT, related_name="frozen")
    source = models.TextField()
    line = models.IntegerField()
    at = models.DateTimeField()
    item = models.TextField(choices=RevenueEntry.Item)
    currency = models.TextField()
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    settled_currency = models.TextField()
    settled_amount = models.BigIntegerField()
    settled_fee = models.BigIntegerField()
    tax = models.BigIntegerField()
    kind = models.TextField(choices=RevenueEntry.Kind)
    price_id = models.TextField(blank=True, db_default="")
    product_id = models.TextField(blank=True, db_default="")
    country = models.TextField(blank=True, db_default="")
    customer_id = models.TextField(blank=True, db_default="")
    user_id = models.TextField(blank=True, db_default="")
    charge_id = models.TextField(blank=True, db_default="")
    invoice_id = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_closed_entries"
        ordering = ["close", "at", "id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["close", "source", "line"], name="billing_closed_entries_once"
            )
        ]
        indexes = [models.Index("charge_id", name="billing_closed_entries_charge")]
        triggers = [append_only(), *note_changes()]

    def __str__(self) -> str:
        return f"{self.source} line {self.line}"
