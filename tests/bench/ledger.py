"""A ledger of credits for `bench.finance`, with its lots, uses and flows as they are derived."""

BLOCKS = 3  # of the ledger of each user: a pack, and four claims
TURNS = 5 * BLOCKS  # entries of the ledger of each user

# Of every user in turn: a pack of 4 credits, and four claims; the last pack has 6 more.
LEDGER = """
CREATE TABLE bench_ledger AS
SELECT id, 1 + (id - 1) %% %(customers)s AS customer, turn %% 5 = 0 AS is_pack,
    turn / 5 AS block, turn %% 5 AS step, CASE WHEN turn / 5 = {last} THEN 10 ELSE 4 END AS size,
    CASE turn %% 5 WHEN 0 THEN CASE WHEN turn / 5 = {last} THEN 10 ELSE 4 END ELSE -1 END AS delta,
    %(begin)s::timestamptz + (now() - %(begin)s::timestamptz)
        * (id::float8 / (%(customers)s * {turns})) AS at,
    (ARRAY['usd', 'usd', 'eur', 'jpy'])[1 + (id - 1) %% %(customers)s %% 4] AS currency,
    CASE WHEN turn / 5 = {last} THEN 4990 ELSE 1990 END AS paid
FROM (SELECT id, ((id - 1) / %(customers)s)::int AS turn
      FROM generate_series(1, %(customers)s::bigint * {turns}) id) turns;
INSERT INTO billing_purchases (source, kind, status, user_id, stripe_customer_id, amount, currency,
    lines, credits, created_at, updated_at)
SELECT 'cs_' || id, 'pack', 'granted', 'u_' || customer, 'cus_' || customer, paid, currency, '[]',
    delta, at, at
FROM bench_ledger WHERE is_pack ORDER BY id;
INSERT INTO credit_entries (id, user_id, delta, balance_after, kind, source, actor, created_at)
SELECT id, 'u_' || customer, delta, size - step, CASE WHEN is_pack THEN 'pack' ELSE 'claim' END,
    CASE WHEN is_pack THEN 'pack:cs_' || id || ':1' END, 'bench', at
FROM bench_ledger ORDER BY id;
SELECT setval(pg_get_serial_sequence('credit_entries', 'id'), max(id)) FROM credit_entries;
INSERT INTO lead_claims (user_id, lead_id, claimed_at)
SELECT 'u_' || customer, 'lead_' || id, at FROM bench_ledger WHERE NOT is_pack ORDER BY id;
INSERT INTO lead_credits (user_id, balance)
SELECT 'u_' || customer, sum(delta) FROM bench_ledger GROUP BY customer;
INSERT INTO billing_credit_lots (entry_id, user_id, at, credits, origin, source, currency, paid,
    price_id)
SELECT id, 'u_' || customer, at, delta, 'pack', 'pack:cs_' || id || ':1', currency, paid, ''
FROM bench_ledger WHERE is_pack ORDER BY id;
INSERT INTO billing_credit_uses (lot_id, entry_id, user_id, at, credits, purpose, currency, value)
SELECT id - step * %(customers)s, id, 'u_' || customer, at, 1, 'claim', currency,
    paid * step / size - paid * (step - 1) / size
FROM bench_ledger WHERE NOT is_pack ORDER BY id;
INSERT INTO billing_credit_flows (is_day, at, item, currency, credits, owed, sold, lot_credits,
    value)
WITH moved (at, item, currency, credits, owed, sold, lot_credits, value) AS (
    SELECT at, CASE WHEN is_pack THEN 'pack' ELSE 'claim' END, CASE WHEN is_pack THEN currency
        ELSE '' END, delta::numeric, 0, CASE WHEN is_pack THEN paid ELSE 0 END, 0, 0
    FROM bench_ledger
    UNION ALL SELECT at, 'pack', currency, 0, 0, 0, delta, paid FROM bench_ledger WHERE is_pack
    UNION ALL SELECT at, 'claim', currency, 0, 0, 0, -1, -value FROM billing_credit_uses
) {spans};
INSERT INTO billing_credit_positions (user_id, entry_id)
SELECT 'u_' || customer, max(id) FROM bench_ledger GROUP BY customer;
INSERT INTO billing_credit_progress (id, floor, candidate)
SELECT 1, max(id), max(id) FROM bench_ledger
ON CONFLICT (id) DO UPDATE SET floor = excluded.floor, candidate = excluded.candidate;
INSERT INTO billing_credit_spenders (user_id, first_month, last_month, spent)
{spenders} ORDER BY user_id
"""
