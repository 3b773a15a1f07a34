"""What each movement of the balance was for, as one statement: the rows of RevenueEntry."""

from billing.formatting import THREE_DECIMAL, ZERO_DECIMAL
from billing.models import RevenueEntry
from billing.revenue.ours import TAX_OF_INVOICE, paid_invoices
from billing.revenue.splitting import netted, share
from billing.revenue.stripes import PAYOUTS

COLUMNS = tuple(f.name for f in RevenueEntry._meta.concrete_fields if not f.primary_key)


def _texts(values: frozenset[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


def _exponent(currency: str) -> str:
    return (
        f"CASE WHEN {currency} IN ({_texts(ZERO_DECIMAL)}) THEN 0"
        f" WHEN {currency} IN ({_texts(THREE_DECIMAL)}) THEN 3 ELSE 2 END"
    )


# The fee in the currency that the customer paid in: at the movement's own rate, which is one of
# whole units; where Stripe names none, at the one that its amounts stand for.
_FEE = f"""
    CASE WHEN t.currency = t.charged_currency OR t.fee = 0 THEN t.fee
         WHEN t.exchange_rate > 0 THEN round(
             t.fee / t.exchange_rate
             * power(10::numeric, {_exponent("t.charged_currency")} - {_exponent("t.currency")}))
         ELSE coalesce(round(t.fee::numeric * t.charged_amount / nullif(t.amount, 0)), 0) END
"""
_ITEM = """
    CASE WHEN t.category IN ('charge', 'charge_failure', 'partial_capture_reversal') THEN 'gross'
         WHEN t.category IN ('refund', 'refund_failure') THEN 'refunds'
         WHEN t.category IN ('dispute', 'dispute_reversal') THEN 'disputes'
         ELSE 'other' END
"""


def _moved(which: str) -> str:
    """The movements, with what their charge paid: an invoice, a pack, or neither that we know."""
    return f"""
        SELECT t.stripe_id AS source, t.created_at AS at, {_ITEM} AS item,
               t.charged_currency AS currency, t.charged_amount AS amount, {_FEE} AS fee,
               t.currency AS settled_currency, t.amount AS settled_amount, t.fee AS settled_fee,
               t.charge_id, coalesce(nullif(t.country, ''), own.country) AS country,
               coalesce(nullif(b.stripe_customer_id, ''), nullif(i.stripe_customer_id, ''),
                        p.stripe_customer_id) AS customer_id,
               coalesce(p.user_id, i.user_id) AS user_id, i.stripe_invoice_id AS invoice_id,
               i.total, i.stripe_subscription_id, p.lines AS bought
        FROM billing_balance_transactions t
        LEFT JOIN billing_payments b ON b.stripe_charge_id = t.charge_id AND t.charge_id <> ''
        LEFT JOIN LATERAL (
            SELECT c.country FROM billing_balance_transactions c
            WHERE c.charge_id = t.charge_id AND c.country <> '' ORDER BY c.id LIMIT 1
        ) own ON t.charge_id <> ''
        LEFT JOIN LATERAL (
            SELECT i.* FROM billing_invoice_payments l
            JOIN billing_invoices i USING (stripe_invoice_id)
            WHERE l.payment_intent_id = b.payment_intent_id
            ORDER BY i.status <> 'paid', i.paid_at, i.id LIMIT 1
        ) i ON b.payment_intent_id <> ''
        LEFT JOIN LATERAL (
            SELECT p.* FROM billing_purchases p
            WHERE p.payment_intent_id = b.payment_intent_id AND p.payment_intent_id <> ''
              AND p.kind = 'pack' ORDER BY p.id LIMIT 1
        ) p ON b.payment_intent_id <> ''
        WHERE t.category NOT IN ({_texts(PAYOUTS)}) AND {which}
    """  # noqa: S608  (the texts stand above)


def _elsewhere(which: str) -> str:
    """Paid invoices with what no payment here brought. Stripe settled nothing of it."""
    return f"""
        SELECT v.id, v.paid_at, 'out_of_band', v.currency, v.paid - charged.amount, 0,
               v.currency, 0, 0, '', NULL, i.stripe_customer_id, i.user_id, v.id,
               i.total, i.stripe_subscription_id, NULL
        FROM ({paid_invoices(which)}) v
        JOIN billing_invoices i ON i.stripe_invoice_id = v.id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(b.amount), 0)::bigint AS amount
            FROM billing_invoice_payments l
            JOIN billing_payments b USING (payment_intent_id)
            WHERE l.stripe_invoice_id = v.id AND b.status = 'succeeded'
              AND b.payment_intent_id <> ''
        ) charged
        WHERE v.paid > charged.amount
    """  # noqa: S608


def _id(value: str) -> str:
    """The id in a JSON field that has the id or the object itself."""
    return f"CASE jsonb_typeof({value}) WHEN 'object' THEN {value}->>'id' ELSE {value}#>>'{{}}' END"


# Lines in both of Stripe's shapes (STRIPE.md, Versions), and those of a pack, whose amounts are
# known by their prices alone; where a pack has one line, it is that one in any case.
_INVOICED = f"""
    SELECT n AS position, (e->>'amount')::numeric AS amount,
           coalesce({_id("e#>'{pricing,price_details,price}'")}, {_id("e->'price'")},
                    {_id("e->'plan'")}) AS price_id,
           coalesce({_id("e#>'{pricing,price_details,product}'")},
                    {_id("e#>'{price,product}'")}, {_id("e#>'{plan,product}'")}) AS product_id,
           (SELECT coalesce(sum((t->>'amount')::bigint), 0) FROM jsonb_array_elements(coalesce(
                nullif(e->'taxes', 'null'), nullif(e->'tax_amounts', 'null'), '[]')) t) AS tax
    FROM jsonb_array_elements(d.stripe_data#>'{{lines,data}}') WITH ORDINALITY lines(e, n)
"""  # noqa: S608
_BOUGHT = f"""
    SELECT n, CASE WHEN jsonb_array_length(paid.bought) = 1 THEN 1 ELSE
                  coalesce((q.stripe_data->>'unit_amount')::numeric, 0)
                  * (e->>'quantity')::numeric END,
           e->>'price', {_id("q.stripe_data->'product'")}, 0
    FROM jsonb_array_elements(paid.bought) WITH ORDINALITY lines(e, n)
    LEFT JOIN djstripe_price q ON q.id = e->>'price'
    WHERE paid.invoice_id IS NULL
"""  # noqa: S608


def _lines() -> str:
    """The lines that an amount is split over, from 0, with their weights for it and for its tax."""
    return f"""
        SELECT *, row_number() OVER (ORDER BY position) - 1 AS line, sum(weight) OVER () AS weights,
               greatest(tax, 0) AS tax_weight, sum(greatest(tax, 0)) OVER () AS tax_weights
        FROM ({netted(f"({_INVOICED} UNION ALL {_BOUGHT}) x")}) kept
    """  # noqa: S608


_PLACED = f"""
    SELECT paid.source, coalesce(l.line, 0)::int AS line, paid.at, paid.item, paid.currency,
           paid.amount, paid.fee, paid.settled_currency, paid.settled_amount, paid.settled_fee,
           CASE WHEN paid.item IN ('gross', 'out_of_band') AND paid.total > 0 THEN
               round(paid.amount::numeric * {TAX_OF_INVOICE} / paid.total) ELSE 0 END AS tax,
           CASE WHEN paid.stripe_subscription_id <> '' THEN 'subscription'
                WHEN paid.bought IS NOT NULL THEN 'pack' ELSE 'other' END AS kind,
           coalesce(l.price_id, '') AS price_id,
           coalesce({_id("q.stripe_data->'product'")}, l.product_id, '') AS product_id,
           coalesce(paid.country, '') AS country,
           coalesce(paid.customer_id, '') AS customer_id,
           coalesce(paid.user_id, c.user_id, '') AS user_id, paid.charge_id,
           coalesce(paid.invoice_id, '') AS invoice_id,
           coalesce(l.weight, 1) AS weight, coalesce(l.weights, 1) AS weights,
           CASE WHEN l.tax_weights > 0 THEN l.tax_weight ELSE coalesce(l.weight, 1) END
               AS tax_weight,
           CASE WHEN l.tax_weights > 0 THEN l.tax_weights ELSE coalesce(l.weights, 1) END
               AS tax_weights
    FROM paid
    LEFT JOIN djstripe_invoice d ON d.id = paid.invoice_id
    LEFT JOIN billing_customers c ON c.stripe_customer_id = paid.customer_id
    LEFT JOIN LATERAL ({_lines()}) l ON true
    LEFT JOIN djstripe_price q ON q.id = l.price_id
"""  # noqa: S608


def _column(name: str) -> str:
    if name == "tax":
        split = share(name, "tax_weight", "tax_weights", of="source", by="line")
    elif name in ("amount", "fee", "settled_amount", "settled_fee"):
        split = share(name, "weight", "weights", of="source", by="line")
    else:
        return name
    return f"{split} AS {name}"


def derivation(transactions: str, invoices: str) -> str:
    """CTEs that end with `derived`, the rows that the entries are to be.

    Of the balance transactions `t` and of the invoices `i` that these conditions choose.
    """
    return f"""
        paid AS ({_moved(transactions)} UNION ALL {_elsewhere(invoices)}),
        placed AS ({_PLACED}),
        derived AS MATERIALIZED (SELECT {", ".join(map(_column, COLUMNS))} FROM placed)
    """  # noqa: S608
