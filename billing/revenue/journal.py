"""The journal: what Stripe's balance did, as double entry in the currencies it is settled in.

Every movement of the balance, and every invoice paid out of band, is one reference whose lines
add up to zero: what came in is on the debit side of the balance, what it was for on the credit
side. Tax is told apart by the invoice's share. Amounts are minor units.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from billing.database import stream
from billing.revenue.accounts import ACCOUNTS
from billing.revenue.days import Days
from billing.revenue.revenue_days import ENTRIES, SUMS
from billing.revenue.stripes import PAYOUTS

JournalBy = Literal["day", "transaction"]

_LINES = """
    WITH booked AS (
        SELECT {day} AS date, {source} AS source, settled_currency AS currency, item, kind,
               sum(settled_amount)::bigint AS amount, sum(settled_fee)::bigint AS fee,
               sum(settled_tax)::bigint AS tax
        FROM {entries} WHERE at >= %(since)s AND at < %(until)s
        GROUP BY 1, 2, 3, 4, 5
    ), moved AS (
        SELECT {day} AS date, {source} AS source, currency, category, sum(amount)::bigint AS amount,
               sum(fee)::bigint AS fee, sum(net)::bigint AS net
        FROM (SELECT created_at AS at, stripe_id AS source, currency, category, amount, fee, net
              FROM billing_balance_transactions
              WHERE created_at >= %(since)s AND created_at < %(until)s
                AND category = ANY(%(payouts)s)) booked
        GROUP BY 1, 2, 3, 4
    ), lines AS (
        SELECT b.date, b.source, b.currency, l.account, l.amount
        FROM booked b CROSS JOIN LATERAL (VALUES
            (CASE WHEN item = 'out_of_band' THEN 'outside' ELSE 'balance' END, amount - fee),
            ('fees', fee),
            ('tax', -tax),
            (CASE WHEN item IN ('refunds', 'disputes', 'other') THEN item
                  WHEN kind = 'subscription' THEN 'subscriptions'
                  WHEN kind = 'pack' THEN 'packs' ELSE 'sales' END, tax - amount)
        ) l (account, amount)
        UNION ALL
        SELECT m.date, m.source, m.currency, l.account, l.amount
        FROM moved m CROSS JOIN LATERAL (VALUES
            ('balance', net),
            ('fees', fee),
            (CASE WHEN category LIKE 'payout_minimum%%' THEN 'held' ELSE 'bank' END, -amount)
        ) l (account, amount)
    )
    SELECT date, {reference} AS reference, currency, account, sum(amount)::bigint AS amount
    FROM lines GROUP BY 1, 2, 3, 4 HAVING sum(amount) <> 0
    ORDER BY 1, 2, 3, sum(amount) < 0, 4
"""
_BY: Mapping[JournalBy, Mapping[str, str]] = {
    "transaction": {"source": "source", "reference": "source", "entries": ENTRIES},
    "day": {
        "source": "''",
        "reference": "'stripe-' || date || '-' || currency",
        "entries": SUMS,
    },
}
_DAY = "(at AT TIME ZONE %(zone)s)::date"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: either `debit` or `credit` is not 0. `account` is the account's name."""

    date: date
    account: str
    debit: int
    credit: int
    currency: str
    reference: str


def journal(
    since: datetime,
    until: datetime,
    timezone: str,
    *,
    by: JournalBy = "day",
    names: Mapping[str, str] = ACCOUNTS,
) -> Iterator[Line]:
    """The lines of the days of `timezone`, one by one, however many they are.

    By `transaction` the reference is the balance transaction's id (or the invoice's, paid out of
    band); by `day` all of a day and currency are one. Debits first. `names` are the accounts',
    by the keys of ACCOUNTS. A reference's debits equal its credits, always.
    """
    asked = {
        "since": since, "until": until, "starts": Days(since, until, timezone).starts,
        "zone": timezone, "payouts": sorted(PAYOUTS),
    }  # fmt: skip
    for row in stream(_LINES.format(day=_DAY, **_BY[by]), asked):
        amount = row["amount"]
        yield Line(
            row["date"],
            names.get(row["account"], ACCOUNTS[row["account"]]),
            max(amount, 0),
            max(-amount, 0),
            row["currency"],
            row["reference"],
        )
