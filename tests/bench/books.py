"""Books of three years for `bench.finance`, filled by SQL: what a large business would have.

Of every invoice, `bench_made` says what became of it; all other rows follow from it, so that
entries equal the balance's transactions, payouts their contents, lots and uses the ledger.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.bench.closes import close_months
from tests.bench.ledger import BLOCKS, LEDGER, TURNS

MADE = """
CREATE TABLE bench_made AS
SELECT i, at, customer, currency, total, status, place,
       status = 'paid' AND place NOT IN (4, 54) AS is_charged, total * 29 / 1000 + 30 AS fee,
       CASE currency WHEN 'usd' THEN 1 WHEN 'eur' THEN 1.1 ELSE 0.67 END AS rate,
       CASE WHEN i %% 4 = 0 THEN 'pack' ELSE 'subscription' END AS kind,
       'price_' || i %% 50 AS price, 'prod_' || i %% 50 %% 6 AS product,
       (ARRAY['DE', 'US', 'FR', 'JP', 'GB', 'ES', 'IT', ''])[1 + i %% 8] AS country,
       'txn_' || lpad(i::text, 9, '0') AS txn, 'ch_' || i AS charge, 'in_' || i AS invoice
FROM (
    SELECT i, %(begin)s::timestamptz
               + (now() - %(begin)s::timestamptz) * (i::float8 / %(invoices)s) AS at,
           1 + i %% %(customers)s AS customer, i / 10 %% 100 AS place,
           (ARRAY['usd', 'usd', 'usd', 'usd', 'usd', 'usd', 'eur', 'eur', 'eur', 'jpy'])
               [1 + i %% 10] AS currency,
           1000 + i %% 20 * 500 AS total,
           CASE WHEN i / 10 %% 100 IN (0, 1, 2, 3) AND i > 0.95 * %(invoices)s THEN 'open'
                WHEN i / 10 %% 100 < 2 THEN 'void'
                WHEN i / 10 %% 100 = 2 THEN 'uncollectible' ELSE 'paid' END AS status
    FROM generate_series(1, %(invoices)s) i
) made;
CREATE INDEX ON bench_made (i);
ANALYZE bench_made
"""

BOOKS = """
INSERT INTO djstripe_product (id, djstripe_created, djstripe_updated, stripe_data, name)
SELECT 'prod_' || i, now(), now(), '{}', 'Product ' || i FROM generate_series(0, 5) i;
INSERT INTO djstripe_price (id, djstripe_created, djstripe_updated, stripe_data, active, currency,
    nickname, product_id)
SELECT 'price_' || i, now(), now(), '{}', true, 'usd', '', 'prod_' || i %% 6
FROM generate_series(0, 49) i;
INSERT INTO billing_customers (user_id, email, name, stripe_customer_id, created_at)
SELECT 'u_' || i, 'e' || i || '@example.com', 'Name ' || i, 'cus_' || i,
    %(begin)s::timestamptz + i * interval '1 minute'
FROM generate_series(1, %(customers)s) i;
INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, stripe_customer_id, status,
    price_id, amount, currency, created_at)
SELECT 'u_' || i, 'sub_' || i, 'cus_' || i, CASE WHEN i %% 5 < 3 THEN 'active' ELSE 'canceled' END,
    'price_' || i %% 50, 2900, 'usd', %(begin)s::timestamptz + i * interval '1 minute'
FROM generate_series(1, %(customers)s) i;
INSERT INTO billing_invoices (user_id, stripe_invoice_id, stripe_customer_id,
    stripe_subscription_id, number, status, currency, total, amount_due, amount_paid,
    amount_remaining, attempt_count, created_at, finalized_at, paid_at, voided_at,
    uncollectible_at)
SELECT 'u_' || customer, invoice, 'cus_' || customer,
    CASE WHEN kind = 'subscription' THEN 'sub_' || customer ELSE '' END, 'N' || i, status, currency,
    total, total, CASE status WHEN 'paid' THEN total ELSE 0 END,
    CASE status WHEN 'paid' THEN 0 ELSE total END, 1, at, at + interval '1 hour',
    CASE status WHEN 'paid' THEN at + interval '1 hour' + CASE WHEN place %% 20 = 7
        THEN interval '3 days' ELSE interval '0' END END,
    CASE status WHEN 'void' THEN at + interval '20 days' END,
    CASE status WHEN 'uncollectible' THEN at + interval '40 days' END
