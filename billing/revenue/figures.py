"""The sums of revenue: one statement for all periods, currencies and parts."""

from collections.abc import Iterable, Mapping
from typing import Any

from billing.database import rows
from billing.revenue import balance_days
from billing.revenue.asked import Asked
from billing.revenue.report import Column, Row
from billing.revenue.revenue_days import SUMS
from billing.revenue.stripes import PAYOUTS

# By what revenue can be split, and the column of an entry that says it.
SPLITS = {"product": "product_id", "price": "price_id", "kind": "kind", "country": "country"}

MONEY = (
    Column(
        "gross",
        "Gross",
        "money",
        "What customers were charged through Stripe, tax included: Stripe's reporting categories"
        " charge, charge_failure and partial_capture_reversal, on the day on which Stripe booked"
        " them in its balance.",
    ),
    Column(
        "refunds",
        "Refunds",
        "money",
        "What was given back, less refunds that failed (refund, refund_failure), on the day of the"
        " refund and not of its charge.",
    ),
    Column(
        "disputes",
        "Disputes",
        "money",
        "What disputes withdrew, less what won ones brought back (dispute, dispute_reversal).",
    ),
    Column(
        "fees",
        "Fees",
        "money",
        "What Stripe kept. Where it settled in another currency, the fee is converted back at that"
        " very transaction's rate, rounded to a minor unit.",
    ),
    Column(
        "other",
        "Other",
        "money",
        "Movements of other reporting categories, such as adjustments; payouts are none.",
    ),
    Column("net", "Net", "money", "Gross less refunds, disputes and fees, plus other."),
    Column(
        "tax",
        "Tax",
        "money",
        "The part of gross that is tax by the invoice that was paid. It is inside gross; refunds"
        " are not split.",
    ),
    Column(
        "out_of_band",
        "Out of band",
        "money",
        "Paid on invoices outside Stripe, on the day that the invoice was paid. It is in no other"
        " column.",
    ),
)
TIED = (
    Column(
        "balance",
        "Stripe's balance",
        "money",
        "The sum of the net of Stripe's own balance transactions of these days, but for payouts.",
    ),
    Column(
        "remainder", "Remainder", "money", "Net less Stripe's balance: 0 where nothing is wrong."
    ),
)

_SUMS = """
    SELECT {period} AS period, {currency} AS currency, {part} AS part,
           coalesce(sum({amount}) FILTER (WHERE item = 'gross'), 0)::bigint AS gross,
           -coalesce(sum({amount}) FILTER (WHERE item = 'refunds'), 0)::bigint AS refunds,
           -coalesce(sum({amount}) FILTER (WHERE item = 'disputes'), 0)::bigint AS disputes,
           coalesce(sum({fee}) FILTER (WHERE item <> 'out_of_band'), 0)::bigint AS fees,
           coalesce(sum({amount}) FILTER (WHERE item = 'other'), 0)::bigint AS other,
           coalesce(sum({amount} - {fee}) FILTER (WHERE item <> 'out_of_band'), 0)::bigint AS net,
           coalesce(sum(tax) FILTER (WHERE item = 'gross'), 0)::bigint AS tax,
           coalesce(sum({amount}) FILTER (WHERE item = 'out_of_band'), 0)::bigint AS out_of_band
    FROM {entries} WHERE {where} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_PERIOD = "width_bucket(at, %(starts)s::timestamptz[])"
_FILTERED = {
    "kind": "kind = %(kind)s",
    "product": "product_id = %(product)s",
    "price": "price_id = %(price)s",
    "country": "country = upper(%(country)s)",
}
_BALANCE = f"""
    SELECT {_PERIOD} AS period, currency, sum(net)::bigint AS balance FROM {balance_days.SUMS}
    WHERE at >= %(since)s AND at < %(until)s AND NOT category = ANY(%(payouts)s)
    GROUP BY 1, 2
"""  # noqa: S608
_RATES = """
    SELECT currency, sum(amount)::numeric AS charged, sum(settled_amount)::numeric AS settled
    FROM {entries}
    WHERE {where} AND item = 'gross' AND settled_currency = %(reporting)s
      AND currency <> %(reporting)s
    GROUP BY 1 HAVING sum(amount) <> 0
"""


def charged(asked: Asked, split: str = "") -> list[Row]:
    """The sums in the currency that customers paid in: by period (from 1), currency and part.

    `split` is one of SPLITS, '' for none.
    """
    statement = _SUMS.format(
        period=_PERIOD,
        currency="currency",
        part=SPLITS[split] if split else "''",
        amount="amount",
        fee="fee",
        entries=_entries(asked, split),
        where=where(asked),
    )
    return rows(statement, parameters(asked))


def totals(sums: Iterable[Row]) -> list[Row]:
    """What `charged` gave, added up over all periods and parts: a row for each currency."""
    found: dict[str, Row] = {}
    for row in sums:
        total = found.setdefault(row["currency"], {column.name: 0 for column in MONEY})
        for column in MONEY:
            total[column.name] += row[column.name]
    return [{"currency": code, **found[code]} for code in sorted(found)]


def settled(asked: Asked) -> list[Row]:
    """The sums as Stripe settled them, by period and currency, beside its own balance."""
    statement = _SUMS.format(
        period=_PERIOD,
        currency="settled_currency",
        part="''",
        amount="settled_amount",
        fee="settled_fee",
        entries=SUMS,
        where=f"{where(asked)} AND item <> 'out_of_band'",
    )
    sums = {(row["period"], row["currency"]): row for row in rows(statement, parameters(asked))}
    told = rows(_BALANCE, parameters(asked) | {"payouts": sorted(PAYOUTS)})
    balances = {(row["period"], row["currency"]): row["balance"] for row in told}
    nothing = {column.name: 0 for column in MONEY}
    return [
        {"period": period, "currency": currency, **nothing}
        | sums.get((period, currency), {})
        | {"balance": (balance := balances.get((period, currency), 0))}
        | {"remainder": sums.get((period, currency), nothing)["net"] - balance}
        for period, currency in sorted({*sums, *balances})
    ]


def rates(asked: Asked) -> list[Row]:
    """What Stripe itself exchanged these days' charges at, into the reporting currency."""
    return rows(
        _RATES.format(entries=_entries(asked), where=where(asked)),
        parameters(asked) | {"reporting": asked.reporting},
    )


def _entries(asked: Asked, split: str = "") -> str:
    """What is added up: days, where they tell apart all that is asked for."""
    needed = {split, *(name for name in _FILTERED if asked.more.get(name))} - {""}
    return SUMS if needed <= {"kind"} else "billing_revenue_entries"


def where(asked: Asked) -> str:
    """The condition of the entries that were asked for."""
    conditions = ["at >= %(since)s AND at < %(until)s"]
    conditions += ["currency = %(currency)s"] if asked.currency else []
    conditions += [_FILTERED[name] for name in _FILTERED if asked.more.get(name)]
    return " AND ".join(conditions)


def parameters(asked: Asked) -> dict[str, Any]:
    """What `where`, and the buckets, are bound to."""
    filters: Mapping[str, str] = {name: asked.more.get(name, "") for name in _FILTERED}
    return {
        "since": asked.since,
        "until": asked.until,
        "starts": asked.periods.starts,
        "currency": asked.currency,
        **filters,
    }


def is_filtered(asked: Asked) -> bool:
    """Whether only a part of all entries is asked for."""
    return bool(asked.currency or any(asked.more.get(name) for name in _FILTERED))
