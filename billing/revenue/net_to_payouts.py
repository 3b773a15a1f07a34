"""The third bridge: from what Stripe's balance took in to what was paid out of it.

Read from our own rows of Stripe's balance and of its payouts, set-based. Minor units of the
currency that Stripe settles in.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from billing.database import rows, stream
from billing.revenue.balance_days import SUMS
from billing.revenue.report import Column, Row
from billing.revenue.stripes import PAYOUTS

MOVED = sorted(PAYOUTS - {"payout", "payout_reversal"})
ITEMS = ("opening", "net", "paid_out", "returned", "payout_fees", "moved")
"""What adds up to the closing balance, but for a remainder."""
MOVEMENTS = (
    Column("id", "Balance transaction"),
    Column("created_at", "Booked", "time"),
    Column("category", "Category"),
    Column("source_id", "Of", "id"),
    Column("amount", "Amount", "money"),
    Column("fee", "Fee", "money"),
    Column("net", "Net", "money"),
    Column("currency", "Currency"),
    Column("available_on", "Available", "time"),
    Column("payout_id", "Paid out with"),
    Column("description", "Description"),
)

_CATEGORIES = f"""
    SELECT width_bucket(at, %(starts)s::timestamptz[]) AS period, currency, category,
           sum(count)::bigint AS count, sum(net + fee)::bigint AS amount,
           sum(fee)::bigint AS fee, sum(net)::bigint AS net
    FROM {SUMS}
    WHERE count <> 0 AND at >= %(since)s AND at < %(until)s AND %(currency)s IN ('', currency)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608
# The sums of all time before each end of the window, whose difference is what moved in it.
_BALANCE = """
    SELECT currency,
           coalesce(sum(net) FILTER (WHERE NOT is_end), 0)::bigint AS opening,
           coalesce(sum(sign * net) FILTER (WHERE NOT category = ANY(%(payouts)s)), 0)::bigint
               AS net,
           coalesce(-sum(sign * fee) FILTER (WHERE category IN ('payout', 'payout_reversal')), 0
               )::bigint AS payout_fees,
           coalesce(sum(sign * net) FILTER (WHERE category = ANY(%(moved)s)), 0)::bigint AS moved,
           coalesce(sum(net) FILTER (WHERE is_end), 0)::bigint AS closing
    FROM (VALUES (%(since)s::timestamptz, false, -1), (%(until)s::timestamptz, true, 1))
             AS ends(moment, is_end, sign)
    CROSS JOIN LATERAL (
        SELECT currency, category, fee, net FROM billing_balance_days
        WHERE day < date_trunc('day', moment, 'UTC')
        UNION ALL
        SELECT currency, category, fee, net FROM billing_balance_transactions
        WHERE created_at >= date_trunc('day', moment, 'UTC') AND created_at < moment
    ) before
    WHERE %(currency)s IN ('', currency)
    GROUP BY 1
"""
# A payout counts when it left the balance; where that movement is not here, when it was made.
_PAID_OUT = """
    SELECT currency, -sum(amount)::bigint AS paid_out FROM (
        SELECT p.currency, p.amount
        FROM billing_balance_transactions b JOIN billing_payouts p ON p.stripe_id = b.source_id
        WHERE b.category = 'payout' AND b.created_at >= %(since)s AND b.created_at < %(until)s
        UNION ALL
        SELECT p.currency, p.amount FROM billing_payouts p
        WHERE p.created_at >= %(since)s AND p.created_at < %(until)s AND NOT EXISTS (
            SELECT FROM billing_balance_transactions b
            WHERE b.source_id = p.stripe_id AND b.category = 'payout')
    ) left_balance
    WHERE %(currency)s IN ('', currency) GROUP BY 1
"""
_RETURNED = """
    SELECT p.currency, sum(p.amount)::bigint AS returned
    FROM billing_balance_transactions b JOIN billing_payouts p ON p.stripe_id = b.source_id
    WHERE b.category = 'payout_reversal' AND b.created_at >= %(since)s
      AND b.created_at < %(until)s AND %(currency)s IN ('', p.currency)
    GROUP BY 1
"""
_PAYOUTS = """
    SELECT p.stripe_id AS payout, p.created_at, p.arrival_date, p.status, p.amount, p.currency,
           p.automatic, inside.count AS movements, inside.net AS contents,
           CASE WHEN p.automatic AND p.resolved_at IS NOT NULL
                THEN p.amount - inside.net END AS remainder
    FROM billing_payouts p
    CROSS JOIN LATERAL (
        SELECT count(*) AS count, coalesce(sum(net), 0)::bigint AS net
        FROM billing_balance_transactions b WHERE b.payout_id = p.stripe_id
    ) inside
    WHERE p.created_at >= %(since)s AND p.created_at < %(until)s
      AND %(currency)s IN ('', p.currency)
    ORDER BY p.created_at DESC, p.id DESC
"""
_BEHIND = """
    SELECT stripe_id AS id, created_at, category, source_id, amount, fee, net, currency,
           available_on, payout_id, description
    FROM billing_balance_transactions b WHERE {where} ORDER BY created_at, id
"""

