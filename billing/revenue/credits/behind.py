"""The rows behind a figure of credits, as they come from the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.database import stream
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.credits.statements import ITEM, TAKEN
from billing.revenue.report import Column, Drill, Table

ITEMS = (
    "pack", "subscription", "free", "returned", "claim", "sql", "refund", "dispute", "correction",
)  # fmt: skip
FREE = "none"  # as a currency: of credits that were not bought

_ENTRIES = f"""
    SELECT * FROM (
        SELECT e.id AS entry, e.created_at AS at, e.user_id, {ITEM} AS item,
               e.delta - e.owed_delta AS credits, e.owed_delta AS owed, e.delta,
               e.balance_after AS balance, b.currency, b.amount AS paid,
               coalesce(e.source, '') AS source, e.actor, e.reason
        FROM credit_entries e
        LEFT JOIN LATERAL (
            SELECT t.id FROM credit_entries t
            WHERE e.delta >= 0 AND t.delta < 0 AND t.source = {TAKEN} LIMIT 1
        ) t ON true
        LEFT JOIN billing_purchases b
            ON e.kind IN ('pack', 'subscription') AND b.source = split_part(e.source, ':', 2)
        WHERE e.created_at >= %(since)s AND e.created_at < %(until)s
    ) e
    WHERE (%(all)s OR item = ANY(%(items)s))
      AND (%(currency)s::text IS NULL OR currency = %(currency)s)
      AND (NOT %(owing)s OR owed <> 0)
    ORDER BY at, entry
"""  # noqa: S608  (the conditions stand in statements)
_USES = """
    SELECT u.entry_id AS entry, u.at, u.user_id, u.purpose AS item, u.credits, u.currency, u.value,
           l.entry_id AS lot, l.origin, l.at AS lot_at, l.source
    FROM billing_credit_uses u JOIN billing_credit_lots l ON l.entry_id = u.lot_id
    WHERE u.at >= %(since)s AND u.at < %(until)s AND u.purpose = ANY(%(items)s)
      AND (%(currency)s::text IS NULL OR u.currency = %(currency)s)
      AND (%(user)s = '' OR u.user_id = %(user)s)
    ORDER BY u.at, u.id
"""
_LEFT = """
    SELECT l.entry_id AS lot, l.at, l.user_id, l.origin, l.credits,
           l.credits - used.credits AS left, l.currency, l.paid, l.paid - used.value AS value,
           l.price_id, l.source
    FROM billing_credit_lots l CROSS JOIN LATERAL (
        SELECT coalesce(sum(u.credits), 0)::bigint AS credits,
               coalesce(sum(u.value), 0)::bigint AS value
        FROM billing_credit_uses u WHERE u.lot_id = l.entry_id AND u.at < %(until)s
    ) used
    WHERE l.at < %(until)s AND (%(all)s OR l.origin = ANY(%(items)s) AND l.at >= %(since)s)
      AND (%(currency)s::text IS NULL OR l.currency = %(currency)s)
      AND (NOT %(all)s OR used.credits < l.credits)
    ORDER BY l.at DESC, l.entry_id DESC
"""
_CLAIMS = """
    SELECT id AS claim, claimed_at AS at, user_id, lead_id, credits_spent AS credits
    FROM lead_claims
    WHERE claimed_at >= %(since)s AND claimed_at < %(until)s AND status = 'succeeded'
    ORDER BY claimed_at, id
"""
_BALANCES = """
    SELECT c.user_id, c.balance, c.owed, ledger.credits AS ledger
    FROM lead_credits c CROSS JOIN LATERAL (
        SELECT coalesce(sum(delta), 0)::bigint AS credits
        FROM credit_entries e WHERE e.user_id = c.user_id
    ) ledger
    ORDER BY c.user_id
