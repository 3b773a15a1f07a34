"""The SQL that derives lots, uses and flows. Amounts are numeric while they are reckoned with."""

TABLES = """
    CREATE TEMP TABLE IF NOT EXISTS stage_entries (
        id bigint, user_id text, at timestamptz, delta bigint, owed_delta bigint, item text,
        source text, taken_by bigint, currency text, price_id text, sold bigint, paid bigint,
        credited numeric, debited numeric, is_new boolean
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE IF NOT EXISTS stage_uses (
        lot_id bigint, entry_id bigint, user_id text, at timestamptz, credits bigint, upto numeric,
        purpose text, currency text, value bigint
    ) ON COMMIT DELETE ROWS;
    CREATE INDEX IF NOT EXISTS stage_entries_id ON stage_entries (id);
    CREATE INDEX IF NOT EXISTS stage_uses_entry ON stage_uses (entry_id)
"""

# The source of the entry that took what an entry of this source gives back; NULL where none did.
TAKEN = r"""
    CASE WHEN e.source ~ '^(refund|dispute)_reversed:'
              THEN regexp_replace(e.source, '^(refund|dispute)_reversed:', '\1:')
         WHEN e.source ~ '^merge:.*:to$' THEN regexp_replace(e.source, 'to$', 'from')
         WHEN e.source ~ '^merge:.*:from:reversed$'
              THEN regexp_replace(e.source, 'from:reversed$', 'to:reversed')
         WHEN e.source ~ ':reversed$' THEN regexp_replace(e.source, ':reversed$', '')
         WHEN e.source ~ '^undo:' THEN regexp_replace(e.source, '^undo:', 'operation:')
    END
"""

GIVERS = f"""
    SELECT DISTINCT t.user_id
    FROM credit_entries e JOIN credit_entries t ON t.source = {TAKEN}
    WHERE e.user_id = ANY({{users}}) AND e.source LIKE 'merge:%%' AND t.user_id <> e.user_id
"""  # noqa: S608  (the condition is this module's)

# What brought credits has a lot's origin, what took some a use's purpose. An entry that only
# paid what the user owed brought them, too.
ITEM = """
    CASE WHEN e.delta > 0 OR e.delta = 0 AND e.owed_delta < 0 THEN
              CASE WHEN e.kind IN ('pack', 'subscription') THEN e.kind
                   WHEN e.kind IN ('refund', 'refund_failed', 'dispute', 'dispute_won', 'claim')
                        OR t.id IS NOT NULL THEN 'returned'
                   ELSE 'free' END
         WHEN e.kind IN ('claim', 'sql') THEN e.kind
         WHEN e.kind IN ('refund', 'refund_failed') THEN 'refund'
         WHEN e.kind IN ('dispute', 'dispute_won') THEN 'dispute'
         ELSE 'correction' END
"""

