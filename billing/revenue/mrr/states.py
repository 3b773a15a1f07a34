"""What each subscription was at every time: one query over what happened.

First come Stripe's own events, in the order in which Stripe made them; of those of one second the
one that ends a subscription counts, else the one that was logged last. Where the first of them does
not tell of the start, what was before is read from the object itself (its start, its trial, its
end) and from what its invoices billed for recurring prices. Where the object that we hold says
something else than the last event, an event is missing: the object closes the history.
"""

from billing.revenue.mrr.reading import (
    COUNT,
    array,
    id_of,
    in_minor_units,
    moment,
    monthly,
    number,
    of_objects,
    unit_amount,
)

COUNTED = ("active", "past_due")
"""The statuses whose recurring amounts are monthly recurring revenue, as Stripe defines it."""
ENDED = ("canceled", "incomplete_expired")

# The order of what says something of the same second: the last one counts.
_BEFORE, _BILLED, _MADE, _CHANGED, _ENDS, _HELD = range(6)


def _texts(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


_IS_ENDED = f"data->>'status' IN ({_texts(ENDED)})"
_ENDED_AT = "coalesce({}, {})".format(moment("data->>'ended_at'"), moment("data->>'canceled_at'"))

# What Stripe's events say, and the object as we hold it. It is as of when it last changed here,
# or of its end, which it tells itself; never earlier than the last event, unless it is older.
_SEEN = f"""
    logged AS MATERIALIZED (
        SELECT payload->>'id' AS id, created_at AS at, id AS seq, payload AS data,
               CASE WHEN payload->>'status' IN ({_texts(ENDED)}) THEN {_ENDS}
                    WHEN type = 'customer.subscription.created' THEN {_MADE}
                    ELSE {_CHANGED} END AS place
        FROM billing_events
        WHERE payload->>'id' = ANY(%(ids)s) AND starts_with(type, 'customer.subscription.')
    ), last AS (
        SELECT id, max(at) AS at FROM logged GROUP BY id
    ), held AS MATERIALIZED (
        SELECT id, data, greatest(last_at, start_at,
                   CASE WHEN {_IS_ENDED} THEN {_ENDED_AT} END,
                   CASE WHEN NOT {_IS_ENDED} OR {_ENDED_AT} IS NULL THEN seen_at END) AS at
        FROM (
            SELECT d.id, d.stripe_data AS data, last.at AS last_at,
                   {moment("d.stripe_data->>'start_date'")} AS start_at,
                   coalesce(least(v.not_before, b.updated_at), d.created) AS seen_at
            FROM djstripe_subscription d
            LEFT JOIN billing_stripe_versions v ON v.object_id = d.id
            LEFT JOIN billing_subscriptions b ON b.stripe_subscription_id = d.id
            LEFT JOIN last ON last.id = d.id
            WHERE d.id = ANY(%(ids)s) AND (last.at <= v.not_after) IS NOT FALSE
        ) known
    )
"""  # noqa: S608  (expressions of this package)

# Of those whose first event is not that they were made: what they say of their own past, up to
# the moment of what we saw first.
_PAST = f"""
    first AS (
        SELECT DISTINCT ON (id) id, at, place, data FROM (
            SELECT id, at, seq, place, data FROM logged
            UNION ALL SELECT id, at, 0, {_HELD}, data FROM held
        ) seen ORDER BY id, place = {_HELD}, at, place, seq
    ), past AS MATERIALIZED (
        SELECT id, data, data->>'status' AS status,
               CASE WHEN {_IS_ENDED} THEN least({_ENDED_AT}, at) ELSE at END AS until,
               coalesce({moment("data->>'start_date'")}, {moment("data->>'created'")}) AS start_at,
               {moment("data->>'trial_start'")} AS trial_start,
               {moment("data->>'trial_end'")} AS trial_end
        FROM first WHERE place <> {_MADE}
    ), billed AS MATERIALIZED (
        SELECT past.id, lines.*
        FROM past
        JOIN billing_invoices i ON i.stripe_subscription_id = past.id AND i.status <> 'draft'
        JOIN djstripe_invoice d ON d.id = i.stripe_invoice_id
        CROSS JOIN LATERAL (
            SELECT min({moment("line->'period'->>'start'")}) AS at,
                   {in_minor_units("sum(month)")} AS recurring,
                   (array_agg(coalesce(price->>'id', '') ORDER BY n))[1] AS price_id,
                   (array_agg({id_of("price->'product'")} ORDER BY n))[1] AS product_id,
                   (array_agg(coalesce({number("line->>'quantity'", COUNT)}, 1) ORDER BY n))[1]
                       AS quantity
            FROM jsonb_array_elements({array("d.stripe_data->'lines'->'data'")})
                WITH ORDINALITY AS l(line, n)
            LEFT JOIN djstripe_price p ON p.id = line->'pricing'->'price_details'->>'price'
            CROSS JOIN LATERAL (
                SELECT {of_objects("line->'price'", "line->'plan'", "p.stripe_data")} AS price
            ) priced
            CROSS JOIN LATERAL (
                SELECT {monthly("price", number("line->>'amount'"))} AS month
            ) monthly
            WHERE month > 0 AND coalesce(
                line->'parent'->'subscription_item_details'->>'proration',
                line->'parent'->'invoice_item_details'->>'proration',
                line->>'proration', '') <> 'true'
        ) lines
        WHERE lines.at >= past.start_at AND lines.at < past.until
    ), before AS (
        SELECT id, at, was_status AS status, data
        FROM past CROSS JOIN LATERAL (VALUES
            (CASE WHEN status IN ({_texts(("incomplete", "incomplete_expired"))})
                  THEN 'incomplete' ELSE 'active' END,
             CASE WHEN (trial_start <= start_at) IS NOT TRUE THEN start_at END),
            ('trialing', trial_start),
            ('active', CASE
                WHEN status IN ('trialing', 'paused') THEN NULL
                WHEN status <> 'canceled' OR EXISTS (
                    SELECT FROM billed WHERE billed.id = past.id AND billed.at >= trial_end)
                THEN trial_end END)
        ) AS was(was_status, at)
        WHERE at < until
    )
"""  # noqa: S608  (expressions of this package)

_SNAPSHOTS = f"""
    snapshots AS (
        SELECT id, at, place, seq, data->>'status' AS status, data FROM logged
        UNION ALL SELECT id, at, {_HELD}, 0, data->>'status', data FROM held
        UNION ALL SELECT id, at, {_BEFORE}, 0, status, data FROM before
    ), read AS (
        SELECT id, at, place, seq, status, lower(coalesce(data->>'currency', currency)) AS currency,
               {id_of("data->'customer'")} AS customer_id, priced.recurring, price_id, product_id,
               quantity, data->'metadata'->>'user_id' AS user_id,
               CASE WHEN status = 'canceled' THEN data->'cancellation_details'->>'reason' END
                   AS reason
        FROM snapshots
        CROSS JOIN LATERAL (
            SELECT {array("data->'items'->'data'")} AS items
        ) listed
        CROSS JOIN LATERAL (
            SELECT {in_minor_units("sum(month)")} AS recurring,
                   (array_agg(price->>'currency' ORDER BY n))[1] AS currency,
                   coalesce((array_agg(price->>'id' ORDER BY n))[1], '') AS price_id,
                   coalesce((array_agg({id_of("price->'product'")} ORDER BY n))[1], '')
                       AS product_id,
                   coalesce((array_agg(units ORDER BY n))[1], 0) AS quantity
            FROM jsonb_array_elements(CASE
                WHEN items = '[]' AND jsonb_typeof(data->'plan') = 'object'
                THEN jsonb_build_array(data) ELSE items END) WITH ORDINALITY AS i(item, n)
            CROSS JOIN LATERAL (
                SELECT {of_objects("item->'price'", "item->'plan'")} AS price,
                       coalesce({number("item->>'quantity'", COUNT)}, 1) AS units
            ) priced
            CROSS JOIN LATERAL (
                SELECT {monthly("price", f"{unit_amount('price')} * units")} AS month
            ) monthly
        ) priced
    ), said AS (
        SELECT * FROM read
        UNION ALL
        SELECT billed.id, billed.at, {_BILLED}, 0, 'active', read.currency, read.customer_id,
               billed.recurring, billed.price_id, billed.product_id, billed.quantity, read.user_id,
               NULL
        FROM billed JOIN LATERAL (
            SELECT currency, customer_id, user_id FROM read WHERE read.id = billed.id LIMIT 1
        ) read ON true
    )
"""  # noqa: S608  (expressions of this package)

_SAME = "status, currency, mrr, price_id, product_id, quantity, customer_id, reason"

STATES = f"""
    WITH {_SEEN}, {_PAST}, {_SNAPSHOTS}, settled AS (
        SELECT DISTINCT ON (said.id, at) said.id AS subscription_id, customer_id, at,
               coalesce(status, '') AS status, coalesce(currency, '') AS currency,
               CASE WHEN status IN ({_texts(COUNTED)}) THEN recurring ELSE 0 END AS mrr,
               price_id, product_id, quantity::bigint AS quantity,
               coalesce(status = 'trialing', false) AS in_trial, coalesce(reason, '') AS reason,
               user_id
        FROM said WHERE at IS NOT NULL
        ORDER BY said.id, at, place DESC, seq DESC
    ), changed AS (
        SELECT *, ({_SAME}) IS NOT DISTINCT FROM
                  lag(({_SAME})) OVER (PARTITION BY subscription_id ORDER BY at) AS is_same
        FROM settled
    ), kept AS (
        SELECT *, lag(in_trial, 1, false) OVER (PARTITION BY subscription_id ORDER BY at) AS tried
        FROM changed WHERE NOT is_same
    )
    SELECT subscription_id, customer_id,
           coalesce(b.user_id, first_value(c.user_id) OVER w, '') AS user_id, at,
           lead(at) OVER w AS until, c.status, c.currency, mrr, c.price_id, product_id,
           c.quantity, in_trial, reason,
           CASE WHEN in_trial AND NOT tried THEN 'started' WHEN in_trial OR NOT tried THEN ''
                WHEN mrr > 0 THEN 'converted' ELSE 'lost' END AS trial
    FROM kept c
    LEFT JOIN billing_subscriptions b ON b.stripe_subscription_id = c.subscription_id
    WINDOW w AS (PARTITION BY subscription_id ORDER BY at)
"""  # noqa: S608  (expressions of this package)
"""The states of the subscriptions `ids`, with the columns of SubscriptionState."""
