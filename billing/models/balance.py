"""Stripe's balance, its payouts, and the entries that all figures of revenue add up."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

# Stripe's reporting categories of what is moved to the bank and back, or held for it.
NO_REVENUE = (
    "payout",
    "payout_minimum_balance_hold",
    "payout_minimum_balance_release",
    "payout_reversal",
    "topup",
    "topup_reversal",
)


def _added_up(verb: str, operation: pgtrigger.Operation, adding: str) -> pgtrigger.Trigger:
    """Adds what one statement did to a table's rows to the sums of their days.

    `adding` is a statement over {moved}: the rows it made with `n` 1, those it took away with -1.
    """
    old, new = verb != "insert", verb != "delete"
    moved = " UNION ALL ".join(
        f"SELECT {sign} AS n, t.* FROM {rows} t"  # noqa: S608  (the names stand here)
        for sign, rows, is_there in ((1, "new_rows", new), (-1, "old_rows", old))
        if is_there
    )
    return pgtrigger.Trigger(
        name=f"days_{verb}",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=operation,
        referencing=pgtrigger.Referencing(
            old="old_rows" if old else None, new="new_rows" if new else None
        ),
        func=adding.format(moved=moved),
    )


def _days_of(adding: str) -> list[pgtrigger.Trigger]:
    return [
        _added_up("insert", pgtrigger.Insert, adding),
        _added_up("update", pgtrigger.Update, adding),
        _added_up("delete", pgtrigger.Delete, adding),
    ]


_BALANCE_DAYS = """
            INSERT INTO billing_balance_days AS d (day, currency, category, count, fee, net)
            SELECT date_trunc('day', created_at, 'UTC'), currency, category, sum(n), sum(n * fee),
                   sum(n * net)
            FROM ({moved}) moved GROUP BY 1, 2, 3
            HAVING sum(n) <> 0 OR sum(n * fee) <> 0 OR sum(n * net) <> 0
            ORDER BY 1, 2, 3
            ON CONFLICT (day, currency, category) DO UPDATE SET
                count = d.count + excluded.count, fee = d.fee + excluded.fee,
                net = d.net + excluded.net;
            RETURN NULL;
        """
SETTLED_TAX = (
    "CASE WHEN item NOT IN ('gross', 'out_of_band') OR amount = 0 THEN 0"
    " ELSE round(tax::numeric * settled_amount / amount) END"
)
"""An entry's tax in the currency settled: the same share of the amount as in the one charged."""
REVENUE_SUMS = {
    **{name: name for name in ("amount", "fee", "tax", "settled_amount", "settled_fee")},
    "settled_tax": SETTLED_TAX,
}
"""What of the entries is added up by day and by hour, besides their number."""
_REVENUE_SUMS = {"count": "n", **{name: f"n * {what}" for name, what in REVENUE_SUMS.items()}}


def _revenue_by(unit: str) -> str:
    return f"""
    INSERT INTO billing_revenue_{unit}s AS d
        ({unit}, item, kind, currency, settled_currency, {", ".join(_REVENUE_SUMS)})
    SELECT * FROM (
        SELECT date_trunc('{unit}', at, 'UTC'), item, kind, currency, settled_currency,
               {", ".join(f"sum({sum_}) AS {name}" for name, sum_ in _REVENUE_SUMS.items())}
        FROM ({{moved}}) moved GROUP BY 1, 2, 3, 4, 5
    ) sums
    WHERE ({", ".join(_REVENUE_SUMS)}) <> ({", ".join("0" for _ in _REVENUE_SUMS)})
    ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT ({unit}, item, kind, currency, settled_currency) DO UPDATE SET
        {", ".join(f"{name} = d.{name} + excluded.{name}" for name in _REVENUE_SUMS)};
"""  # noqa: S608  (the names stand here)


# Days before hours, each in order: two statements at once cannot lock each other out.
_REVENUE_DAYS = f"""{_revenue_by("day")}{_revenue_by("hour")}
    RETURN NULL;
"""


