"""Credits: the balances, the ledger that a trigger writes, the claims that spend them."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.events import ClockTimestamp, CurrentActor
from billing.models.guards import append_only, audit_raw_sql, no_truncate, note_changes


def _ledger(verb: str, operation: pgtrigger.Operation) -> pgtrigger.Trigger:
    """Writes the ledger for one statement on `lead_credits`, whoever the writer is.

    Our own code announces its entries in `billing.entries` (billing.projection.ledger)
    and they must add up to what the statement did. Without an announcement the writer
    was raw SQL, and the entry says so.
    """
    old, new = verb != "insert", verb != "delete"
    changes = {
        "insert": "SELECT user_id, balance AS delta, owed AS owed_delta, balance, owed FROM n",
        "update": (
            "SELECT user_id, coalesce(n.balance, 0) - coalesce(o.balance, 0) AS delta,"
            " coalesce(n.owed, 0) - coalesce(o.owed, 0) AS owed_delta,"
            " coalesce(n.balance, 0) AS balance, coalesce(n.owed, 0) AS owed"
            " FROM o FULL JOIN n USING (user_id)"
        ),
        "delete": (
            "SELECT user_id, -balance AS delta, -owed AS owed_delta, 0 AS balance, 0 AS owed FROM o"
        ),
    }[verb]
    return pgtrigger.Trigger(
        name=f"ledger_{verb}",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=operation,
        referencing=pgtrigger.Referencing(old="o" if old else None, new="n" if new else None),
        declare=[("announced", "jsonb"), ("stray", "text")],
        func=f"""
            announced := nullif(current_setting('billing.entries', true), '')::jsonb;
            IF announced IS NULL THEN
                INSERT INTO credit_entries
                    (user_id, delta, owed_delta, balance_after, owed_after, kind, actor, reason)
                SELECT user_id, delta, owed_delta, balance, owed, 'sql',
                       'sql:' || session_user, 'Changed by raw SQL'
                FROM ({changes}) AS changes
                WHERE delta <> 0 OR owed_delta <> 0;
            ELSE
                SELECT coalesce(c.user_id, a.user_id) INTO stray
                FROM (SELECT * FROM ({changes}) AS changes
                      WHERE delta <> 0 OR owed_delta <> 0) AS c
                FULL JOIN (
                    SELECT user_id, sum(delta) AS delta, sum(owed_delta) AS owed_delta
                    FROM jsonb_to_recordset(announced)
                        AS e(user_id text, delta bigint, owed_delta bigint)
                    GROUP BY user_id
                    HAVING sum(delta) <> 0 OR sum(owed_delta) <> 0
                ) AS a USING (user_id)
                WHERE c.delta IS DISTINCT FROM a.delta
                   OR c.owed_delta IS DISTINCT FROM a.owed_delta
                LIMIT 1;
                IF stray IS NOT NULL THEN
                    RAISE EXCEPTION 'the entries announced for user % do not add up', stray
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                INSERT INTO credit_entries
                    (user_id, delta, owed_delta, balance_after, owed_after, kind, source, reason)
                SELECT user_id, delta, owed_delta, balance_after, owed_after, kind, source,
                       coalesce(reason, '')
                FROM ROWS FROM (jsonb_to_recordset(announced)
                    AS (user_id text, delta bigint, owed_delta bigint, balance_after bigint,
                        owed_after bigint, kind text, source text, reason text))
                    WITH ORDINALITY AS e(user_id, delta, owed_delta, balance_after, owed_after,
                                         kind, source, reason, place)
                ORDER BY place;
            END IF;
            RETURN NULL;
        """,  # noqa: S608  (the statements stand above)
    )


class LeadCredits(models.Model):
    """A user's credits. No row means 0.

    `owed` are credits clawed back that had been spent already; the next grant pays
    them first (STRIPE.md, Checkout and credits).
    """

    user_id = models.TextField(primary_key=True)
    balance = models.BigIntegerField(db_default=0)
    owed = models.BigIntegerField(db_default=0)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "lead_credits"
        ordering = ["user_id"]
        verbose_name = "credit balance"
        default_permissions = ("view",)
        permissions = [
            ("grant_credits", "Can grant credits"),
            ("correct_balance", "Can correct a balance"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(balance__gte=0), name="lead_credits_not_negative"),
            models.CheckConstraint(condition=Q(owed__gte=0), name="lead_credits_owed_not_negative"),
        ]
        indexes = [
            models.Index("user_id", condition=Q(owed__gt=0), name="lead_credits_owing"),
        ]
        triggers = [
            _ledger("insert", pgtrigger.Insert),
            _ledger("update", pgtrigger.Update),
            _ledger("delete", pgtrigger.Delete),
            no_truncate(),
            *audit_raw_sql(key="user_id"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.balance}"


class CreditEntry(models.Model):
    """One line of the ledger: what changed a balance, by how much, why, and who.

    A user's `delta`s always add up to their balance, the `owed_delta`s to what they
    owe. `source` names what was bought, refunded or disputed, and is unique: it is why
    nothing can be granted twice.
    """

    class Kind(models.TextChoices):
        PACK = "pack", "Credit pack"
        SUBSCRIPTION = "subscription", "Subscription"
        REFUND = "refund", "Refund"
        REFUND_FAILED = "refund_failed", "Refund failed"
        DISPUTE = "dispute", "Dispute"
        DISPUTE_WON = "dispute_won", "Dispute reversed"
        GRANT = "grant", "Granted by hand"
        CORRECTION = "correction", "Correction"
        CLAIM = "claim", "Lead claim"
        SQL = "sql", "Raw SQL"
        OPENING = "opening", "Opening balance"

    user_id = models.TextField()
    delta = models.BigIntegerField()
    owed_delta = models.BigIntegerField(db_default=0)
    balance_after = models.BigIntegerField()
    owed_after = models.BigIntegerField(db_default=0)
    kind = models.TextField(choices=Kind)
    source = models.TextField(null=True, blank=True)
    actor = models.TextField(db_default=CurrentActor())
    reason = models.TextField(blank=True, db_default="")
    created_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        db_table = "credit_entries"
        ordering = ["-id"]
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=Q(source__isnull=False), name="credit_entries_source"
            )
        ]
        indexes = [
            models.Index("user_id", "id", name="credit_entries_user"),
            models.Index("created_at", "id", name="credit_entries_created"),
            models.Index("kind", "created_at", "id", name="credit_entries_of_kind"),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.user_id} {self.delta:+d}"


class LeadClaim(models.Model):
    """A lead that a user claimed, what it cost in credits, and whether it worked."""

    class Status(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"

    user_id = models.TextField()
    lead_id = models.TextField(blank=True, db_default="")
    credits_spent = models.BigIntegerField(db_default=1)
    status = models.TextField(choices=Status, db_default=Status.SUCCEEDED)
    failure_reason = models.TextField(blank=True, db_default="")
    claimed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "lead_claims"
        ordering = ["-claimed_at", "-id"]
        verbose_name = "lead claim"
        default_permissions = ("view",)
        indexes = [
            models.Index("user_id", "claimed_at", name="lead_claims_user"),
            models.Index("claimed_at", "id", name="lead_claims_claimed"),
            # Leads of a year, and what they cost (billing.revenue.credits.figures).
            models.Index(
                "claimed_at",
                include=["credits_spent"],
                condition=Q(status="succeeded"),
                name="lead_claims_succeeded",
            ),
            models.Index("lead_id", name="lead_claims_lead"),
            models.Index(
                "claimed_at", "id", condition=Q(status="failed"), name="lead_claims_failed"
            ),
        ]
        triggers = [*audit_raw_sql(), *note_changes()]

    def __str__(self) -> str:
        return f"{self.user_id} {self.lead_id}"


class CreditPrice(models.Model):
    """How many credits one unit of a Stripe price is worth: ours to decide.

    The price's metadata (`lead_credits`) only fills it in the first time.
    """

    price_id = models.TextField(unique=True, help_text="Stripe's id of the price, price_...")
    name = models.TextField(blank=True, db_default="")
    credits = models.PositiveIntegerField(
        help_text="Credits for one unit; 0 where the price grants none."
    )
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())
    updated_by = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_credit_prices"
        ordering = [F("name").asc(), F("price_id").asc()]
        verbose_name = "price to credits"
        verbose_name_plural = "prices to credits"
        default_permissions = ("view", "add", "change")
        triggers = [*audit_raw_sql(), *note_changes()]

    def __str__(self) -> str:
        return f"{self.name or self.price_id}: {self.credits}"