FROM bench_made ORDER BY i;
INSERT INTO billing_payments (stripe_charge_id, stripe_customer_id, payment_intent_id, status,
    amount, currency, last4, decline_reason, created_at)
SELECT CASE WHEN is_charged THEN charge ELSE charge || '_failed' END, 'cus_' || customer,
    'pi_' || i, CASE WHEN is_charged THEN 'succeeded' ELSE 'failed' END, total, currency,
    lpad((i %% 9973)::text, 4, '0'), CASE WHEN is_charged THEN '' ELSE 'insufficient_funds' END, at
FROM bench_made ORDER BY i;
INSERT INTO billing_invoice_payments (payment_intent_id, stripe_invoice_id)
SELECT 'pi_' || i, invoice FROM bench_made ORDER BY i;
INSERT INTO billing_invoice_dunning (stripe_invoice_id, stripe_customer_id, currency, amount,
    entered_at, charge_id, decline_reason, recovered_at, lost_at, lost_by)
SELECT invoice, 'cus_' || customer, currency, total, at, charge || '_failed',
    (ARRAY['insufficient_funds', 'expired_card', 'do_not_honor', 'lost_card', ''])[1 + i %% 5],
    CASE status WHEN 'paid' THEN at + interval '73 hours' END,
    CASE status WHEN 'void' THEN at + interval '20 days'
        WHEN 'uncollectible' THEN at + interval '40 days' END,
    CASE status WHEN 'void' THEN 'void' WHEN 'uncollectible' THEN 'uncollectible' ELSE '' END
FROM bench_made WHERE status <> 'paid' OR place %% 20 = 7 ORDER BY i;
INSERT INTO billing_events (stripe_event_id, type, payload, created_at)
SELECT 'evt_' || lpad(i::text, 9, '0'),
    (ARRAY['invoice.paid', 'charge.succeeded', 'customer.subscription.updated', 'invoice.created',
           'payment_intent.succeeded'])[1 + i %% 5],
    jsonb_build_object('id', CASE i %% 5 WHEN 1 THEN 'ch_' WHEN 2 THEN 'sub_' WHEN 4 THEN 'pi_'
        ELSE 'in_' END || i / 5, 'customer', 'cus_' || 1 + i %% %(customers)s, 'status', 'active'),
    %(begin)s::timestamptz + (now() - %(begin)s::timestamptz) * (i::float8 / %(events)s)
FROM generate_series(1, %(events)s) i
"""

# What moved: each row becomes a transaction of the balance, and the lines of revenue it was for.
MOVED = """
CREATE TABLE bench_moved AS
SELECT m.*, m.txn AS source, 'charge' AS category, 'gross' AS item, m.total::bigint AS amount,
    m.fee::bigint AS taken, m.charge AS source_id, 1.0 AS share
FROM bench_made m WHERE is_charged
UNION ALL
SELECT m.i, m.at + interval '9 days', customer, currency, total, status, place, is_charged, fee,
    rate, kind, price, product, country, txn, charge, invoice, txn || '_r', 'refund', 'refunds',
    -(total / 2), 0, 're_' || i, 0.5
FROM bench_made m WHERE is_charged AND place %% 33 = 5
UNION ALL
SELECT m.i, m.at + interval '20 days', customer, currency, total, status, place, is_charged, fee,
    rate, kind, price, product, country, txn, charge, invoice, txn || '_d', 'dispute', 'disputes',
    -total, 1500, 'dp_' || i, 1.0
FROM bench_made m WHERE is_charged AND i / 10 %% 300 = 17;
DELETE FROM bench_moved WHERE at >= now();
INSERT INTO billing_balance_transactions (stripe_id, type, category, currency, amount, fee, net,
    created_at, available_on, source_id, charge_id, charged_currency, charged_amount,
    exchange_rate, country, payout_id)
SELECT source, category, category, 'usd', round(amount * rate), round(taken * rate),
    round(amount * rate) - round(taken * rate), at, at + interval '2 days', source_id, charge,
    currency, amount, CASE currency WHEN 'eur' THEN 1.1 WHEN 'jpy' THEN 0.0067 END, country,
    CASE WHEN at < date_trunc('day', now()) THEN 'po_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMMDD')
         ELSE '' END
FROM bench_moved ORDER BY at;
INSERT INTO billing_revenue_entries (source, line, at, item, currency, amount, fee,
    settled_currency, settled_amount, settled_fee, tax, kind, price_id, product_id, country,
    customer_id, user_id, charge_id, invoice_id)