class BalanceTransaction(models.Model):
    """A movement of Stripe's balance. Minor units, times in UTC.

    `amount`, `fee` and `net` are in `currency`, the one that Stripe settles in; `net` is
    `amount - fee`. `charged_amount` is the same movement in `charged_currency`, the one that the
    customer paid in, with the sign of `amount`. `exchange_rate` is what one whole unit of the
    currency charged was worth in the one settled, null where they are the same. `category` is
    Stripe's reporting category. `charge_id` is the charge moved, refunded or disputed, '' for
    none, and `country` (ISO 3166, upper case) where it was paid from, on the charge's own
    movements. `payout_id` is the payout that paid it out, '' until that is known; a payout's own
    movement has none.
    """

    id = models.BigAutoField(primary_key=True)
    stripe_id = models.TextField(unique=True)
    type = models.TextField()
    category = models.TextField()
    currency = models.TextField()
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    net = models.BigIntegerField()
    created_at = models.DateTimeField()
    available_on = models.DateTimeField()
    source_id = models.TextField(blank=True, db_default="")
    charge_id = models.TextField(blank=True, db_default="")
    charged_currency = models.TextField()
    charged_amount = models.BigIntegerField()
    exchange_rate = models.DecimalField(max_digits=24, decimal_places=12, null=True, blank=True)
    country = models.TextField(blank=True, db_default="")
    payout_id = models.TextField(blank=True, db_default="")
    description = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_balance_transactions"
        ordering = ["-created_at", "-id"]
        verbose_name = "balance transaction"
        default_permissions = ("view",)
        indexes = [
            models.Index("created_at", "id", name="billing_balance_created"),
            models.Index("charge_id", name="billing_balance_charge"),
            models.Index("source_id", name="billing_balance_source"),
            models.Index(
                fields=["payout_id"], include=["net"], name="billing_balance_in_payout"
            ),  # read alone, to add up a payout
            models.Index("updated_at", name="billing_balance_updated"),
            models.Index(
                "created_at",
                condition=Q(category__in=NO_REVENUE),
                name="billing_balance_paid_out",
            ),
        ]
        triggers = _days_of(_BALANCE_DAYS)

    def __str__(self) -> str:
        return self.stripe_id