"""

_AT = Column("at", "Time", "time")
_USER = Column("user_id", "User", "user")
_ITEM = Column("item", "What it was")
_CURRENCY = Column("currency", "Currency")
_SOURCE = Column("source", "Source", "text", "What was bought, refunded, disputed or undone.")
_KINDS: Mapping[str, tuple[str, str, Sequence[Column]]] = {
    "entries": (
        "Ledger entries",
        _ENTRIES,
        (
            _AT, _USER, _ITEM,
            Column("credits", "Credits", "number", "Given (above 0) or taken, owed ones included."),
            Column("owed", "Change of what is owed", "number"),
            Column("delta", "Change of the balance", "number"),
            Column("balance", "Balance after", "number"),
            _CURRENCY,
            Column("paid", "Paid", "money", "For the whole purchase, where it was one."),
            _SOURCE, Column("actor", "By"), Column("reason", "Reason"),
            Column("entry", "Entry"),
        ),
    ),
    "uses": (
        "Credits that were used",
        _USES,
        (
            _AT, _USER, _ITEM,
            Column("credits", "Credits", "number", "Taken from the one lot."),
            _CURRENCY,
            Column("value", "Value", "money", "What was paid for these credits."),
            Column("origin", "Where they were from"), Column("lot_at", "Since", "time"),
            _SOURCE, Column("lot", "Lot"), Column("entry", "Entry"),
        ),
    ),
    "lots": (
        "Lots of credits",
        _LEFT,
        (
            _AT, _USER, Column("origin", "Where they are from"),
            Column("credits", "Credits", "number"),
            Column("left", "Left", "number", "Of them, not used by the end of the days."),
            _CURRENCY, Column("paid", "Paid", "money"),
            Column("value", "Value left", "money", "What was paid for the credits left."),
            Column("price_id", "Price", "id"), _SOURCE, Column("lot", "Lot"),
        ),
    ),
    "claims": (
        "Lead claims that succeeded",
        _CLAIMS,
        (
            _AT, _USER, Column("lead_id", "Lead"), Column("credits", "Credits", "number"),
            Column("claim", "Claim"),
        ),
    ),
    "balances": (
        "Balances",
        _BALANCES,
        (
            _USER, Column("balance", "Balance", "number"), Column("owed", "Owed", "number"),
            Column("ledger", "Ledger", "number", "Sum of the user's entries."),
        ),
    ),
}  # fmt: skip


def drill(kind: str, *items: str, **more: str) -> Drill:
    """What to ask `behind` for; `more` are day, currency, user and owing."""
    given = {"rows": kind, "items": ",".join(items), **more}
    return {name: value for name, value in given.items() if value}


def behind(asked: Asked, wanted: Mapping[str, str]) -> Table:
    """The rows of a drill. Raises InvalidReportError for what it does not know."""
    try:
        title, sql, columns = _KINDS[wanted["rows"]]
    except KeyError as error:
        raise InvalidReportError("There are no such rows behind a figure of credits.") from error
    items = [item for item in wanted.get("items", "").split(",") if item]
    if not set(items) <= set(ITEMS):
        raise InvalidReportError("There are no such entries of credits.")
    since, until = _window(asked, wanted.get("day", ""))
    currency = wanted.get("currency", "")
    params: dict[str, Any] = {
        "since": since,
        "until": until,
        "items": items,
        "all": not items,
        "currency": {"": None, FREE: ""}.get(currency, currency),
        "user": wanted.get("user", ""),
        "owing": wanted.get("owing") == "yes",
    }
    return Table(wanted["rows"], title, columns, stream(sql, params))


def _window(asked: Asked, day: str) -> tuple[Any, Any]:
    """The period that begins on a day of the report, or all of it."""
    periods = asked.periods
    if not day:
        return periods.since, periods.until
    labels = [periods.label(number) for number in range(periods.count)]
    if day not in labels:
        raise InvalidReportError("That day is not one of the report's.")
    number = labels.index(day)
    return periods.starts[number], periods.ends[number]