_SINCE = "created_at >= %(since)s AND "
_BEHIND_ITEM = {
    "opening": "created_at < %(since)s",
    "net": f"{_SINCE} NOT category = ANY(%(payouts)s)",
    "paid_out": f"{_SINCE} category = 'payout'",
    "returned": f"{_SINCE} category = 'payout_reversal'",
    "payout_fees": f"{_SINCE} category IN ('payout', 'payout_reversal') AND fee <> 0",
    "moved": f"{_SINCE} category = ANY(%(moved)s)",
    "closing": "true",
}


def categories(
    since: datetime, until: datetime, starts: list[datetime], currency: str = ""
) -> list[Row]:
    """Balance transactions by period (counted from 1), currency and reporting category."""
    return rows(
        _CATEGORIES, {"since": since, "until": until, "starts": starts, "currency": currency}
    )


def balance_bridge(since: datetime, until: datetime, currency: str = "") -> list[Row]:
    """For each currency ITEMS, `closing`, and `remainder`: what they do not explain of it.

    `opening` and `closing` are Stripe's balance at both ends, paid out or not yet; `net` what it
    took in; `paid_out` (negative) and `returned` are the payouts themselves; `payout_fees` what
    Stripe took for them, and `moved` top-ups and what Stripe held back.
    """
    asked: Mapping[str, Any] = {
        "since": since, "until": until, "currency": currency,
        "payouts": sorted(PAYOUTS), "moved": MOVED,
    }  # fmt: skip
    found: dict[str, Row] = {}
    for sql in (_BALANCE, _PAID_OUT, _RETURNED):
        for row in rows(sql, asked):
            found.setdefault(row["currency"], dict.fromkeys((*ITEMS, "closing"), 0)).update(row)
    return [
        {**found[code], "remainder": found[code]["closing"] - sum(found[code][i] for i in ITEMS)}
        for code in sorted(found)
    ]


def payouts(since: datetime, until: datetime, currency: str = "") -> list[Row]:
    """The payouts made in that time, the newest first, and what they contain.

    `contents` is the net of the movements that an automatic payout paid out, and `remainder` what
    they leave of it: None where Stripe has not told them, which it never does of a manual one.
    """
    return rows(_PAYOUTS, {"since": since, "until": until, "currency": currency})


def movements(since: datetime, until: datetime, category: str, currency: str) -> Iterator[Row]:
    """The balance transactions of a category, one by one."""
    where = (
        "created_at >= %(since)s AND created_at < %(until)s AND category = %(category)s"
        " AND currency = %(currency)s"
    )
    return stream(
        _BEHIND.format(where=where),
        {"since": since, "until": until, "category": category, "currency": currency},
    )


def bridged(item: str, since: datetime, until: datetime, currency: str) -> Iterator[Row]:
    """The balance transactions behind an item of the bridge. Raises KeyError for no item."""
    when = "created_at < %(until)s AND currency = %(currency)s"
    where = f"{when} AND {_BEHIND_ITEM[item]}"
    return stream(
        _BEHIND.format(where=where),
        {"since": since, "until": until, "currency": currency, "payouts": sorted(PAYOUTS),
         "moved": MOVED},
    )  # fmt: skip


def contents(payout: str) -> Iterator[Row]:
    """The balance transactions that a payout paid out."""
    return stream(_BEHIND.format(where="payout_id = %(payout)s"), {"payout": payout})
