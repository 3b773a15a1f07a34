"""What our own books say was paid: invoices, packs, and what each of Stripe's charges paid.

All of it set-based: sums by day, and one statement for a page of charges.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from billing.database import TEXTS, as_json, cursor, recordset
from billing.revenue.days import Days


def _minor(name: str) -> str:
    """A number of Stripe's invoice, NULL where it has none."""
    return (
        f"CASE WHEN jsonb_typeof(d.stripe_data->'{name}') = 'number'"
        f" THEN (d.stripe_data->>'{name}')::bigint END"
    )


# The index of payments by their intent leaves those without one out: every join says so, too.
_LINKED = "billing_invoice_payments l JOIN billing_invoices i USING (stripe_invoice_id)"


TAX_OF_INVOICE = """(
    SELECT coalesce(sum((t->>'amount')::bigint), 0)
    FROM jsonb_array_elements(coalesce(
        nullif(d.stripe_data->'total_taxes', 'null'),
        nullif(d.stripe_data->'total_tax_amounts', 'null'), '[]')) t)"""
"""All taxes of the invoice `d`, a row of dj-stripe's, in both of Stripe's shapes."""


def paid_invoices(where: str, rows: str = "billing_invoices i") -> str:
    """Paid invoices with what the bridge makes of each. Minor units.

    Both shapes (STRIPE.md, Versions): since basil `amount_paid` includes what was paid out of
    band, of which only `amount_paid_off_stripe` tells, and that on request alone; before, it
    does not, and `paid_out_of_band` says that all of it was. A customer's balance is a credit
    where it is negative: `starting_balance` - `ending_balance` is -500 where 500 of it were used.
    Taxes are `total_taxes`, before basil `total_tax_amounts`.
    """
    return f"""
        SELECT id, paid_at, currency, tax, balance, credit_notes, off_stripe,
               amount_paid + billed_elsewhere AS paid
        FROM (
            SELECT i.stripe_invoice_id AS id, i.paid_at, i.currency, i.amount_paid,
                   {TAX_OF_INVOICE} AS tax,
                   coalesce({_minor("starting_balance")} - {_minor("ending_balance")}, 0)
                       + coalesce({_minor("amount_overpaid")}, 0) AS balance,
                   -coalesce({_minor("pre_payment_credit_notes_amount")}, 0) AS credit_notes,
                   coalesce({_minor("amount_paid_off_stripe")}, old.elsewhere) AS off_stripe,
                   old.elsewhere AS billed_elsewhere
            FROM {rows}
            LEFT JOIN djstripe_invoice d ON d.id = i.stripe_invoice_id
            CROSS JOIN LATERAL (
                SELECT CASE WHEN d.stripe_data->>'paid_out_of_band' = 'true'
                            THEN greatest(i.amount_due - i.amount_paid, 0) ELSE 0 END AS elsewhere
            ) old
            WHERE i.status = 'paid' AND {where}
        ) read
    """  # noqa: S608  (the names and conditions are this module's)


