"""What a closed month is made of: its figures, its frozen rows, and what has come since."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from django.db import connection

from billing.database import rows, stream
from billing.models import MonthClose, RevenueEntry
from billing.revenue import bridge_days
from billing.revenue.months import Month
from billing.revenue.net_to_payouts import balance_bridge, categories, payouts

Row = dict[str, Any]

COLUMNS = tuple(field.name for field in RevenueEntry._meta.concrete_fields if field.name != "id")
# By which an entry adds to a figure of the month; what else it says may become known later.
COUNTED = ("at", "item", "currency", "amount", "fee", "settled_currency", "settled_amount",
           "settled_fee", "tax", "kind")  # fmt: skip
_LIST = ", ".join(COLUMNS)
_TEXTS = ", ".join("extract(epoch FROM at)" if name == "at" else name for name in COLUMNS)

_REVENUE = """
    SELECT {currency} AS currency,
           coalesce(sum({amount}) FILTER (WHERE item = 'gross'), 0)::bigint AS gross,
           coalesce(-sum({amount}) FILTER (WHERE item = 'refunds'), 0)::bigint AS refunds,
           coalesce(-sum({amount}) FILTER (WHERE item = 'disputes'), 0)::bigint AS disputes,
           coalesce(sum({fee}) FILTER (WHERE item <> 'out_of_band'), 0)::bigint AS fees,
           coalesce(sum({amount}) FILTER (WHERE item = 'other'), 0)::bigint AS other,
           coalesce(sum({amount} - {fee}) FILTER (WHERE item <> 'out_of_band'), 0)::bigint AS net,
           coalesce(sum({amount}) FILTER (WHERE item = 'out_of_band'), 0)::bigint AS out_of_band
           {more}
    FROM {rows} GROUP BY 1 ORDER BY 1
"""
_IN_MONTH = "billing_revenue_entries WHERE at >= %(since)s AND at < %(until)s"
_FROZEN = "billing_closed_entries WHERE close_id = %(close)s"
_CHARGED = {
    "currency": "currency", "amount": "amount", "fee": "fee",
    "more": ", coalesce(sum(tax) FILTER (WHERE item = 'gross'), 0)::bigint AS tax",
}  # fmt: skip
_SETTLED = {
    "currency": "settled_currency", "amount": "settled_amount", "fee": "settled_fee", "more": "",
}  # fmt: skip
_FREEZE = f"""
    INSERT INTO billing_closed_entries (close_id, {_LIST})
    SELECT %(close)s, {_LIST} FROM {_IN_MONTH} ORDER BY at, id
"""  # noqa: S608  (the names are the model's own)
_FINGERPRINT = f"""
    SELECT count(*) AS entries,
           encode(sha256(convert_to(coalesce(string_agg(
               md5(concat_ws('|', {_TEXTS})), ''
               ORDER BY source, line), ''), 'UTF8')), 'hex') AS hash
    FROM {_FROZEN}
"""  # noqa: S608
_CHANGED = f"""
    SELECT coalesce(e.source, c.source) AS source, coalesce(e.line, c.line) AS line,
           coalesce(e.at, c.at) AS at, coalesce(e.item, c.item) AS item,
           coalesce(e.currency, c.currency) AS currency, c.amount AS closed, e.amount AS now,
           coalesce(e.amount - e.fee, 0) - coalesce(c.amount - c.fee, 0) AS difference,
           CASE WHEN c.source IS NULL THEN 'came later' WHEN e.source IS NULL THEN 'is gone'
                ELSE 'differs' END AS mark
    FROM (SELECT * FROM {_IN_MONTH}) e
    FULL JOIN (SELECT * FROM {_FROZEN}) c ON c.source = e.source AND c.line = e.line
    WHERE ({", ".join(f"e.{name}" for name in COUNTED)})
          IS DISTINCT FROM ({", ".join(f"c.{name}" for name in COUNTED)})
"""  # noqa: S608
_CONCERNING = """
    SELECT e.source, e.line, e.at, e.item, e.currency, e.amount, e.charge_id,
           to_char(e.at AT TIME ZONE %(zone)s, 'YYYY-MM') AS booked_in
    FROM billing_revenue_entries e
    WHERE e.at >= %(until)s AND e.item IN ('refunds', 'disputes') AND e.charge_id <> ''
      AND e.charge_id IN (SELECT charge_id FROM billing_closed_entries
                          WHERE close_id = %(close)s AND item = 'gross')
