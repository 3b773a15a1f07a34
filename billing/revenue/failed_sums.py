"""The sums and the invoices of failed payments, from `billing_invoice_dunning`."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from billing.database import different, rows, stream
from billing.models import InvoiceDunning
from billing.revenue.asked import Asked
from billing.revenue.days import ONE_DAY, midnight
from billing.revenue.report import Row

NOT_KNOWN = "not_known"
MOST_REASONS = 500  # to choose from

Movements = Counter[tuple[int, str, str, str]]
"""By period, currency, decline reason and name of the figure (`entered`, `entered_amount`)."""

_REASON = f"coalesce(nullif(d.decline_reason, ''), '{NOT_KNOWN}')"
_CHOSEN = f"""
    (%(currency)s = '' OR d.currency = %(currency)s)
    AND (%(reason)s = '' OR {_REASON} = %(reason)s)
"""
BEHIND = {
    "entered": "d.entered_at >= %(since)s AND d.entered_at < %(until)s",
    "recovered": "d.recovered_at >= %(since)s AND d.recovered_at < %(until)s",
    "regained": (
        "d.recovered_at >= %(since)s AND d.recovered_at < %(until)s AND d.lost_at IS NOT NULL"
    ),
    "lost": "d.lost_at >= %(since)s AND d.lost_at < %(until)s",
    "in_dunning": (
        "d.entered_at < %(until)s"
        " AND coalesce(least(d.recovered_at, d.lost_at), 'infinity') >= %(until)s"
    ),
}
_WHEN = {
    "entered": "entered_at",
    "recovered": "recovered_at",
    "regained": "recovered_at",
    "lost": "lost_at",
}
_MOVED = " UNION ALL ".join(
    f"""
    SELECT width_bucket(d.{at}, %(starts)s::timestamptz[]) - 1 AS period, d.currency,
           {_REASON} AS reason, '{what}' AS what, count(*) AS invoices,
           sum(d.amount)::bigint AS amount
    FROM billing_invoice_dunning d WHERE {BEHIND[what]} AND {_CHOSEN}
    GROUP BY 1, 2, 3
    """  # noqa: S608  (the expressions are this module's)
    for what, at in _WHEN.items()
)
_OPENING = f"""
    SELECT -1 AS period, d.currency, {_REASON} AS reason, 'entered' AS what,
           count(*) AS invoices, sum(d.amount)::bigint AS amount
    FROM billing_invoice_dunning d
    WHERE d.entered_at < %(since)s
      AND coalesce(least(d.recovered_at, d.lost_at), 'infinity') >= %(since)s AND {_CHOSEN}
    GROUP BY 2, 3
"""  # noqa: S608
_DAYS_TO_RECOVER = f"""
    SELECT width_bucket(d.recovered_at, %(starts)s::timestamptz[]) - 1 AS period, d.currency,
           round((percentile_cont(0.5) WITHIN GROUP (
               ORDER BY extract(epoch FROM d.recovered_at - d.entered_at)::float8) / 86400
           )::numeric, 1)::float8 AS days
    FROM billing_invoice_dunning d
    WHERE d.recovered_at >= %(since)s AND d.recovered_at < %(until)s AND {_CHOSEN}
    GROUP BY 1, 2
"""  # noqa: S608
# Few of them are shown: each invoice and customer is looked up, where a join would read them all.
_INVOICES = """
    SELECT d.stripe_invoice_id AS invoice_id, coalesce(i.number, '') AS number,
           d.stripe_customer_id AS customer_id, coalesce(i.user_id, c.user_id) AS user_id,
           coalesce(c.email, '') AS email, d.currency, d.amount, i.amount_remaining,
           i.attempt_count AS attempts, i.next_payment_attempt AS next_attempt,
           {reason} AS decline_reason, d.entered_at, d.recovered_at, d.lost_at, d.lost_by,
           greatest(extract(epoch FROM now() - d.entered_at)::bigint / 86400, 0) AS age
    FROM (
        SELECT d.*, row_number() OVER (
            PARTITION BY d.currency ORDER BY d.amount DESC, d.stripe_invoice_id) AS place
        FROM billing_invoice_dunning d WHERE {where}
    ) d
    LEFT JOIN LATERAL (
        SELECT * FROM billing_invoices WHERE stripe_invoice_id = d.stripe_invoice_id LIMIT 1
    ) i ON true
    LEFT JOIN LATERAL (
        SELECT * FROM billing_customers WHERE stripe_customer_id = d.stripe_customer_id LIMIT 1
    ) c ON true
    {most}
    ORDER BY d.currency, d.amount DESC, d.stripe_invoice_id
