"""What the credits in the ledger were paid for: lots, what used them, and sums of both.

All of it is derived from `credit_entries` (billing.revenue.credits), and can be made again
from there. Credits are whole numbers, money minor units, times UTC.
"""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

SPENT = ("claim", "sql")
"""Purposes of a use that spent credits on leads: not refunds, disputes and corrections."""
_MONTH = """
    (extract(year FROM at AT TIME ZONE 'UTC')::int * 12
     + extract(month FROM at AT TIME ZONE 'UTC')::int)
"""
SPENT_BY_MONTH = f"""
    WITH months AS (
        SELECT user_id, {_MONTH} AS month, sum(credits) AS credits
        FROM billing_credit_uses
        WHERE purpose IN {SPENT} AND {{where}}
        GROUP BY 1, 2
    ), bounds AS (
        SELECT user_id, min(month) AS first_month, max(month) AS last_month
        FROM months GROUP BY user_id
    )
    SELECT user_id, first_month, last_month, array_agg(spent ORDER BY month) AS spent
    FROM (
        SELECT user_id, first_month, last_month, month,
               sum(credits) OVER (PARTITION BY user_id ORDER BY month)::float8 AS spent
        FROM bounds CROSS JOIN LATERAL generate_series(first_month, last_month) AS month
        LEFT JOIN months USING (user_id, month)
    ) by_month
    GROUP BY user_id, first_month, last_month
"""  # noqa: S608  (the names stand here)
"""SQL of the rows of `billing_credit_spenders` of the users of `where`."""
_SPEND = f"""
    INSERT INTO billing_credit_spenders AS s (user_id, first_month, last_month, spent)
    SELECT * FROM ({SPENT_BY_MONTH.format(where="user_id IN (SELECT user_id FROM new_rows)")}) found
    ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET first_month = excluded.first_month,
        last_month = excluded.last_month, spent = excluded.spent
    WHERE (s.first_month, s.last_month, s.spent)
          IS DISTINCT FROM (excluded.first_month, excluded.last_month, excluded.spent);
    RETURN NULL;
"""  # noqa: S608


class CreditLot(models.Model):
    """Credits that one entry of the ledger brought to a balance, and what was paid for them.

    `credits` is what reached the balance; `paid` the share of the price that those had, where
    the others of the purchase paid what the user owed.
    """

    class Origin(models.TextChoices):
        PACK = "pack", "Credit pack"
        SUBSCRIPTION = "subscription", "Subscription"
        FREE = "free", "Free"
        RETURNED = "returned", "Returned"

    entry_id = models.BigIntegerField(primary_key=True)
    user_id = models.TextField()
    at = models.DateTimeField()
    credits = models.BigIntegerField()
    origin = models.TextField(choices=Origin)
    source = models.TextField(blank=True, db_default="")
    currency = models.TextField(blank=True, db_default="")
    paid = models.BigIntegerField(db_default=0)
    price_id = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_credit_lots"
        default_permissions = ()
        indexes = [
            models.Index("user_id", name="billing_credit_lots_user"),
            models.Index("at", "entry_id", name="billing_credit_lots_at"),
        ]

    def __str__(self) -> str:
        return f"{self.credits} of {self.user_id}"


class CreditUse(models.Model):
    """Credits that one entry of the ledger took from one lot, first in, first out.

    `value` is what was paid for them: the uses of a lot that is used up add up to its `paid`.
    """

    class Purpose(models.TextChoices):
        CLAIM = "claim", "Lead claim"
        SQL = "sql", "Spent by the application"
        REFUND = "refund", "Refund"
        DISPUTE = "dispute", "Dispute"
        CORRECTION = "correction", "Correction"

    lot = models.ForeignKey(
        CreditLot, models.CASCADE, related_name="uses", db_constraint=False, db_index=False
    )
    entry_id = models.BigIntegerField()
    user_id = models.TextField()
    at = models.DateTimeField()
    credits = models.BigIntegerField()
    purpose = models.TextField(choices=Purpose)
    currency = models.TextField(blank=True, db_default="")
    value = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "billing_credit_uses"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint("lot", "entry_id", name="billing_credit_uses_once"),
        ]
        indexes = [
            models.Index("entry_id", name="billing_credit_uses_entry"),
            models.Index("user_id", name="billing_credit_uses_user"),
            models.Index("at", "id", name="billing_credit_uses_at"),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="spenders_insert",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                referencing=pgtrigger.Referencing(new="new_rows"),
                func=_SPEND,
            ),
            pgtrigger.Trigger(
                name="spenders_truncate",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Truncate,
                func="DELETE FROM billing_credit_spenders; RETURN NULL;",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.credits} of lot {self.lot_id}"


class CreditSpender(models.Model):
    """What a user has spent on leads by the end of each month of UTC.

    The months are those from `first_month` up to and with `last_month`, in which they spent first
    and last, by number: 12 for each year, and that of the year. `spent` has a sum for each, of all
    that was spent by its end, so that what was spent in any months is one less another, and a year
    of all users is read from a row for each. The sums are float8, which any number fits: they order
    users, and figures come from the uses. A trigger of the uses keeps it, which are only ever added
    or all forgotten.
    """

    user_id = models.TextField(primary_key=True)
    first_month = models.IntegerField()
    last_month = models.IntegerField()
    spent = ArrayField(models.FloatField())

    class Meta:
        db_table = "billing_credit_spenders"
        default_permissions = ()
        indexes = [models.Index("last_month", name="billing_credit_spenders_last")]

    def __str__(self) -> str:
        return f"{self.user_id} spent {self.spent[-1]:.0f}"


class CreditFlow(models.Model):
    """What the ledger, its lots and their uses did within a quarter of an hour, by currency.

    A quarter, because each day of each time zone is made of whole ones; and once more within a
    day of UTC (`is_day`), so that what is long ago is soon added up. `item` is a lot's origin
    or a use's purpose. `credits` and `owed` are of the entries: what was given (above 0) or taken
    by word, and how what the users owe changed; both together are the change of the balances.
    `sold` is the price of what was bought. `lot_credits` and `value` are the changes of what the
    lots of a currency have left, and of what was paid for that.
    """

    is_day = models.BooleanField()
    at = models.DateTimeField()
    item = models.TextField()
    currency = models.TextField(blank=True, db_default="")
    credits = models.DecimalField(max_digits=40, decimal_places=0, db_default=0)
    owed = models.DecimalField(max_digits=40, decimal_places=0, db_default=0)
    sold = models.BigIntegerField(db_default=0)
    lot_credits = models.DecimalField(max_digits=40, decimal_places=0, db_default=0)
    value = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "billing_credit_flows"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                "is_day", "at", "item", "currency", name="billing_credit_flows_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.item} {self.currency}".strip()


class CreditPosition(models.Model):
    """Up to which entry of a user's the lots and their uses are derived."""

    user_id = models.TextField(primary_key=True)
    entry_id = models.BigIntegerField()

    class Meta:
        db_table = "billing_credit_positions"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id} up to {self.entry_id}"


class CreditProgress(models.Model):
    """How far the whole ledger is derived: one row.

    Every entry up to `floor` is. Those up to `candidate` are as soon as no transaction is open
    that was when `candidate` was the last one to be seen: all before `transaction` are over.
    """

    floor = models.BigIntegerField(db_default=0)
    candidate = models.BigIntegerField(db_default=0)
    transaction = models.BigIntegerField(db_default=0)
    refreshed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_credit_progress"
        default_permissions = ()

    def __str__(self) -> str:
        return f"up to {self.floor}"