SELECT source, line, at, item, currency, CASE line WHEN 0 THEN amount - second ELSE second END,
    CASE line WHEN 0 THEN taken ELSE 0 END, 'usd',
    CASE line WHEN 0 THEN round(amount * rate) - round(second * rate) ELSE round(second * rate) END,
    CASE line WHEN 0 THEN round(taken * rate) ELSE 0 END,
    CASE WHEN item = 'gross' AND line = 0 THEN total / 12 ELSE 0 END, kind, price, product, country,
    'cus_' || customer, 'u_' || customer, charge, invoice
FROM (
    SELECT m.*, line, CASE WHEN place %% 20 = 3 THEN amount / 3 ELSE 0 END AS second
    FROM bench_moved m CROSS JOIN generate_series(0, CASE WHEN place %% 20 = 3 THEN 1 ELSE 0 END)
        line
) lines ORDER BY at, source, line;
INSERT INTO billing_revenue_entries (source, line, at, item, currency, amount, fee,
    settled_currency, settled_amount, settled_fee, tax, kind, price_id, product_id, country,
    customer_id, user_id, charge_id, invoice_id)
SELECT invoice, 0, at + interval '1 hour', 'out_of_band', currency, total, 0, currency, total, 0, 0,
    kind, price, product, '', 'cus_' || customer, 'u_' || customer, '', invoice
FROM bench_made WHERE status = 'paid' AND NOT is_charged ORDER BY at;
INSERT INTO billing_payouts (stripe_id, status, amount, currency, created_at, arrival_date,
    automatic, resolved_at)
SELECT payout_id, 'paid', sum(net), 'usd', day, day + interval '2 days', true, day
FROM (
    SELECT payout_id, net, date_trunc('day', created_at, 'UTC') + interval '29 hours' AS day
    FROM billing_balance_transactions WHERE payout_id <> ''
) contents GROUP BY payout_id, day ORDER BY day;
INSERT INTO billing_balance_transactions (stripe_id, type, category, currency, amount, fee, net,
    created_at, available_on, source_id, charged_currency, charged_amount)
SELECT 'txn_' || stripe_id, 'payout', 'payout', 'usd', -amount, 0, -amount, created_at, created_at,
    stripe_id, 'usd', -amount
FROM billing_payouts WHERE created_at < now();
INSERT INTO billing_balance_readings (what, read_up_to)
SELECT what, now() FROM unnest(ARRAY['balance_transactions', 'payouts', 'revenue_entries']) what;
INSERT INTO billing_bridge_days (day, zone, currency, part, items, remainder, causes, read_at)
SELECT day::date, %(zone)s, currency, part, '{"charges": 100, "net": 100}', 0, '[]', now()
FROM generate_series(%(begin)s::date - 1, now()::date, interval '1 day') day,
    unnest(ARRAY['usd', 'eur', 'jpy']) currency, unnest(ARRAY['collected', 'settled']) part
"""

SUBSCRIBED = """
CREATE TABLE bench_states AS
SELECT i, 'sub_' || i AS subscription, begun + step AS at, what.*,
    (ARRAY['usd', 'usd', 'eur', 'jpy'])[1 + i %% 4] AS currency, 1900 + i %% 7 * 1000 AS price
FROM (
    SELECT i, %(begin)s::timestamptz
        + (now() - %(begin)s::timestamptz) * (i::float8 / %(customers)s) AS begun
    FROM generate_series(1, %(customers)s) i
) begun CROSS JOIN LATERAL (VALUES
    (interval '0', CASE WHEN i %% 3 = 0 THEN 'trialing' ELSE 'active' END, 1.0),
    (interval '14 days', CASE WHEN i %% 3 = 0 THEN 'active' END, 1.0),
    (interval '90 days', CASE WHEN i %% 6 = 1 THEN 'active' END, 1.5),
    (interval '120 days', CASE WHEN i %% 4 = 0 THEN 'past_due' END, 1.0),
    (interval '127 days', CASE WHEN i %% 8 = 0 THEN 'active' END, 1.0),
    (interval '200 days', CASE WHEN i %% 5 > 2 THEN 'canceled' END, 0.0)
) what (step, status, factor) WHERE status IS NOT NULL AND begun + step < now();
INSERT INTO billing_subscription_states (subscription_id, customer_id, user_id, at, until, status,
    currency, mrr, price_id, product_id, quantity, in_trial, trial, reason)
