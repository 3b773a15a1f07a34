"""What the states did to each customer's monthly recurring revenue, by window functions.

The subscriptions of a customer in one currency are added: what one loses in the very second in
which another gains it, as in a change of plan by a new subscription, is no change.
"""

CHANGES = """
    WITH moved AS (
        SELECT customer_id, currency, at, subscription_id, user_id,
               mrr - lag(mrr, 1, 0::bigint) OVER w AS moved,
               status <> 'unpaid' AND NOT (status = 'canceled' AND (
                   reason IN ('payment_failed', 'payment_disputed')
                   OR reason = '' AND lag(status) OVER w IN ('past_due', 'unpaid'))) AS asked_for
        FROM billing_subscription_states WHERE customer_id = ANY(%(ids)s)
        WINDOW w AS (PARTITION BY subscription_id ORDER BY at)
    ), netted AS (
        SELECT customer_id, currency, at, sum(moved)::bigint AS moved, max(user_id) AS user_id,
               (array_agg(subscription_id ORDER BY moved DESC, subscription_id))[1] AS gained,
               (array_agg(subscription_id ORDER BY moved, subscription_id))[1] AS lost,
               (array_agg(asked_for ORDER BY moved, subscription_id))[1] AS asked_for
        FROM moved WHERE moved <> 0
        GROUP BY customer_id, currency, at HAVING sum(moved) <> 0
    ), running AS (
        SELECT *, (sum(moved) OVER w)::bigint AS after, first_value(at) OVER w AS first_at
        FROM netted WINDOW w AS (PARTITION BY customer_id, currency ORDER BY at)
    )
    SELECT customer_id, currency, at,
           CASE WHEN at = first_at THEN 'new' WHEN after = moved THEN 'reactivated'
                WHEN after = 0 THEN 'churned' WHEN moved > 0 THEN 'expansion'
                ELSE 'contraction' END AS kind,
           after - moved AS before, after,
           CASE WHEN moved > 0 THEN gained ELSE lost END AS subscription_id, user_id,
           CASE WHEN after = 0 THEN asked_for END AS voluntary, first_at
    FROM running
"""
"""The changes of the customers `ids`, with the columns of MrrChange."""
