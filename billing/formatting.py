"""Money, times and JSON as people read them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from django.utils.timesince import timesince

# Stripe's minor unit is the currency's own (STRIPE.md, Invoices and money).
ZERO_DECIMAL = frozenset(
    [
        "bif",
        "clp",
        "djf",
        "gnf",
        "jpy",
        "kmf",
        "krw",
        "mga",
        "pyg",
        "rwf",
        "ugx",
        "vnd",
        "vuv",
        "xaf",
        "xof",
        "xpf",
    ]
)
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])

# What turns the direction of all that follows it, such as in a name that reads as another amount.
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
TURNED = "\ufffd"  # what stands in its place, to be seen


def in_reading_order(text: str) -> str:
    """A text whose letters are read in the order in which they stand, whoever wrote it."""
    return TURNING.sub(TURNED, text)


def exponent(currency: str) -> int:
    """How many decimals an ISO 4217 code has at Stripe: 0, 2 or 3, in either case."""
    code = currency.lower()
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def format_amount(amount: int, currency: str) -> str:
    """Minor units in the currency's own decimals, without its name: `1,234.50`."""
    decimals = exponent(currency)
    whole, fraction = divmod(abs(amount), 10**decimals)
    sign = "-" if amount < 0 else ""
    point = f".{fraction:0{decimals}d}" if decimals else ""
    return f"{sign}{whole:,}{point}"


def format_money(amount: int, currency: str) -> str:
    """Minor units as an amount: `1,234.50 EUR`. Without a currency it says that it has none."""
    if not currency:
        return f"{amount:,} minor units"
    return f"{format_amount(amount, currency)} {currency.upper()}"


def format_time(moment: datetime) -> str:
    """An aware time in UTC, to the second: `2026-03-01 12:00:05 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso_time(moment: datetime) -> str:
    """An aware time in ISO 8601, UTC: `2026-03-01T12:00:05Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_age(moment: datetime, now: datetime) -> str:
    """How long ago it was, in its largest unit: `3 hours ago`; `just now` under a minute."""
    if (now - moment).total_seconds() < 60:
        return "just now"
    age = timesince(moment, now, depth=1).replace("\xa0", " ")
    return f"{age} ago"


def format_size(size: int) -> str:
    """Bytes in their largest unit: `900 B`, `12.3 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def pretty_json(value: Any) -> str:
    """Indented JSON. A text is taken as JSON where it is such, and left as it is otherwise."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def format_span(minutes: int) -> str:
    """`2 days 3 hours`, `1 hour 20 minutes`, `5 minutes`: the two largest units; '' for none."""
    parts = [
        f"{number} {unit}{'' if number == 1 else 's'}"
        for number, unit in (
            (minutes // 1440, "day"),
            (minutes // 60 % 24, "hour"),
            (minutes % 60, "minute"),
        )
        if number
    ]
    return " ".join(parts[:2])