SELECT subscription, 'cus_' || i, 'u_' || i, at, lead(at) OVER w, status, currency,
    CASE WHEN status IN ('active', 'past_due') THEN price * factor ELSE 0 END, 'price_' || i %% 50,
    'prod_' || i %% 50 %% 6, 1, status = 'trialing',
    CASE WHEN status = 'trialing' THEN 'started'
         WHEN lag(status) OVER w = 'trialing' THEN 'converted' ELSE '' END,
    CASE WHEN status = 'canceled' THEN 'cancellation_requested' ELSE '' END
FROM bench_states WINDOW w AS (PARTITION BY i ORDER BY at) ORDER BY at;
INSERT INTO billing_mrr_changes (customer_id, currency, at, kind, before, after, subscription_id,
    user_id, voluntary, first_at)
SELECT customer_id, currency, at, CASE WHEN mrr = 0 THEN 'churned' WHEN before > 0 THEN 'expansion'
    ELSE 'new' END, before, mrr, subscription_id, user_id, CASE WHEN mrr = 0 THEN true END, first
FROM (
    SELECT s.*, lag(mrr, 1, 0) OVER w AS before,
        min(at) FILTER (WHERE mrr > 0) OVER (PARTITION BY customer_id) AS first
    FROM billing_subscription_states s WINDOW w AS (PARTITION BY customer_id ORDER BY at)
) changes WHERE before <> mrr ORDER BY at;
INSERT INTO billing_subscriptions_read (id, written_at) VALUES (1, now())
"""

_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    JOIN pg_class t ON t.oid = indrelid
    WHERE NOT indisunique AND t.relname = ANY(%s)
"""
LARGE = (
    "billing_events", "billing_invoices", "billing_payments", "billing_invoice_payments",
    "billing_balance_transactions", "billing_revenue_entries", "billing_closed_entries",
    "billing_subscription_states", "billing_mrr_changes", "billing_invoice_dunning",
    "credit_entries", "lead_claims", "billing_credit_lots", "billing_credit_uses",
    "billing_purchases", "billing_customers", "billing_subscriptions",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How many rows there are to be; the ledger has TURNS entries for each customer."""

    invoices: int = 1_000_000
    events: int = 5_000_000
    customers: int = 200_000  # each with a subscription


def fill(sizes: Sizes) -> None:
    """Fills the database, with its triggers off and its indexes made once the rows are there."""
    from django.conf import settings
    from django.db import connection

    from billing.models.credit_lots import SPENT_BY_MONTH
    from billing.revenue import balance_days, revenue_days
    from billing.revenue.credits.statements import SPANS
    from billing.revenue.mrr.days import BEGINNING, DAY

    given: dict[str, Any] = vars(sizes) | {"begin": begin(), "zone": settings.REPORT_TIME_ZONE}
    ledger = LEDGER.format(last=BLOCKS - 1, turns=TURNS, spans=SPANS,
                           spenders=SPENT_BY_MONTH.format(where="true"))  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no triggers
        cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        with indexed_afterwards(cursor, LARGE):
            for sql in (MADE, BOOKS, MOVED, SUBSCRIBED, ledger):
                for statement in sql.split(";\n"):
                    cursor.execute(statement, given)
            cursor.execute("DROP TABLE bench_made, bench_moved, bench_states, bench_ledger")
        cursor.execute("ANALYZE")
        DAY.derive(since=BEGINNING)
        balance_days.DAYS.rebuild()
        revenue_days.DAYS.rebuild()
        revenue_days.HOURS.rebuild()
        close_months()
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("ANALYZE" if connection.in_atomic_block else "VACUUM ANALYZE")


@contextmanager
def indexed_afterwards(cursor: Any, tables: Sequence[str]) -> Iterator[None]:
    """Within it these tables have no indexes but those that make rows unique: it is quicker."""
    cursor.execute(_INDEXES, [list(tables)])
    indexes = dict(cursor.fetchall())
    for name in indexes:
        cursor.execute(f"DROP INDEX {name}")
    yield
    for definition in indexes.values():
        cursor.execute(definition)


def begin() -> datetime:
    """When the books begin: with the month three years ago."""
    today = datetime.now(UTC)
    return datetime(today.year - 3, today.month, 1, tzinfo=UTC)
