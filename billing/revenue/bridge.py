"""Revenue by day and currency: from what was paid here to Stripe's balance, item by item (R4)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from billing.formatting import iso_time
from billing.gateway.client import Gateway, StripeNotFoundError
from billing.gateway.observation import StripeDict, from_timestamp
from billing.revenue import ours
from billing.revenue.days import ONE_DAY, Days
from billing.revenue.ours import Short
from billing.revenue.stripes import COLLECTED, SETTLED, Bridge, captured, intents_of
from billing.revenue.sums import MOST_CAUSES

MOST_ASKED = 200  # invoices of which Stripe is asked whether they were paid elsewhere
CHARGES = {"expand": ["data.balance_transaction", "data.failure_balance_transaction"]}
REFUNDS = CHARGES
BALANCE = {"expand": ["data.source"]}
OFF_STRIPE = "amount_paid_off_stripe"


def bridge(since: datetime, until: datetime, timezone: str, stripe: Gateway) -> dict[str, Any]:
    """The bridge from our paid invoices and packs to Stripe's charges and to its balance.

    For each day of `timezone` from `since` up to `until`, in each currency, ready for JSON. Two
    parts, whose items are said in billing.revenue.stripes: `collected` (COLLECTED) and `settled`
    (SETTLED). A row's `remainder` is what its items do not explain, and 0 where nothing is wrong;
    `causes` are ids that it comes from, as far as they can be known, at most 50 of them.
    Currencies are never added: what Stripe settled in another one is in `exchanges` with the rate.
    Amounts are minor units.

    Stripe's lists are read for the window and a day on both sides; only sums are kept. Raises a
    GatewayError where Stripe does not tell.
    """
    calls = stripe.calls
    days = Days(since, until, timezone)
    reading = _Reading(Days(since - ONE_DAY, until + ONE_DAY, timezone), stripe)
    made = Bridge(days, reading.days.since)
    _add_ours(made, reading)
    _add_stripes(made, reading)
    _add_what_is_short(made, reading)
    return {
        "since": iso_time(since),
        "until": iso_time(until),
        "timezone": timezone,
        **_as_dict(made),
        "api_calls": stripe.calls - calls,
    }


@dataclass(slots=True)
class _Reading:
    """The reading of Stripe's lists, a day more on both sides than the bridge has.

    `charged` has the sources here that charges paid of which no payment is here.
    """

    days: Days
    stripe: Gateway
    charged: dict[str, int] = field(default_factory=dict)

    def pages(self, path: str, params: dict[str, Any]) -> Iterator[list[StripeDict]]:
        """Pages of what Stripe made in that time, the newest first."""
        created = {"gte": _seconds(self.days.since), "lt": _seconds(self.days.until)}
        for page in self.stripe.pages(path, {"created": created, **params}):
            yield page.data


def _add_ours(made: Bridge, reading: _Reading) -> None:
    for day, currency, item, amount in ours.sums(
        made.days, (reading.days.since, reading.days.until)
    ):
        made.collected.add(day, currency, item, amount)


def _add_stripes(made: Bridge, reading: _Reading) -> None:
    _add_charges(made, reading)
    for page in reading.pages("/v1/refunds", REFUNDS):
        for refund in page:
            made.add_refund(refund)
    for page in reading.pages("/v1/disputes", {}):
        for dispute in page:
            made.add_dispute(dispute)
    for page in reading.pages("/v1/balance_transactions", BALANCE):
        for booked in page:
            made.add_balance_transaction(booked)


def _add_charges(made: Bridge, reading: _Reading) -> None:
    """Stripe's charges, page by page; a day that is over is compared with our payments."""
    left = list(zip(reading.days.dates, reading.days.spans, strict=True))
    seen: set[str] = set()
    for page in reading.pages("/v1/charges", CHARGES):
        placed = ours.place(intents_of(page))
        for day, charges in groupby(page, lambda charge: _day_of(charge, reading.days)):
            while left and day is not None and left[-1][0] > day:
                _add_only_here(made, left.pop()[1], seen)
                seen = set()
            for charge in charges:
                seen.add(charge["id"])
                where = placed[charge["id"]]
                made.add_charge(charge, where)
                if where.source and not where.is_here:
                    reading.charged[where.source] = captured(charge)
    while left:
        _add_only_here(made, left.pop()[1], seen)
        seen = set()


def _day_of(charge: StripeDict, days: Days) -> date | None:
    return days.of(from_timestamp(charge["created"]))


def _add_only_here(made: Bridge, span: tuple[datetime, datetime], seen: set[str]) -> None:
    """Names what was paid here with a payment that Stripe does not list."""
    vanished = ours.only_here(span, seen, MOST_CAUSES)
    placed = ours.place((charge, intent) for charge, intent, _, _ in vanished)
    for charge, _, currency, amount in vanished:
        where = placed[charge]
        if where.source:
            why = f"It paid {where.source} here, and Stripe does not list it."
            made.causes.add(charge, made.days.of(where.at), currency, -amount, why)


def _add_what_is_short(made: Bridge, reading: _Reading) -> None:
    """What was paid here without enough money at Stripe: elsewhere, as Stripe says, or not.

    Only the invoice itself tells, on request alone: it is asked for each that lacks money.
    """
    short = ours.short_of_money(made.days, reading.charged, MOST_ASKED)
    for item in short:
        day = made.days.of(item.at)
        elsewhere = min(_paid_elsewhere(item, reading.stripe), item.missing)
        made.collected.add(day, item.currency, "out_of_band", -elsewhere)
        if missing := item.missing - elsewhere:
            why = "It is paid here, and no charge at Stripe paid it."
            made.causes.add(item.source, day, item.currency, -missing, why)


def _paid_elsewhere(item: Short, stripe: Gateway) -> int:
    """What was paid on an invoice outside Stripe, minor units; nothing on a pack."""
    if not item.source.startswith("in_"):
        return 0
    try:
        invoice = stripe.retrieve("invoice", item.source, expand=(OFF_STRIPE,)).data
    except StripeNotFoundError:
        return 0
    return int(invoice.get(OFF_STRIPE) or 0)


def _as_dict(made: Bridge) -> dict[str, Any]:
    rows = {part.name: list(sums.rows(part)) for part, sums in _parts(made)}
    totals = {part.name: sums.totals(part) for part, sums in _parts(made)}
    return {
        **rows,
        "totals": totals,
        "exchanges": [
            {
                "date": day.isoformat(),
                "from": from_,
                "amount": exchange.amount,
                "to": to,
                "settled": exchange.settled,
                "rates": [exchange.least, exchange.most],
            }
            for (day, from_, to), exchange in sorted(made.exchanges.items())
        ],
        "categories": [
            {"currency": currency, "category": category, **amounts}
            for (currency, category), amounts in sorted(made.categories.items())
        ],
        "causes": made.causes.listed,
        "more_causes": made.causes.more,
        "explained": not any(row["remainder"] for part in rows.values() for row in part),
    }


def _parts(made: Bridge) -> list[tuple[Any, Any]]:
    return [(COLLECTED, made.collected), (SETTLED, made.settled)]


def _seconds(moment: datetime) -> int:
    """Unix seconds, as Stripe counts: those that have begun by then are before it."""
    return -int(-moment.astimezone(UTC).timestamp() // 1)