# An invoice is shared over the credits of its lines, so that the parts add up to it. The credits
# of a claim come back from the last entry before that took as many for the application.
ENTRIES = f"""
    INSERT INTO stage_entries
    WITH read AS (
        SELECT e.*, {ITEM} AS item, coalesce(t.id, claimed.id) AS taken_by,
               e.delta - e.owed_delta AS given, split_part(e.source, ':', 2) AS bought,
               e.id > coalesce(p.entry_id, 0) AS is_new
        FROM credit_entries e
        LEFT JOIN billing_credit_positions p ON p.user_id = e.user_id
        LEFT JOIN LATERAL (
            SELECT t.id FROM credit_entries t
            WHERE e.delta >= 0 AND t.delta < 0 AND t.source = {TAKEN} LIMIT 1
        ) t ON true
        LEFT JOIN LATERAL (
            SELECT d.id FROM credit_entries d
            WHERE e.kind = 'claim' AND e.delta > 0 AND d.user_id = e.user_id AND d.id < e.id
              AND d.delta = e.owed_delta - e.delta AND d.kind IN ('claim', 'sql')
            ORDER BY d.id DESC LIMIT 1
        ) claimed ON true
        WHERE e.user_id = ANY({{users}})
    ), grants AS (
        SELECT r.id, b.currency, greatest(b.amount, 0)::numeric AS amount, r.given::numeric,
               coalesce((SELECT line->>'price' FROM jsonb_array_elements(b.lines) line
                         WHERE line->>'id' = split_part(r.source, ':', 3) LIMIT 1),
                        b.lines->0->>'price', '') AS price_id,
               sum(r.given) OVER (PARTITION BY r.bought) AS total,
               sum(r.given) OVER (PARTITION BY r.bought ORDER BY r.id) AS upto
        FROM read r JOIN billing_purchases b ON b.source = r.bought
        WHERE r.item IN ('pack', 'subscription') AND r.given > 0
    ), priced AS (
        SELECT id, currency, price_id,
               div(amount * upto, total) - div(amount * (upto - given), total) AS sold
        FROM grants
    )
    SELECT r.id, r.user_id, r.created_at, r.delta, r.owed_delta, r.item, coalesce(r.source, ''),
           r.taken_by, coalesce(g.currency, ''), coalesce(g.price_id, ''), coalesce(g.sold, 0),
           CASE WHEN g.id IS NOT NULL THEN div(g.sold * r.delta, r.given)
                WHEN r.taken_by IS NULL THEN 0 END,
           sum(greatest(r.delta, 0)) OVER ledger, sum(greatest(-r.delta, 0)) OVER ledger, r.is_new
    FROM read r LEFT JOIN priced g USING (id)
    WINDOW ledger AS (PARTITION BY r.user_id ORDER BY r.id)
"""  # noqa: S608  (the conditions are this module's)

# The ends of both rows cut them into pieces: each is of the first lot that ends there or later,
# and of the first entry that takes so.
_VALUE = "div(l.paid * u.upto, l.delta) - div(l.paid * (u.upto - u.credits), l.delta)"
USES = f"""
    INSERT INTO stage_uses
    WITH ends AS (
        SELECT user_id, cum, min(lot) AS lot, min(entry) AS entry
        FROM (
            SELECT user_id, credited AS cum, id AS lot, NULL::bigint AS entry
            FROM stage_entries WHERE delta > 0
            UNION ALL
            SELECT user_id, debited, NULL, id FROM stage_entries WHERE delta < 0
        ) both_rows
        GROUP BY user_id, cum
    ), pieces AS (
        SELECT cum, min(lot) OVER back AS lot, min(entry) OVER back AS entry,
               lead(cum, 1, 0.0) OVER back AS begun
        FROM ends WINDOW back AS (PARTITION BY user_id ORDER BY cum DESC)
    ), u AS (
        SELECT s.lot AS lot_id, s.entry AS entry_id, e.user_id, greatest(l.at, e.at) AS at,
               (s.cum - s.begun) AS credits, s.cum - (l.credited - l.delta) AS upto, e.item
        FROM pieces s JOIN stage_entries l ON l.id = s.lot JOIN stage_entries e ON e.id = s.entry
    )
    SELECT u.lot_id, u.entry_id, u.user_id, u.at, u.credits, u.upto, u.item, l.currency, {_VALUE}
    FROM u JOIN stage_entries l ON l.id = u.lot_id
"""  # noqa: S608

