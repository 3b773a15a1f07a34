"""Which invoices failed to be paid, and what became of them: `billing_invoice_dunning`.

Every row follows from other tables alone (charges, what they pay, invoices, subscriptions,
events): `refresh` and `rebuild` derive it by the same statement, and `check` by it once more.
"""

import json
from datetime import timedelta
from typing import Any

from django.db import connection, transaction

from billing.gateway.client import database_clock
from billing.projection.balance_sync import note_reading, read_up_to

NAME = "dunning"
OVERLAP = timedelta(hours=1)  # a transaction of others may commit so long after it began

# Every invoice of which anything says that an attempt to charge it failed.
_FAILED_CHARGES = """
    billing_payments p JOIN billing_invoice_payments l USING (payment_intent_id)
"""
_EVER = f"""
    SELECT l.stripe_invoice_id FROM {_FAILED_CHARGES}
    WHERE p.status = 'failed' AND p.payment_intent_id <> ''
    UNION
    SELECT payload->>'id' FROM billing_events WHERE type = 'invoice.payment_failed'
    UNION
    SELECT stripe_invoice_id FROM billing_invoice_dunning
"""  # noqa: S608  (the names are this module's)
# Those whose row may be another since %(mark)s. Events are read back by their ids, which follow
# the clock.
_CHANGED = f"""
    WITH told AS (
        SELECT payload->>'id' AS id, payload->>'subscription' AS subscription,
               payload->>'status' AS status, type
        FROM billing_events
        WHERE id > coalesce((SELECT id FROM billing_events WHERE recorded_at < %(mark)s
                             ORDER BY id DESC LIMIT 1), 0)
          AND type IN ('invoice.payment_failed', 'customer.subscription.updated')
    )
    SELECT l.stripe_invoice_id FROM {_FAILED_CHARGES}
    LEFT JOIN billing_invoice_dunning d USING (stripe_invoice_id)
    WHERE p.status = 'failed' AND p.payment_intent_id <> ''
      AND (d.stripe_invoice_id IS NULL OR p.updated_at >= %(mark)s)
    UNION
    SELECT id FROM told WHERE type = 'invoice.payment_failed'
    UNION
    SELECT d.stripe_invoice_id FROM billing_invoice_dunning d
    LEFT JOIN billing_invoices i USING (stripe_invoice_id)
    LEFT JOIN billing_subscriptions s USING (stripe_subscription_id)
    WHERE i.stripe_invoice_id IS NULL OR i.updated_at >= %(mark)s OR s.updated_at >= %(mark)s
    UNION
    SELECT i.stripe_invoice_id FROM told
    JOIN billing_invoices i ON i.stripe_subscription_id = told.subscription
    JOIN billing_invoice_dunning d USING (stripe_invoice_id)
    WHERE told.type = 'customer.subscription.updated' AND told.status = 'unpaid'
"""  # noqa: S608

_COLUMNS = (
    "stripe_invoice_id, stripe_customer_id, currency, amount, entered_at, charge_id,"
    " decline_reason, recovered_at, lost_at, lost_by"
)
# The rows of the invoices in the temporary table `wanted`.
_DERIVED = """
    WITH charged AS (
        SELECT l.stripe_invoice_id, min(p.created_at) AS first_at, max(p.created_at) AS last_at,
               (array_agg(p.stripe_charge_id ORDER BY p.created_at, p.stripe_charge_id))[1]
                   AS charge_id,
               (array_agg(coalesce(nullif(p.decline_reason, ''), p.failure_code)
                          ORDER BY p.created_at, p.stripe_charge_id))[1] AS decline_reason
        FROM wanted w JOIN billing_invoice_payments l USING (stripe_invoice_id)
        JOIN billing_payments p USING (payment_intent_id)
        WHERE p.status = 'failed' AND p.payment_intent_id <> ''
        GROUP BY 1
    ), failed AS (
        SELECT * FROM charged
        UNION ALL
        SELECT w.stripe_invoice_id, min(e.created_at), max(e.created_at), '', ''
        FROM wanted w JOIN billing_events e
            ON e.payload->>'id' = w.stripe_invoice_id AND e.type = 'invoice.payment_failed'
        WHERE NOT EXISTS (SELECT FROM charged c WHERE c.stripe_invoice_id = w.stripe_invoice_id)
        GROUP BY 1
    )
    SELECT i.stripe_invoice_id, i.stripe_customer_id, i.currency, i.amount_due AS amount,
           f.first_at AS entered_at, f.charge_id, f.decline_reason, paid.at AS recovered_at,
           lost.at AS lost_at, coalesce(lost.by, '') AS lost_by
    FROM failed f JOIN billing_invoices i USING (stripe_invoice_id)
    LEFT JOIN billing_subscriptions s ON s.stripe_subscription_id = i.stripe_subscription_id
        AND i.stripe_subscription_id <> ''
    CROSS JOIN LATERAL (SELECT CASE WHEN i.status = 'paid' THEN i.paid_at END AS at) paid
    LEFT JOIN LATERAL (
        SELECT coalesce(min(e.created_at), CASE WHEN s.status = 'unpaid' THEN f.last_at END) AS at
        FROM billing_events e
        WHERE e.payload->>'subscription' = s.stripe_subscription_id
          AND e.created_at >= f.first_at AND e.created_at < coalesce(paid.at, 'infinity')
          AND e.type = 'customer.subscription.updated' AND e.payload->>'status' = 'unpaid'
    ) unpaid ON s.stripe_subscription_id IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT greatest(way.at, f.first_at) AS at, way.by FROM (VALUES
            (i.voided_at, 'void', 1),
            (i.uncollectible_at, 'uncollectible', 2),
            (CASE WHEN s.status IN ('canceled', 'incomplete_expired')
                  THEN coalesce(s.ended_at, s.canceled_at) END, 'canceled', 3),
            (unpaid.at, 'unpaid', 4)
        ) AS way(at, by, rank)
        WHERE way.at < coalesce(paid.at, 'infinity')
        ORDER BY greatest(way.at, f.first_at), way.rank LIMIT 1
    ) lost ON true
    WHERE f.first_at <= coalesce(paid.at, 'infinity')
"""