# A pack counts when it was charged; where no charge is here, when its session was made.
_PACK_PAID_AT = """
    LEFT JOIN LATERAL (
        SELECT b.created_at FROM billing_payments b
        WHERE b.payment_intent_id = p.payment_intent_id AND b.payment_intent_id <> ''
          AND b.status = 'succeeded'
        ORDER BY b.created_at LIMIT 1
    ) charged ON true
"""
_IN_WINDOW = "i.paid_at >= %(since)s AND i.paid_at < %(until)s"
_PACKS = f"""
    SELECT p.source AS id, coalesce(charged.created_at, p.created_at) AS at, p.currency,
           p.amount, charged.created_at IS NOT NULL AS is_charged
    FROM (
        SELECT p.* FROM billing_payments b JOIN billing_purchases p USING (payment_intent_id)
        WHERE b.created_at >= %(since)s AND b.created_at < %(until)s
          AND b.status = 'succeeded' AND p.payment_intent_id <> '' AND p.kind = 'pack'
        UNION
        SELECT * FROM billing_purchases
        WHERE created_at >= %(since)s AND created_at < %(until)s AND kind = 'pack'
    ) p {_PACK_PAID_AT}
    WHERE NOT EXISTS (
        SELECT FROM billing_invoice_payments l
        JOIN billing_invoices i USING (stripe_invoice_id)
        WHERE l.payment_intent_id = p.payment_intent_id AND i.status = 'paid'
    ) AND p.amount <> 0
"""  # noqa: S608
_BY_INVOICE = f"""
    SELECT width_bucket(paid_at, %(starts)s::timestamptz[]), currency,
           sum(paid - balance - credit_notes)::bigint, sum(balance)::bigint,
           sum(credit_notes)::bigint, -sum(off_stripe)::bigint, sum(tax)::bigint
    FROM ({paid_invoices(_IN_WINDOW)}) v GROUP BY 1, 2
"""  # noqa: S608
_BY_PACK = f"""
    SELECT width_bucket(at, %(starts)s::timestamptz[]), currency, sum(amount)::bigint
    FROM ({_PACKS}) v WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2
"""  # noqa: S608
_ELSEWHEN = f"""
    SELECT width_bucket(i.paid_at, %(starts)s::timestamptz[]), b.currency, -sum(b.amount)::bigint
    FROM billing_invoices i
    JOIN billing_invoice_payments l USING (stripe_invoice_id)
    JOIN billing_payments b ON b.payment_intent_id = l.payment_intent_id
    WHERE {_IN_WINDOW} AND i.status = 'paid' AND b.status = 'succeeded'
      AND b.payment_intent_id <> '' AND (b.created_at < %(first)s OR b.created_at >= %(last)s)
    GROUP BY 1, 2
"""  # noqa: S608

Sum = tuple[date, str, str, int]  # day, currency, item, minor units


def sums(days: Days, read: tuple[datetime, datetime]) -> Iterator[Sum]:
    """What was paid here, by day and currency and item.

    `read` are the times between which Stripe's charges are read: where the charge of an invoice
    is from another time, that is why it is not among them (`timing`).
    """
    window: dict[str, Any] = {"since": days.since, "until": days.until, "starts": days.starts}
    items = ("invoices", "customer_balance", "credit_notes", "out_of_band", "tax")
    for sql, named in ((_BY_INVOICE, items), (_BY_PACK, ("packs",)), (_ELSEWHEN, ("timing",))):
        with cursor() as bound:
            more = {"first": read[0], "last": read[1]} if sql is _ELSEWHEN else {}
            bound.execute(sql, window | more)
            for bucket, currency, *amounts in bound.fetchall():
                for item, amount in zip(named, amounts, strict=True):
                    yield days.numbered(bucket), currency, item, amount


@dataclass(frozen=True, slots=True)
class Placed:
    """What one of Stripe's charges paid here, as far as anything here says so.

    `source` is the paid invoice or pack, '' for none, that counts at `at`; `amount` what it says
    was paid by this charge alone, None where several share it. `is_here` says whether the payment
    itself is. `awaits` is an invoice that is not paid yet, of which this charge paid a part;
    `unpaid` one that is not paid here although a charge paid it. `is_disputed`: the money is
    withdrawn.
    """

    source: str
    at: datetime | None
    amount: int | None
    is_here: bool
    awaits: str
    unpaid: str
    is_disputed: bool