# A lot that came back is worth what was taken, and at most that: where part of it paid what the
# user owed, its share. Of several currencies it has the one of most of the credits taken.
RETURNS = """
    UPDATE stage_entries AS l SET paid = v.paid, currency = v.currency
    FROM (
        SELECT r.id, coalesce(div(w.value * least(r.delta, w.credits), w.credits), 0) AS paid,
               coalesce(w.currency, '') AS currency
        FROM stage_entries r
        LEFT JOIN LATERAL (
            SELECT u.currency, sum(u.value) AS value, sum(u.credits) AS in_currency,
                   sum(sum(u.credits)) OVER () AS credits
            FROM stage_uses u WHERE u.entry_id = r.taken_by
            GROUP BY u.currency ORDER BY (u.currency <> '') DESC, in_currency DESC, u.currency
            LIMIT 1
        ) w ON true
        WHERE r.delta > 0 AND r.paid IS NULL
          AND NOT EXISTS (SELECT FROM stage_uses u WHERE u.entry_id = r.taken_by
                          AND u.value IS NULL)
    ) v
    WHERE l.id = v.id
"""
VALUES = f"""
    UPDATE stage_uses AS u SET currency = l.currency, value = {_VALUE}
    FROM stage_entries l WHERE l.id = u.lot_id AND u.value IS NULL AND l.paid IS NOT NULL
"""  # noqa: S608

FLOW_TABLE = """
    CREATE TEMP TABLE IF NOT EXISTS stage_flows (
        is_day boolean, at timestamptz, item text, currency text, credits numeric, owed numeric,
        sold bigint, lot_credits numeric, value bigint
    ) ON COMMIT DELETE ROWS
"""
# What moved, twice: within its quarter of an hour, and within its day of UTC.
SPANS = """
    SELECT is_day, CASE WHEN is_day THEN date_trunc('day', at, 'UTC')
                        ELSE date_bin('15 minutes', at, '2000-01-01 00:00+00') END AS begun,
           item, currency, sum(credits), sum(owed), sum(sold), sum(lot_credits), sum(value)
    FROM moved CROSS JOIN (VALUES (false), (true)) spans (is_day)
    GROUP BY is_day, begun, item, currency
"""

# Only what is not there yet is written, and only that is added to the flows.
APPLY = f"""
    WITH new_lots AS (
        INSERT INTO billing_credit_lots
            (entry_id, user_id, at, credits, origin, source, currency, paid, price_id)
        SELECT id, user_id, at, delta, item, source, currency, coalesce(paid, 0), price_id
        FROM stage_entries WHERE delta > 0 ORDER BY id
        ON CONFLICT (entry_id) DO NOTHING
        RETURNING at, origin, currency, credits, paid
    ), new_uses AS (
        INSERT INTO billing_credit_uses
            (lot_id, entry_id, user_id, at, credits, purpose, currency, value)
        SELECT lot_id, entry_id, user_id, at, credits, purpose, currency, coalesce(value, 0)
        FROM stage_uses ORDER BY entry_id, lot_id
        ON CONFLICT (lot_id, entry_id) DO NOTHING
        RETURNING at, purpose, currency, credits, value
    ), moved (at, item, currency, credits, owed, sold, lot_credits, value) AS (
        SELECT at, item, CASE WHEN sold > 0 THEN currency ELSE '' END,
               delta::numeric - owed_delta, owed_delta, sold, 0, 0
        FROM stage_entries WHERE is_new
        UNION ALL SELECT at, origin, currency, 0, 0, 0, credits, paid FROM new_lots
        UNION ALL SELECT at, purpose, currency, 0, 0, 0, -credits, -value FROM new_uses
    )
    INSERT INTO billing_credit_flows AS f
        (is_day, at, item, currency, credits, owed, sold, lot_credits, value)
    {SPANS}
    ON CONFLICT (is_day, at, item, currency) DO UPDATE SET
        credits = f.credits + excluded.credits, owed = f.owed + excluded.owed,
        sold = f.sold + excluded.sold, lot_credits = f.lot_credits + excluded.lot_credits,
        value = f.value + excluded.value
"""  # noqa: S608

ADVANCE = """
    INSERT INTO billing_credit_positions (user_id, entry_id)
    SELECT user_id, max(id) FROM stage_entries GROUP BY user_id
    ON CONFLICT (user_id) DO UPDATE SET entry_id = excluded.entry_id
    WHERE billing_credit_positions.entry_id < excluded.entry_id
"""
