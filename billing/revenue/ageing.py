"""Open invoices by how long they have been due, at the end of any day."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from billing.database import rows, stream
from billing.models.accounts import WhileOpen
from billing.revenue.asked import Asked, InvalidReportError, parsed_day
from billing.revenue.days import ONE_DAY, midnight
from billing.revenue.report import ChartOf, Column, Drill, Report, Row, Table, View

BUCKETS = {
    "not_due": "Not due",
    "0_30": "0 to 30 days",
    "31_60": "31 to 60 days",
    "61_90": "61 to 90 days",
    "over_90": "Over 90 days",
}

# What was open at %(at)s. An invoice that still is has what remains of it, and what was paid of
# it since; another what was due, less what had been paid of it in part. The charge that pays an
# invoice whole ends it when it arrives, which may be days after it was made.
_OPEN = f"""
    SELECT i.stripe_invoice_id, i.number, i.user_id, i.stripe_customer_id, i.currency, i.status,
           i.attempt_count, i.finalized_at, coalesce(i.due_date, i.finalized_at) AS due_at,
           greatest((%(at)s::timestamptz AT TIME ZONE %(zone)s)::date
               - (coalesce(i.due_date, i.finalized_at) AT TIME ZONE %(zone)s)::date, 0) AS days,
           coalesce(i.due_date, i.finalized_at) > %(at)s AS is_not_due,
           greatest(CASE WHEN i.status = 'open' THEN i.amount_remaining + parts.after
                         ELSE i.amount_due - parts.before END, 0) AS remaining
    FROM billing_invoices i
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(p.amount) FILTER (WHERE p.created_at <= %(at)s), 0)::bigint AS before,
               coalesce(sum(p.amount) FILTER (WHERE p.created_at > %(at)s), 0)::bigint AS after
        FROM billing_invoice_payments l JOIN billing_payments p USING (payment_intent_id)
        WHERE l.stripe_invoice_id = i.stripe_invoice_id AND p.payment_intent_id <> ''
          AND p.status = 'succeeded' AND p.amount < i.amount_due
          AND (i.status <> 'open' OR i.amount_paid > 0)
    ) parts
    WHERE i.finalized_at IS NOT NULL AND {WhileOpen.template} @> %(at)s::timestamptz
      AND (%(currency)s = '' OR i.currency = %(currency)s)
"""  # noqa: S608  (the names and expressions are this module's)
_AGED = f"""
    SELECT open.*, CASE WHEN is_not_due THEN 'not_due' WHEN days <= 30 THEN '0_30'
                        WHEN days <= 60 THEN '31_60' WHEN days <= 90 THEN '61_90'
                        ELSE 'over_90' END AS bucket
    FROM ({_OPEN}) open
"""  # noqa: S608
_SUMS = f"""
    SELECT currency, bucket, count(*) AS invoices, sum(remaining)::bigint AS amount
    FROM ({_AGED}) aged GROUP BY 1, 2
"""  # noqa: S608
_INVOICES = f"""
    SELECT a.stripe_invoice_id AS invoice_id, a.number, coalesce(a.user_id, c.user_id) AS user_id,
           coalesce(c.email, '') AS email, a.stripe_customer_id AS customer_id, a.currency,
           a.remaining AS amount, a.finalized_at, a.due_at, a.days, a.attempt_count AS attempts,
           a.status
    FROM ({_AGED}) a
    LEFT JOIN billing_customers c ON c.stripe_customer_id = a.stripe_customer_id
    WHERE (%(bucket)s = '' OR a.bucket = %(bucket)s)
    ORDER BY a.currency, a.due_at, a.stripe_invoice_id
"""  # noqa: S608

_COLUMNS = (
    Column("date", "At the end of", "date", "The day at whose end this was so."),
    Column("currency", "Currency", definition="The currency of the invoices."),
    Column("bucket", "Days since due", definition=(
        "Days of the report's zone from the due date, or from the day on which it was finalised"
        " where it has none because it is charged automatically. Due on that day: 0."
    )),
    Column("invoices", "Invoices", "number",
           "Invoices that were finalised by then, and neither paid, voided nor marked"
           " uncollectible."),
    Column("amount", "Open", "money", "What remained to be paid of these invoices then."),
    Column("share", "Share", "percent", "Of all that was open in this currency, by amount."),
)  # fmt: skip
_LIST = (
    Column("invoice_id", "Invoice", "id", "Its page has what can be done about it."),
    Column("number", "Number"),
    Column("user_id", "User", "user"),
    Column("email", "Email"),
    Column("customer_id", "Customer", "id"),
    Column("currency", "Currency"),
    Column("amount", "Open", "money", "What remained to be paid of it on that day."),
    Column("finalized_at", "Finalised", "time"),
    Column("due_at", "Due", "time", "When it was due, or was finalised where it has no due date."),
    Column("days", "Days since due", "number"),
    Column("attempts", "Attempts", "number", "How often Stripe has tried to charge it by now."),
    Column("status", "Status now"),
)


class Ageing(Report):
    """The report: at the end of the last day that is asked for."""

    name = "ageing"
    title = "Ageing"
    about = (
        "Open invoices by how long they have been due, at the end of the last day asked for: of a"
        " day that is past, as it was then."
    )
    has_periods = False

    def view(self, asked: Asked) -> View:
        table = Table(
            "ageing",
            "Open invoices",
            _COLUMNS,
            _by_bucket(asked),
            empty="No invoice was open at the end of this day.",
            charts=(
                ChartOf(
                    "Open by days since due",
                    f"What remained to be paid at the end of {asked.last}.",
                    ("amount",),
                    label="bucket",
                ),
            ),
            drill=_drill,
        )
        return View((table,))

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        bucket = drill.get("bucket", "")
        if bucket and bucket not in BUCKETS:
            raise InvalidReportError(f"“{bucket[:60]}” is no part of the ageing.")
        given = {"currency": drill.get("currency", ""), "bucket": bucket}
        zone = asked.timezone
        day = parsed_day(drill["date"]) if drill.get("date") else asked.last
        params = given | {"at": midnight(day + ONE_DAY, ZoneInfo(zone)) - _TICK, "zone": zone}
        title = BUCKETS.get(bucket, "All")
        return Table(
            "invoices",
            f"Open invoices: {title}",
            _LIST,
            stream(_INVOICES, params),
            acts_on="invoice_id",
        )


_TICK = timedelta(microseconds=1)  # PostgreSQL's, from the end of a day to the next day's start


def _by_bucket(asked: Asked) -> list[Row]:
    """Every part for each currency in which anything was open."""
    params: dict[str, Any] = {
        "at": asked.until - _TICK,
        "zone": asked.timezone,
        "currency": asked.currency,
    }
    found = {(row["currency"], row["bucket"]): row for row in rows(_SUMS, params)}
    table = []
    for currency in sorted({currency for currency, _ in found}):
        parts = [found.get((currency, bucket), {"invoices": 0, "amount": 0}) for bucket in BUCKETS]
        total = sum(part["amount"] for part in parts)
        for bucket, part in zip(BUCKETS, parts, strict=True):
            table.append(
                {
                    "date": asked.last.isoformat(),
                    "currency": currency,
                    "bucket": BUCKETS[bucket],
                    "invoices": part["invoices"],
                    "amount": part["amount"],
                    "share": part["amount"] / total if total else None,
                    "key": bucket,
                }
            )
    return table


def _drill(row: Row, column: str) -> Drill | None:
    if column not in ("invoices", "amount") or not row["invoices"]:
        return None
    return {"bucket": row["key"], "currency": row["currency"], "date": row["date"]}