_PLACED = f"""
    SELECT n.id, coalesce(paid.id, pack.id, ''), coalesce(paid.paid_at, pack.at),
           CASE WHEN paid.id IS NOT NULL THEN paid.alone ELSE pack.amount END,
           b.id IS NOT NULL, coalesce(CASE WHEN open.amount_paid > 0 THEN open.id END, ''),
           coalesce(CASE WHEN open.amount_paid <= 0 THEN open.id END, ''),
           EXISTS (SELECT FROM billing_payment_reversals r
                   WHERE r.payment_intent_id = n.intent AND n.intent <> ''
                     AND r.kind = 'dispute' AND r.active)
    FROM {recordset({"id": "text", "intent": "text"})}
    LEFT JOIN billing_payments b ON b.stripe_charge_id = n.id
    LEFT JOIN LATERAL (
        SELECT v.id, v.paid_at, CASE WHEN v.links = 1 THEN v.paid - v.off_stripe END AS alone
        FROM (
            SELECT v.*, (SELECT count(*) FROM billing_invoice_payments o
                         JOIN billing_payments c USING (payment_intent_id)
                         WHERE o.stripe_invoice_id = v.id AND c.status = 'succeeded'
                           AND c.payment_intent_id <> '') AS links
            FROM ({paid_invoices("l.payment_intent_id = n.intent", _LINKED)}) v
        ) v
        ORDER BY v.paid_at LIMIT 1
    ) paid ON n.intent <> ''
    LEFT JOIN LATERAL (
        SELECT p.source AS id, coalesce(charged.created_at, p.created_at) AS at, p.amount
        FROM billing_purchases p {_PACK_PAID_AT}
        WHERE p.payment_intent_id = n.intent AND p.payment_intent_id <> '' AND p.kind = 'pack'
        LIMIT 1
    ) pack ON n.intent <> ''
    LEFT JOIN LATERAL (
        SELECT i.stripe_invoice_id AS id, i.amount_paid FROM billing_invoice_payments l
        JOIN billing_invoices i USING (stripe_invoice_id)
        WHERE l.payment_intent_id = n.intent AND i.status <> 'paid'
        ORDER BY i.amount_paid DESC LIMIT 1
    ) open ON n.intent <> ''
"""  # noqa: S608


def place(charges: Iterable[tuple[str, str]]) -> dict[str, Placed]:
    """What each of these charges (id, payment intent) paid here, by its id."""
    rows = [{"id": charge, "intent": intent} for charge, intent in charges]
    with cursor() as bound:
        bound.execute(_PLACED, [as_json(rows)])
        return {row[0]: Placed(*row[1:]) for row in bound.fetchall()}


def only_here(
    span: tuple[datetime, datetime], seen: Iterable[str], most: int
) -> Sequence[tuple[str, str, str, int]]:
    """(charge, payment intent, currency, amount) of payments here that Stripe did not list."""
    with cursor() as bound:
        bound.execute(
            f"""
            SELECT stripe_charge_id, payment_intent_id, currency, amount FROM billing_payments
            WHERE created_at >= %s AND created_at < %s AND status = 'succeeded' AND amount > 0
              AND NOT stripe_charge_id = ANY({TEXTS})
            ORDER BY created_at, id LIMIT %s
            """,  # noqa: S608
            [*span, as_json(seen), most],
        )
        return list(bound.fetchall())


_SHORT = f"""
    SELECT id, paid_at AS at, currency, paid - off_stripe - charged.amount AS missing
    FROM ({paid_invoices(_IN_WINDOW)}) v
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(b.amount), 0)::bigint AS amount
        FROM billing_invoice_payments l
        JOIN billing_payments b USING (payment_intent_id)
        WHERE l.stripe_invoice_id = v.id AND b.status = 'succeeded'
          AND b.payment_intent_id <> ''
    ) charged
    WHERE paid - off_stripe > charged.amount
    UNION ALL
    SELECT id, at, currency, amount FROM ({_PACKS}) p
    WHERE NOT is_charged AND at >= %(since)s AND at < %(until)s
    ORDER BY at, id LIMIT %(most)s
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Short:
    """A paid invoice or pack, and how much of it no payment here brought."""

    source: str
    at: datetime
    currency: str
    missing: int


def short_of_money(days: Days, charged: Mapping[str, Any], most: int) -> list[Short]:
    """What was paid here and, by our rows, with too little money.

    `charged` are the sources that charges of Stripe's paid of which no payment is here.
    """
    most_read = most + len(charged)
    with cursor() as bound:
        bound.execute(_SHORT, {"since": days.since, "until": days.until, "most": most_read})
        return [Short(*row) for row in bound.fetchall() if row[0] not in charged][:most]