"""
_NOW = f"d.recovered_at IS NULL AND d.lost_at IS NULL AND {_CHOSEN}"


def reasons() -> list[tuple[str, str]]:
    """The decline reasons that there are."""
    found = different(InvoiceDunning, "decline_reason", MOST_REASONS)
    if InvoiceDunning.objects.filter(decline_reason="").exists():
        found = sorted({*found, NOT_KNOWN})
    return [(reason, reason.replace("_", " ")) for reason in found]


def movements(asked: Asked) -> Movements:
    """What entered, was recovered, regained and lost; period -1 is what was in dunning before."""
    found: Movements = Counter()
    for sql in (_MOVED, _OPENING):
        for row in rows(sql, _params(asked)):
            key = row["period"], row["currency"], row["reason"]
            found[*key, row["what"]] += row["invoices"]
            found[*key, f"{row['what']}_amount"] += row["amount"]
    return found


def medians(asked: Asked) -> dict[tuple[int, str], float]:
    """The median of the days until it was paid, by period and currency, of what was recovered."""
    found = rows(_DAYS_TO_RECOVER, _params(asked))
    return {(row["period"], row["currency"]): row["days"] for row in found}


def worklist(asked: Asked, currency: str, limit: int | None = None) -> Iterator[Row]:
    """The invoices in dunning now, the largest first; whatever days are asked for.

    `limit` is how many of each currency.
    """
    most = f"WHERE d.place <= {limit}" if limit else ""
    sql = _INVOICES.format(reason=_REASON, where=_NOW, most=most)
    params = {"currency": currency, "reason": asked.more.get("reason", "")}
    return iter(rows(sql, params)) if limit else stream(sql, params)


def waiting(asked: Asked) -> list[Row]:
    """How many invoices are in dunning now, and what is to be paid of them, by currency."""
    sql = f"""
        SELECT d.currency, count(*) AS invoices,
               coalesce(sum(i.amount_remaining), 0)::bigint AS amount_remaining
        FROM billing_invoice_dunning d LEFT JOIN LATERAL (
            SELECT amount_remaining FROM billing_invoices
            WHERE stripe_invoice_id = d.stripe_invoice_id LIMIT 1
        ) i ON true
        WHERE {_NOW} GROUP BY 1 ORDER BY 1
    """  # noqa: S608
    return rows(sql, _params(asked))


def invoices(
    what: str, asked: Asked, days: tuple[date, date], currency: str, reason: str
) -> Iterator[Row]:
    """The invoices behind a figure: `what` is of BEHIND, `days` its first and its last."""
    zone = ZoneInfo(asked.timezone)
    params = {
        "since": midnight(days[0], zone),
        "until": midnight(days[1] + ONE_DAY, zone),
        "currency": currency,
        "reason": reason or asked.more.get("reason", ""),
    }
    where = f"{BEHIND[what]} AND {_CHOSEN}"
    return stream(_INVOICES.format(reason=_REASON, where=where, most=""), params)


def summed(moved: Movements, key: Callable[[int, str, str], Any]) -> dict[Any, Counter[str]]:
    """The movements added up by a part of what they are told apart by."""
    sums: dict[Any, Counter[str]] = {}
    for (period, currency, reason, name), amount in moved.items():
        sums.setdefault(key(period, currency, reason), Counter())[name] += amount
    return sums


def _params(asked: Asked) -> dict[str, Any]:
    return {
        "starts": asked.periods.starts,
        "since": asked.since,
        "until": asked.until,
        "currency": asked.currency,
        "reason": asked.more.get("reason", ""),
    }