class BalanceDay(models.Model):
    """What moved in Stripe's balance on one day of UTC, added up: minor units of `currency`.

    A trigger of the transactions keeps it, so that it is always their sum, whoever writes them
    (billing.revenue.balance_days); where all of a day's are gone, a row of zeros is left.
    """

    day = models.DateTimeField()
    currency = models.TextField()
    category = models.TextField()
    count = models.BigIntegerField()
    fee = models.BigIntegerField()
    net = models.BigIntegerField()

    class Meta:
        db_table = "billing_balance_days"
        ordering = ["day", "currency", "category"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["day", "currency", "category"], name="billing_balance_days_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.category} {self.currency}"


class Payout(models.Model):
    """What Stripe paid out to the bank. Minor units, times in UTC.

    `arrival_date` is when the bank is to have it. `reconciliation_status` says whether Stripe
    has worked out which movements an automatic payout pays out (`completed`, `in_progress`,
    `not_applicable`), and `resolved_at` when that was read; of a manual one Stripe never tells.
    """

    FINAL = ("paid", "failed", "canceled")

    id = models.BigAutoField(primary_key=True)
    stripe_id = models.TextField(unique=True)
    status = models.TextField()
    amount = models.BigIntegerField()
    currency = models.TextField()
    created_at = models.DateTimeField()
    arrival_date = models.DateTimeField()
    automatic = models.BooleanField()
    method = models.TextField(blank=True, db_default="")
    description = models.TextField(blank=True, db_default="")
    failure_code = models.TextField(blank=True, db_default="")
    failure_message = models.TextField(blank=True, db_default="")
    reconciliation_status = models.TextField(blank=True, db_default="")
    livemode = models.BooleanField(db_default=False)
    resolved_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_payouts"
        ordering = ["-created_at", "-id"]
        verbose_name = "payout"
        default_permissions = ("view",)
        indexes = [
            models.Index("created_at", "id", name="billing_payouts_created"),
            models.Index("arrival_date", name="billing_payouts_arrival"),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class BalanceReading(models.Model):
    """Up to when something was read, UTC.

    `what` is one of Stripe's lists (`balance_transactions`, `payouts`), up to a time of Stripe's
    clock, or `revenue_entries`, derived from all that was written here up to a time of ours.
    `finished_at` is our clock, when that reading came to its end.
    """

    what = models.TextField(primary_key=True)
    read_up_to = models.DateTimeField()
    finished_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_balance_readings"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.what} up to {self.read_up_to}"


class RevenueEntry(models.Model):
    """One line of what a movement of the balance was for. Derived; minor units, times in UTC.

    `source` is the balance transaction (`txn_`), or the invoice (`in_`) of what was paid out of
    band; `line` counts its lines from 0. `amount` and `fee` are in `currency`, which the customer
    paid in, `settled_amount` and `settled_fee` in the one that Stripe settled in. Amounts have
    the sign of the movement; a fee is positive where Stripe took it, so that the net is
    `amount - fee`. `tax` is the part of the amount that is tax by the invoice. `price_id`,
    `product_id`, `country` (ISO 3166), `customer_id` (`cus_`), `user_id`, `charge_id` and
    `invoice_id` are '' where unknown.
    """

    class Item(models.TextChoices):
        GROSS = "gross", "Gross"
        REFUNDS = "refunds", "Refunds"
        DISPUTES = "disputes", "Disputes"
        OTHER = "other", "Other"
        OUT_OF_BAND = "out_of_band", "Paid out of band"

    class Kind(models.TextChoices):
        SUBSCRIPTION = "subscription", "Subscription"
        PACK = "pack", "Credit pack"
        OTHER = "other", "Other"

    id = models.BigAutoField(primary_key=True)
    source = models.TextField()
    line = models.IntegerField()
    at = models.DateTimeField()
    item = models.TextField(choices=Item)
    currency = models.TextField()
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    settled_currency = models.TextField()
    settled_amount = models.BigIntegerField()
    settled_fee = models.BigIntegerField()
    tax = models.BigIntegerField()
    kind = models.TextField(choices=Kind)
    price_id = models.TextField(blank=True, db_default="")
    product_id = models.TextField(blank=True, db_default="")
    country = models.TextField(blank=True, db_default="")
    customer_id = models.TextField(blank=True, db_default="")
    user_id = models.TextField(blank=True, db_default="")
    charge_id = models.TextField(blank=True, db_default="")
    invoice_id = models.TextField(blank=True, db_default="")

    class Meta:
        db_table = "billing_revenue_entries"
        ordering = ["-at", "-id"]
        verbose_name = "revenue entry"
        verbose_name_plural = "revenue entries"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["source", "line"], name="billing_revenue_line")
        ]
        indexes = [
            models.Index("at", "id", name="billing_revenue_at"),
            models.Index("customer_id", "at", name="billing_revenue_customer"),
            # Of a charge, later than its month (billing.revenue.closing).
            models.Index(
                "at",
                include=["charge_id"],
                condition=Q(item__in=["refunds", "disputes"]),
                name="billing_revenue_taken_back",
            ),
        ]
        triggers = _days_of(_REVENUE_DAYS)

    def __str__(self) -> str:
        return f"{self.source} line {self.line}"


class RevenueSums(models.Model):
    """What entries of revenue add up to, by what tells most of them apart.

    Minor units; `settled_tax` is their tax in the currency settled, entry by entry. A trigger of
    the entries keeps it, so that it is always their sum (billing.revenue.revenue_days); where all
    of them are gone, a row of zeros is left.
    """

    item = models.TextField(choices=RevenueEntry.Item)
    kind = models.TextField(choices=RevenueEntry.Kind)
    currency = models.TextField()
    settled_currency = models.TextField()
    count = models.BigIntegerField()
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    tax = models.BigIntegerField()
    settled_amount = models.BigIntegerField()
    settled_fee = models.BigIntegerField()
    settled_tax = models.DecimalField(max_digits=40, decimal_places=0)

    class Meta:
        abstract = True


class RevenueDay(RevenueSums):
    """What the entries of one day of UTC add up to."""

    day = models.DateTimeField()

    class Meta:
        db_table = "billing_revenue_days"
        ordering = ["day", "item", "kind", "currency", "settled_currency"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["day", "item", "kind", "currency", "settled_currency"],
                name="billing_revenue_days_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.item} {self.kind} {self.currency}"


class RevenueHour(RevenueSums):
    """The same of one hour: for days of UTC that a period of another time zone cuts."""

    hour = models.DateTimeField()

    class Meta:
        db_table = "billing_revenue_hours"
        ordering = ["hour", "item", "kind", "currency", "settled_currency"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "item", "kind", "currency", "settled_currency"],
                name="billing_revenue_hours_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M} {self.item} {self.kind} {self.currency}"