"""
_COUNTED_UP = """
    SELECT currency, count(*) AS count, sum({amount})::bigint AS amount
    FROM ({found}) found GROUP BY 1 ORDER BY 1
"""
_FIRST = """
    SELECT found.*, count(*) OVER () AS in_all FROM ({found}) found
    ORDER BY at, source, line LIMIT %(most)s
"""


def month_of(close: MonthClose) -> Month:
    return Month(close.month, close.timezone)


def figures(month: Month) -> dict[str, Any]:
    """The month's figures as they are now, ready for JSON. Minor units.

    `revenue` by the currency that customers paid in and `settled` by the one that Stripe booked
    it in; `categories`, `balance` and `payouts` of Stripe's balance, and the `bridges` kept.
    """
    return {**_revenue(_IN_MONTH, _window(month)), **_of_balance(month)}


def freeze(close: MonthClose) -> dict[str, Any]:
    """Copies the month's entries, and gives its figures, those of revenue by that very copy.

    To be called once, in the transaction that closes the month.
    """
    month, bound = month_of(close), _bound(close)
    with connection.cursor() as cursor:
        cursor.execute(_FREEZE, bound)
    return {**_revenue(_FROZEN, bound), **_of_balance(month)}


def fingerprint(close: MonthClose, kept: dict[str, Any]) -> tuple[int, str]:
    """How many rows are frozen, and the SHA-256 of them and of the figures."""
    [found] = rows(_FINGERPRINT, _bound(close))
    text = found["hash"] + json.dumps(kept, sort_keys=True, default=str)
    return found["entries"], hashlib.sha256(text.encode()).hexdigest()


def is_intact(close: MonthClose) -> bool:
    """Whether a closed month's rows and figures are those that were closed."""
    return fingerprint(close, close.figures) == (close.entries, close.hash)


def changed(close: MonthClose) -> Iterator[Row]:
    """Entries by which a closed month's figures would be others now, each with a `mark`."""
    return stream(f"{_CHANGED} ORDER BY at, source, line", _bound(close))


def concerning(close: MonthClose) -> Iterator[Row]:
    """Refunds and disputes of the month's charges that are booked in later months."""
    return stream(f"{_CONCERNING} ORDER BY e.at, e.source, e.line", _bound(close))


def marked(close: MonthClose) -> Iterator[Row]:
    """The same, each with a `mark` that says where it is booked and what it concerns."""
    return (_marked(close, row) for row in concerning(close))


def _marked(close: MonthClose, row: Row) -> Row:
    return {**row, "mark": f"booked in {row['booked_in']}, concerns {close}"}


def first(close: MonthClose, most: int) -> dict[str, list[Row]]:
    """The first entries of `changed` and of `marked`, each with how many there are (`in_all`)."""
    bound = {**_bound(close), "most": most}
    found = rows(_FIRST.format(found=_CONCERNING), bound)
    return {
        "changed": rows(_FIRST.format(found=_CHANGED), bound),
        "concerning": [_marked(close, row) for row in found],
    }


def later(close: MonthClose) -> dict[str, Any]:
    """How many entries `changed` and `concerning` have, and their sums, by currency."""
    bound = _bound(close)
    return {
        "changed": rows(_COUNTED_UP.format(amount="difference", found=_CHANGED), bound),
        "concerning": rows(_COUNTED_UP.format(amount="amount", found=_CONCERNING), bound),
    }


def _revenue(source: str, bound: dict[str, Any]) -> dict[str, Any]:
    return {
        name: rows(_REVENUE.format(rows=source, **basis), bound)
        for name, basis in (("revenue", _CHARGED), ("settled", _SETTLED))
    }


def _of_balance(month: Month) -> dict[str, Any]:
    window = month.since, month.until
    by_category = categories(*window, [month.since])
    return {
        "categories": [{k: v for k, v in row.items() if k != "period"} for row in by_category],
        "balance": balance_bridge(*window),
        "payouts": [
            {name: row[name] for name in ("payout", "currency", "amount", "remainder")}
            for row in payouts(*window)
        ],
        "bridges": {
            part: bridge_days.totals(part, month.first, month.last, month.timezone)
            for part in bridge_days.PARTS
        },
    }


def _window(month: Month) -> dict[str, Any]:
    return {"since": month.since, "until": month.until}


def _bound(close: MonthClose) -> dict[str, Any]:
    return {**_window(month_of(close)), "close": close.pk, "zone": close.timezone}