def refresh() -> int:
    """Takes in what has changed since it was last called; returns how many rows changed."""
    since = read_up_to(NAME)
    return rebuild() if since is None else _renew(_CHANGED, {"mark": since - OVERLAP})


def rebuild() -> int:
    """Derives every row anew, whatever is there; returns how many rows changed."""
    return _renew(_EVER, {})


def check() -> list[dict[str, Any]]:
    """Where the rows are not what is derived now: `fact` is the invoice, `here` its row and
    `derived` what it should be, null where there is none."""
    with transaction.atomic(), connection.cursor() as bound:
        _want(bound, _EVER, {})
        bound.execute(
            f"""
            WITH derived AS ({_DERIVED}), kept AS (SELECT {_COLUMNS} FROM billing_invoice_dunning)
            SELECT stripe_invoice_id, to_jsonb(k)::text, to_jsonb(d)::text
            FROM derived d FULL JOIN kept k USING (stripe_invoice_id)
            WHERE d IS DISTINCT FROM k ORDER BY 1
            """  # noqa: S608
        )
        return [
            {"fact": fact, "here": here and json.loads(here), "derived": made and json.loads(made)}
            for fact, here, made in bound.fetchall()
        ]


def _want(bound: Any, sql: str, params: dict[str, Any]) -> None:
    """The invoices to be derived as the temporary table `wanted`."""
    bound.execute("DROP TABLE IF EXISTS wanted")
    bound.execute(f"CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS {sql}", params)
    bound.execute("ANALYZE wanted")


def _renew(sql: str, params: dict[str, Any]) -> int:
    """Writes the rows of the invoices that `sql` names, and the mark up to which it has read."""
    began = database_clock()
    with transaction.atomic(), connection.cursor() as bound:
        bound.execute("SELECT pg_advisory_xact_lock(hashtext('billing_invoice_dunning'))")
        _want(bound, sql, params)
        bound.execute(f"CREATE TEMPORARY TABLE derived ON COMMIT DROP AS {_DERIVED}")
        bound.execute(
            "DELETE FROM billing_invoice_dunning k USING wanted w"
            " WHERE k.stripe_invoice_id = w.stripe_invoice_id AND NOT EXISTS"
            " (SELECT FROM derived d WHERE d.stripe_invoice_id = k.stripe_invoice_id)"
        )
        changed = bound.rowcount
        names = _COLUMNS.split(", ")
        bound.execute(
            f"""
            INSERT INTO billing_invoice_dunning AS k ({_COLUMNS}) SELECT {_COLUMNS} FROM derived
            ON CONFLICT (stripe_invoice_id) DO UPDATE
            SET ({_COLUMNS}) = ROW({", ".join(f"excluded.{name}" for name in names)})
            WHERE (k.*) IS DISTINCT FROM (excluded.*)
            """  # noqa: S608
        )
        changed += bound.rowcount
        bound.execute("DROP TABLE derived")
        note_reading(NAME, began)
    return int(changed)
