"""The rows behind the figures: changes, subscriptions, trials and customers, one by one.

Each takes a span of time or a moment (UTC) and a currency, and streams from the database.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from billing.database import stream

Row = dict[str, Any]
Span = tuple[datetime, datetime]
_LIVE = "at < %(moment)s AND (until >= %(moment)s OR until IS NULL)"
# Trials are short: in the order of time all that are over come first. This reads only those live.
_IN_TRIAL = "tstzrange(at, until, '(]') @> %(moment)s::timestamptz AND status = 'trialing'"


def changes(
    span: Span, currency: str, kinds: Sequence[str], *, voluntary: bool | None = None
) -> Iterator[Row]:
    """The changes of these kinds; with `voluntary` only those that were so, or were not."""
    return stream(
        """
        SELECT at, customer_id, user_id, subscription_id, kind, currency, before, after,
               after - before AS change, voluntary
        FROM billing_mrr_changes
        WHERE at >= %(since)s AND at < %(until)s AND currency = %(currency)s
            AND kind = ANY(%(kinds)s)
            AND (%(voluntary)s::bool IS NULL OR voluntary = %(voluntary)s::bool)
        ORDER BY at, id
        """,
        {**_span(span, currency), "kinds": list(kinds), "voluntary": voluntary},
    )


def subscriptions(
    moment: datetime, currency: str, statuses: Sequence[str], *, with_mrr: bool = False
) -> Iterator[Row]:
    """The subscriptions that had one of these statuses just before a moment."""
    return stream(
        f"""
        SELECT subscription_id, customer_id, user_id, status, at, currency, mrr, price_id, quantity
        FROM billing_subscription_states
        WHERE {_IN_TRIAL if statuses == ("trialing",) else _LIVE}
            AND currency = %(currency)s AND status = ANY(%(statuses)s)
            AND (mrr > 0 OR NOT %(with_mrr)s)
        ORDER BY at, id
        """,  # noqa: S608  (the conditions stand above)
        {
            "moment": moment, "currency": currency, "statuses": list(statuses),
            "with_mrr": with_mrr,
        },
    )  # fmt: skip


def customers(moment: datetime, currency: str) -> Iterator[Row]:
    """The customers who had MRR just before a moment."""
    return stream(
        """
        SELECT customer_id, last.user_id, currency, last.after AS mrr, first_at
        FROM billing_mrr_changes first CROSS JOIN LATERAL (
            SELECT after, user_id FROM billing_mrr_changes
            WHERE (customer_id, currency) = (first.customer_id, first.currency)
                AND at < %(moment)s
            ORDER BY at DESC LIMIT 1
        ) last
        WHERE currency = %(currency)s AND kind = 'new' AND first_at < %(moment)s AND last.after > 0
        ORDER BY first_at, customer_id
        """,
        {"moment": moment, "currency": currency},
    )


def trials(span: Span, currency: str, kinds: Sequence[str]) -> Iterator[Row]:
    """The trials that started, were converted or were lost."""
    return stream(
        """
        SELECT at, subscription_id, customer_id, user_id, trial, status, currency, mrr, price_id
        FROM billing_subscription_states
        WHERE at >= %(since)s AND at < %(until)s AND currency = %(currency)s
            AND trial = ANY(%(kinds)s)
        ORDER BY at, id
        """,
        {**_span(span, currency), "kinds": list(kinds)},
    )


def cohort(span: Span, moment: datetime, currency: str) -> Iterator[Row]:
    """Who had MRR for the first time in a span, and what they had just before a moment."""
    return stream(
        """
        SELECT customer_id, user_id, first_at, currency, first_mrr, coalesce(mrr, 0) AS mrr FROM (
            SELECT DISTINCT ON (customer_id) customer_id, user_id, first_at, currency, after AS mrr,
                   first_value(after) OVER (PARTITION BY customer_id ORDER BY at) AS first_mrr
            FROM billing_mrr_changes
            WHERE first_at >= %(since)s AND first_at < %(until)s AND currency = %(currency)s
                AND at < %(moment)s
            ORDER BY customer_id, at DESC
        ) last ORDER BY first_at, customer_id
        """,
        {**_span(span, currency), "moment": moment},
    )


def _span(span: Span, currency: str) -> dict[str, Any]:
    return {"since": span[0], "until": span[1], "currency": currency}
