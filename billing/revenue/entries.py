"""RevenueEntry, derived from the balance and the books: kept up, built anew, and checked.

Each is one statement, so that what it reads is from one moment. Derived again, the same facts give
the same rows; only rows that differ are written.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from billing.database import cursor
from billing.gateway.client import database_clock
from billing.projection.balance_sync import note_reading, read_up_to
from billing.revenue.deriving import COLUMNS, derivation

READING = "revenue_entries"
OVERLAP = timedelta(minutes=10)  # the longest that a transaction of ours takes to commit
Span = tuple[datetime, datetime]
Difference = dict[str, Any]

_WANTED = """
    wanted AS MATERIALIZED (
        SELECT stripe_id AS source FROM billing_balance_transactions WHERE updated_at >= %(since)s
        UNION
        SELECT stripe_invoice_id FROM billing_invoices
        WHERE updated_at >= %(since)s AND paid_at IS NOT NULL
        UNION
        SELECT e.source FROM billing_revenue_entries e
        WHERE e.at >= (SELECT max(at) - interval '35 days' FROM billing_revenue_entries)
          AND (e.kind = 'other' OR e.user_id = '' OR e.item = 'out_of_band')
        UNION
        SELECT e.source FROM billing_customers c
        JOIN billing_revenue_entries e ON e.customer_id = c.stripe_customer_id
        WHERE c.updated_at >= %(since)s AND e.user_id IS DISTINCT FROM c.user_id
    )
"""
"""What may have to be derived again: what is new or has changed since, and, of the last 35 days,
what was for nothing known or for nobody, or what no payment here paid: the rest may have come."""
_OF_WANTED = derivation(
    "t.stripe_id IN (SELECT source FROM wanted)",
    "i.stripe_invoice_id IN (SELECT source FROM wanted)",
)
_OF_SPAN = derivation(
    "t.created_at >= %(since)s AND t.created_at < %(until)s",
    "i.paid_at >= %(since)s AND i.paid_at < %(until)s",
)
_IN_SPAN = "e.at >= %(since)s AND e.at < %(until)s"


def _writing(ctes: str, scope: str) -> str:
    """Makes the entries of a scope what `derived` says; answers with how many rows changed."""
    new = ", ".join(f"excluded.{name}" for name in COLUMNS)
    old = ", ".join(f"e.{name}" for name in COLUMNS)
    return f"""
        WITH {ctes},
        gone AS (
            DELETE FROM billing_revenue_entries e WHERE {scope} AND NOT EXISTS (
                SELECT FROM derived d WHERE d.source = e.source AND d.line = e.line)
            RETURNING 1
        ),
        written AS (
            INSERT INTO billing_revenue_entries AS e ({", ".join(COLUMNS)})
            SELECT {", ".join(COLUMNS)} FROM derived
            ON CONFLICT (source, line) DO UPDATE SET ({", ".join(COLUMNS)}) = ({new})
            WHERE ({old}) IS DISTINCT FROM ({new})
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM written)
    """  # noqa: S608  (the columns are the model's, the texts stand above)


_REFRESH = _writing(f"{_WANTED}, {_OF_WANTED}", "e.source IN (SELECT source FROM wanted)")
_REBUILD = _writing(_OF_SPAN, _IN_SPAN)
_CHECK = f"""
    WITH {_OF_SPAN}
    SELECT coalesce(d.source, e.source), coalesce(d.line, e.line), to_jsonb(e), to_jsonb(d)
    FROM derived d
    FULL JOIN (SELECT {", ".join(COLUMNS)} FROM billing_revenue_entries e WHERE {_IN_SPAN}) e
      ON e.source = d.source AND e.line = d.line
    WHERE ({", ".join(f"e.{name}" for name in COLUMNS)})
          IS DISTINCT FROM ({", ".join(f"d.{name}" for name in COLUMNS)})
    ORDER BY 1, 2
"""  # noqa: S608


def refresh() -> int:
    """Derives what is new, and what may be for something that has come since. Rows changed."""
    since = read_up_to(READING)
    if since is None:
        return rebuild()
    now = database_clock()
    changed = _write(_REFRESH, {"since": since - OVERLAP})
    note_reading(READING, now)
    return changed


def rebuild() -> int:
    """Derives everything anew, a month at a time. Rows changed; it may be run again, and twice."""
    now = database_clock()
    changed = sum(_write(_REBUILD, {"since": since, "until": until}) for since, until in months())
    note_reading(READING, now)
    return changed


def check() -> Iterator[Difference]:
    """Where the entries are not what is derived now, a month at a time.

    `here` is the entry (null where there is none), `derived` what it should be.
    """
    for since, until in months():
        with cursor() as bound:
            bound.execute(_CHECK, {"since": since, "until": until})
            for source, line, *rows in bound.fetchall():
                here, derived = (row and json.loads(row) for row in rows)
                yield {"fact": f"{source}:{line}", "here": here, "derived": derived}


def months() -> Iterator[Span]:
    """The months (UTC) in which anything was booked or paid, the oldest first."""
    with connection.cursor() as plain:
        plain.execute(
            """
            SELECT min(at), max(at) FROM (
                SELECT min(created_at), max(created_at) FROM billing_balance_transactions
                UNION ALL SELECT min(paid_at), max(paid_at) FROM billing_invoices
                UNION ALL SELECT min(at), max(at) FROM billing_revenue_entries
            ) spans(least, most), unnest(ARRAY[least, most]) at
            """
        )
        first, last = plain.fetchone()
    begin = first and first.astimezone(UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    while begin and begin <= last:
        end = (begin + timedelta(days=32)).replace(day=1)
        yield begin, end
        begin = end


def _write(sql: str, params: dict[str, Any]) -> int:
    """Runs one of the statements; those of two processes one after the other."""
    with transaction.atomic(), cursor() as bound:
        bound.execute("SELECT pg_advisory_xact_lock(hashtextextended('revenue_entries', 3))")
        bound.execute(sql, params)
        return int(bound.fetchone()[0])
